"""Telemetry on its way in: HTTP batches and MQTT messages through one door."""
