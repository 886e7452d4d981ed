"""The ``anomaly`` command."""
