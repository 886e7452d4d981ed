"""The kind ``metric``: readings of entities, a model for each series."""

from __future__ import annotations

from anomaly_platform.kinds.metric.kind import MetricKind

__all__ = ["MetricKind"]
