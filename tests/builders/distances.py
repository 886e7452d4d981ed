"""How far a scan is from usual ones, as the one-class SVM says it."""

from __future__ import annotations

from anomaly_platform.ml.detectors.one_class_svm import FEATURES
from anomaly_platform.ml.detectors.one_class_svm_scans import Distance

USUAL = {
    "hour": (13.0, 13.0),
    "day_of_week": (2.0, 2.0),
    "is_weekend": (0.0, 0.04),
    "location_hierarchy": (1.0, 1.0),
    "latitude": (36.0, 36.0),
    "longitude": (127.0, 127.0),
    "time_since_last_scan": (5.0, 5.0),
    "sequence_length": (4.0, 4.0),
    "manufacture_age_days": (40.0, 40.0),
    "location_transition_frequency": (0.2, 0.2),
}


def distances(**far: tuple[float, float, float]) -> list[Distance]:
    """Return distances of a usual scan but for some features: value, usual, deviations."""
    every = {name: (*USUAL[name], 0.0) for name in FEATURES} | far
    found = [Distance(name, *numbers) for name, numbers in every.items()]
    return sorted(found, key=lambda one: -abs(one.deviations))
