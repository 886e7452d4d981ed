"""Readings and scans of a request, by the rules that hold for files."""
