"""Bytes to rows of text: CSV, JSON, JSON Lines, Parquet.

What a column means does not belong here (``ingest.layout``).
"""
