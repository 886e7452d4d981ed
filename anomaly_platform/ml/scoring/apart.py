"""Which metrics of a host move apart from the others, at the times of its rows.

What belongs here: the evidence of a host's model, and its words. What the host's score makes of it
is `batch`'s business.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from anomaly_platform.ml.arrays import Floats, Ints
from anomaly_platform.ml.host_model.clock import on_one_clock
from anomaly_platform.ml.host_model.model import HostModel
from anomaly_platform.ml.host_model.reach import AVERAGED
from anomaly_platform.ml.scoring.entities import at_times, fuse, standing_out


@dataclass(frozen=True, eq=False)
class Apart:
    """How far the metrics of a host move apart.

    Attributes
    ----------
    model
        The host's.
    times
        (n,) microseconds since 1970, ascending.
    distances
        (n, k) averaged errors in standard deviations, NaN where there is none.
    evidence
        (n, k) of them.
    """

    model: HostModel
    times: Ints
    distances: Floats
    evidence: Floats

    @classmethod
    def of(
        cls,
        model: HostModel,
        known: Collection[str],
        times: Sequence[Ints],
        values: Sequence[Floats],
    ) -> Self:
        """Judge a host.

        Parameters
        ----------
        model
            The host's.
        known
            Metrics that count; the others of the model only help to predict these.
        times, values
            Per metric of the model, (n_i,) microseconds since 1970 and readings.
        """
        clock, rows = on_one_clock(times, values)
        distances = model.distances(clock, rows)
        evidence = -np.log(model.p_values(distances))
        evidence[:, [metric not in known for metric in model.metrics]] = 0.0
        return cls(model, clock, distances, evidence)

    def at(self, times: Ints) -> Floats:
        """Return (t,) the host's evidence at some times."""
        return at_times(self.times, fuse(self.evidence), times)

    def metrics(self, time: int) -> list[str]:
        """Return which metrics move apart at a time, the furthest first."""
        row = int(np.searchsorted(self.times, time))
        return [self.model.metrics[place] for place in standing_out(self.evidence[row])]

    def reason(self, metric: str, time: int) -> str:
        """Return in words how a metric moves apart at a time."""
        row, place = int(np.searchsorted(self.times, time)), self.model.metrics.index(metric)
        far = self.distances[row, place] * self.model.scales[place]
        usual = self.model.usual[place]
        return (
            f"moves apart from the other metrics of this host: off by {far:.6g} on average of "
            f"{AVERAGED} readings, usual is {usual:.6g}"
        )
