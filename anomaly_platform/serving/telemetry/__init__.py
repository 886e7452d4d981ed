"""Readings on their way in, by HTTP and MQTT, to the one thread of a process that writes them.

The transaction that stores them does not belong here (``realtime``).
"""
