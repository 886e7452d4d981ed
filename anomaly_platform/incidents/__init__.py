"""Alerts: what is wrong, since when, and who has to know.

Which rows of a scored day raise an alert, and what people read of and do to alerts, belongs here.
The SQL function ``raise_alert`` decides whether an alert is new or repeated
(``notifications.outbox`` calls it). Delivery of messages does not belong here (``notifications``).
"""
