"""Persistence: PostgreSQL, the lake, and the tables.

Connections, files and SQL belong here. Decisions about what is stored do not: the rooms above
make them.
"""
