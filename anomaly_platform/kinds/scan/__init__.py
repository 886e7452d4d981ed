"""The kind ``scan``: scans of goods, which train together, by rules and learned detectors."""

from __future__ import annotations

from anomaly_platform.kinds.scan.kind import ScanKind

__all__ = ["ScanKind"]
