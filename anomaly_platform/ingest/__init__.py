"""From files of any shape to raw rows, and from raw rows to validated events. Pure functions."""
