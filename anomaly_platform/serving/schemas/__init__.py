"""Pydantic models of what the API takes and answers: a module per subject, strict, with examples.

Nothing here asks a table or computes a score.
"""
