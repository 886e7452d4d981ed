"""Fits how the metrics of a host move together, and what that says of its calibration part."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomaly_platform.ml.arrays import Floats, Ints
from anomaly_platform.ml.host_model.clock import on_one_clock
from anomaly_platform.ml.host_model.model import HostModel
from anomaly_platform.ml.scoring.entities import fuse
from anomaly_platform.ml.training.fit import cross_p_values


@dataclass(frozen=True)
class FittedHost:
    """A host's model, and the evidence of its calibration part.

    Attributes
    ----------
    model
        How its metrics move together.
    times, evidence
        (c,) times of the calibration part, and what moves apart then, each block judged by the
        other blocks.
    """

    model: HostModel
    times: Ints
    evidence: Floats


def fit_host(
    metrics: Sequence[str], times: Sequence[Ints], values: Sequence[Floats], longest: int
) -> FittedHost | None:
    """Fit a host, None where there is too little to learn from.

    Parameters
    ----------
    metrics
        Names of its metrics.
    times, values
        Per metric, (n_i,) microseconds since 1970, and readings.
    longest
        Rows of the longest window; with fewer rows the history is short.
    """
    clock, rows = on_one_clock(times, values)
    found = HostModel.fit(metrics, clock, rows, short=clock.size < longest)
    if found is None:
        return None
    model, distances = found
    p_values = np.ones_like(distances)
    for column in range(distances.shape[1]):
        known = ~np.isnan(distances[:, column])
        kept = np.ones(int(known.sum()), dtype=np.bool_)
        p_values[known, column] = cross_p_values(distances[known, column], kept, None)
    return FittedHost(model, clock[-distances.shape[0] :], fuse(-np.log(p_values)))
