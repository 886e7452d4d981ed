"""Anomaly detection as a Dagster asset graph, and its detectors as a library.

The estimators are imported when they are asked for: `import anomaly_platform` loads nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anomaly_platform.ml.estimators.isolation_forest import IsolationForest
    from anomaly_platform.ml.estimators.scans import ScanDetector
    from anomaly_platform.ml.estimators.sequences import SequenceDetector
    from anomaly_platform.ml.estimators.series import HostDetector, SeriesDetector

__version__ = "0.1.0"
__all__ = ["HostDetector", "IsolationForest", "ScanDetector", "SequenceDetector", "SeriesDetector"]

_MODULES = {
    "HostDetector": "series",
    "IsolationForest": "isolation_forest",
    "ScanDetector": "scans",
    "SequenceDetector": "sequences",
    "SeriesDetector": "series",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.ml.estimators.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
