"""Prometheus metrics: what the workers count, and what the database knows.

The statements behind the latter do not belong here (``queries.figures``).
"""
