"""Anomaly detection as a Dagster asset graph: from raw events to scores, alerts and BI tables."""

__version__ = "0.1.0"
