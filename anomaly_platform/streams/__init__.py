"""What a stream is: names, features, detectors, policies. One module per built-in stream."""

from anomaly_platform.streams.barcode import BARCODE
from anomaly_platform.streams.base import (
    MetricStream,
    RetrainingPolicy,
    ScanStream,
    Stream,
    metric_streams,
    scan_streams,
)
from anomaly_platform.streams.ems import EMS
from anomaly_platform.streams.iiot import IIOT

BUILT_IN: tuple[Stream, ...] = (BARCODE, IIOT, EMS)

__all__ = [
    "BARCODE",
    "BUILT_IN",
    "EMS",
    "IIOT",
    "MetricStream",
    "RetrainingPolicy",
    "ScanStream",
    "Stream",
    "metric_streams",
    "scan_streams",
]
