"""Sensors: what makes the graph move by itself."""
