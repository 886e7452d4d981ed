"""Distances between today's values and those that a model was trained on."""
