"""What the graph talks to: the lake, the warehouse, the embedded database."""
