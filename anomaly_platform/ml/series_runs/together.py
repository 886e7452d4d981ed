"""Runs that the metrics of a host have at the same time: one quiet night is not many events.

Metrics of a machine that stands still rest together. When that night is a little longer than ever,
each of them rests longer than ever, and each would be evidence by itself. So the strongest run
counts in full, and each further one only for as much as it was a surprise beside the first in
training: −ln of the share of the first's longest runs during which the other was in one of its own,
by the rule of succession. Metrics whose runs came together say nothing new; of others at most
ln 51 is known from fifty runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from anomaly_platform.ml.arrays import Floats
from anomaly_platform.ml.series_runs.layout import DEEPEST_COUNT


def as_one(evidence: Floats, alone: Floats, deepest: Sequence[Floats]) -> Floats:
    """Return (t, series) evidence in which runs that come together count once.

    Parameters
    ----------
    evidence, alone
        (t, series) with that of runs, and without.
    deepest
        Per series, (n, 2) begin and end of its longest runs in training (`layout.DEEPEST`).
    """
    rests = np.where(evidence > alone, evidence, 0.0)
    rows = np.flatnonzero(np.count_nonzero(rests, axis=1) > 1)
    if not rows.size:
        return evidence
    joined = evidence.copy()
    strongest = rests[rows].argmax(axis=1)
    everything = np.stack(deepest)
    for first in np.unique(strongest):
        mine = rows[strongest == first]
        surprise = _surprise(everything[first], everything)
        joined[mine] = np.fmax(alone[mine], np.minimum(evidence[mine], surprise))
        joined[mine, first] = evidence[mine, first]
    return joined


def _surprise(first: Floats, others: Floats) -> Floats:
    """Return (series,) how much evidence a run of each is beside one of the first."""
    begin, end = first[:, 0], first[:, 1]
    known = (first[0, 1] != 0.0) & (others[:, 0, 1] != 0.0)
    during = (others[:, None, :, 0] <= end[:, None]) & (others[:, None, :, 1] >= begin[:, None])
    shared = during.any(axis=2).sum(axis=1)
    return np.where(known, math.log(DEEPEST_COUNT + 1.0) - np.log(shared + 1.0), np.inf)
