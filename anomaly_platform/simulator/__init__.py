"""Labelled, seeded data for every stream."""
