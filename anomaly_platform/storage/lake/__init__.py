"""Parquet files and the landing area, on a local folder or an object store.

Which file stands for which partition is a row of the database (``storage.tables.partitions``).
"""
