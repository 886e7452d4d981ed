"""Which metrics of a host move apart from the others, at the times of its rows.

What belongs here: the evidence of a host's model, its words, what it makes of a host's score,
and which metrics are named as causes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from anomaly_platform.ml.arrays import Bools, Floats, Ints
from anomaly_platform.ml.calibration.conformal import score_of_p
from anomaly_platform.ml.host_model.bundled import BundledHost
from anomaly_platform.ml.host_model.clock import on_one_clock
from anomaly_platform.ml.host_model.model import HostModel
from anomaly_platform.ml.host_model.reach import AVERAGED
from anomaly_platform.ml.scoring.entities import (
    CAUSE_EVIDENCE,
    MOST_CAUSES,
    EntityEvidence,
    at_times,
    fuse,
    ranked,
    standing_out,
)
from anomaly_platform.ml.scoring.scored_columns import ScoredColumns


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


def heard(
    host: BundledHost, p_values: Floats, fused: Floats, apart: Floats, alpha: float
) -> tuple[Floats, Floats]:
    """Return (t,) p-values and scores of a host in view of what moves apart.

    It orders rows and decides nothing (`entities.ranked`), but where the history was short. There
    the series' p-value and its own are worth the same: their geometric mean is exact where both say
    the same, and too large where they say it independently.

    Parameters
    ----------
    host
        Its model and calibration.
    p_values, fused
        (t,) p-values of its series together, and the evidence that they were made of.
    apart
        (t,) evidence of what moves apart; where it is 0, the series decide.
    alpha
        Share of ordinary readings above the standard threshold.
    """
    if host.model.decides:
        own = host.together.p_value(apart)
        p = np.where(apart > 0.0, np.sqrt(p_values * own), p_values)
        return p, score_of_p(p, alpha)
    together = host.together.p_value(fused + apart)
    return p_values, ranked(score_of_p(p_values, alpha), score_of_p(together, alpha))


def name_causes(
    members: list[tuple[str, Ints]],
    evidence: EntityEvidence,
    apart: Apart | None,
    flagged: Bools,
    result: ScoredColumns,
) -> None:
    """Name the metrics behind an entity's score where it is told of, at (t,) times.

    What is novel or stands out by itself comes first, then what moves apart; of that it is said
    how.
    """
    causes: dict[int, list[str]] = {}
    new = [
        (metric, set(clock[result.novel[places]].tolist()))
        for (metric, places), clock in zip(members, evidence.places, strict=True)
    ]
    for t in np.flatnonzero(flagged).tolist():
        named = causes[t] = [metric for metric, rows in new if t in rows]
        named.extend(one for s in evidence.causes(t) if (one := members[s][0]) not in named)
        del named[MOST_CAUSES:]
        if apart is not None:
            more = [one for one in apart.metrics(evidence.times.item(t)) if one not in named]
            named.extend(more[: MOST_CAUSES - len(named)])
    for s, (metric, places) in enumerate(members):
        clock = evidence.places[s]
        for row in np.flatnonzero(flagged[clock]).tolist():
            place, t = int(places[row]), int(clock[row])
            result.causes[place] = causes[t]
            result.caused[place] = metric in causes[t]
            if apart is None or evidence.matrix[t, s] >= CAUSE_EVIDENCE:
                continue
            if metric in apart.metrics(evidence.times.item(t)):
                result.reasons[place] = apart.reason(metric, evidence.times.item(t))
