"""The PostgreSQL server: starting it, reaching it, transactions, COPY, binary rows.

What is in the tables belongs to ``storage.tables``.
"""
