"""The pages, a module each: what it asks, and what its buttons do."""
