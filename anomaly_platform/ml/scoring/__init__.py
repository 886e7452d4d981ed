"""Scoring: of frames, of readings as they come, and of entities over their series."""
