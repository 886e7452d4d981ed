"""Scoring files of one's own with the platform's pipeline, without any service."""
