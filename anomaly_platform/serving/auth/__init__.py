"""Authentication, scopes and rate limits: who calls, what they may do, and how often.

The table of keys does not belong here (``storage.tables.api_keys``).
"""
