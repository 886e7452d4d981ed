"""How decisions of a day agree with what is known of its events."""

from typing import Final

import numpy as np
import numpy.typing as npt

from anomaly_platform.kinds.base import Stats

QUANTILES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
"""What is told of a day's scores."""


def decision_quality(labels: npt.NDArray[np.bool_], flags: npt.NDArray[np.bool_]) -> Stats:
    """Compare decisions with labels; nothing where there are none."""
    from anomaly_platform.ml.evaluation.measures import confusion

    if labels.size == 0:
        return {}
    counts = confusion(labels, flags)
    return {
        ("day", "labelled"): labels.size,
        ("day", "labelled_anomalies"): int(labels.sum()),
        ("day", "precision"): counts.precision,
        ("day", "recall"): counts.recall,
        ("day", "false_positive_rate"): counts.false_positive_rate,
    }
