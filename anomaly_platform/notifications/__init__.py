"""Notifies people and programs: the outbox, deliveries, channels.

What deserves a message is decided in ``incidents`` and by the sensors.
"""
