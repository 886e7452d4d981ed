"""From a file's columns to raw rows: which column is which field."""
