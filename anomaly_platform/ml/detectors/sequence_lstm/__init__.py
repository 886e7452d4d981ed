"""The sequence detector: architecture, training in PyTorch, scoring in NumPy."""
