"""Alerts: what is wrong, since when, and who has to know.

The rows of ``alerts`` and the rules that open and close them belong here. Delivery of messages
does not (``notifications``).
"""
