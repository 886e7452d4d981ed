"""Scoring of readings and scans that a request brings and that are not stored.

HTTP does not belong here: what a request and an answer look like is in ``routes`` and ``schemas``.
"""
