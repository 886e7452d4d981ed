"""What people would use instead: PyOD's IForest, PCA reconstruction, a robust z-score.

Each learns from the train part and scores every row; it flags what scores above the 99 % quantile
of its own scores on the train part, the same share of normal rows that the platform allows itself.
None has a parameter chosen on the corpora.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from anomaly_platform.ml.arrays import Bools, Floats
from anomaly_platform.ml.evaluation.injection import robust_scale

Baseline = Callable[[Floats, Floats], Floats]

ALPHA = 0.01
# A single metric gives a row no context; its last hour of 5-minute readings does.
SUBSEQUENCE = 12


def iforest(train: Floats, rows: Floats) -> Floats:
    """Return PyOD's isolation forest of 100 trees on the raw values."""
    from pyod.models.iforest import IForest

    model = IForest(n_estimators=100, random_state=42).fit(train)
    return np.asarray(model.decision_function(rows), dtype=np.float64)


def pca(train: Floats, rows: Floats, share: float = 0.90) -> Floats:
    """Return the squared error after projecting on the components of a share of the variance."""
    centre, scale = train.mean(axis=0), train.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    scaled = (train - centre) / scale
    _, strength, components = np.linalg.svd(scaled, full_matrices=False)
    explained = np.cumsum(strength**2) / max(float(np.sum(strength**2)), 1e-300)
    kept = components[: int(np.searchsorted(explained, share)) + 1]
    if kept.shape[0] == train.shape[1] and kept.shape[0] > 1:
        kept = kept[:-1]  # all of them would leave no error to look at
    centred = (rows - centre) / scale
    return np.sum((centred - centred @ kept.T @ kept) ** 2, axis=1)


def robust_z(train: Floats, rows: Floats) -> Floats:
    """Return the largest distance from a metric's median in robust scales."""
    centre = np.median(train, axis=0)
    scale = np.array([robust_scale(column) for column in train.T])
    return np.abs((rows - centre) / scale).max(axis=1)


BASELINES: dict[str, Baseline] = {
    "PyOD IForest": iforest,
    "PCA reconstruction": pca,
    # Where to cut is a choice that matters; the stronger one stands beside the usual one.
    "PCA, 95 % kept": partial(pca, share=0.95),
    "robust z-score": robust_z,
}


def scored(baseline: Baseline, values: Floats, train: int) -> tuple[Floats, Bools]:
    """Return a baseline's scores of all rows and its flags.

    The scores are scaled by their own median and 99 % quantile on the train part, so that 1 is
    the threshold in every file: NAB asks for one threshold over all.
    """
    rows = _filled(values)
    if values.shape[1] == 1 and baseline is not robust_z:
        padded = np.concatenate((np.repeat(rows[:1], SUBSEQUENCE - 1), rows[:, 0]))
        rows = np.lib.stride_tricks.sliding_window_view(padded, SUBSEQUENCE)
    scores = baseline(rows[:train], rows)
    middle = float(np.median(scores[:train]))
    high = float(np.quantile(scores[:train], 1 - ALPHA))
    # Where training scores are all equal, anything above them is beyond the threshold.
    unit = high - middle or max(abs(middle), 1.0) * 1e-6
    scaled = (scores - middle) / unit
    return scaled, scaled > 1.0


def _filled(values: Floats) -> Floats:
    """Carry the last reading forward over missing ones; none of the baselines takes NaN."""
    import polars as pl

    frame = pl.DataFrame(values).fill_nan(None)
    return (
        frame.fill_null(strategy="forward").fill_null(strategy="backward").fill_null(0).to_numpy()
    )
