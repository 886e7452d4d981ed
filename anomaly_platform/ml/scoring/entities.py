"""What a host's metrics say together: one score per entity and time, and which metrics caused it.

Each series gives a p-value per reading; −ln p is its *evidence*. The entity's evidence at a time
is the mean of the largest few, of half of the metrics at most: a fault shows in some of a host's
metrics and not in the others, so the mean over all of them drowns it, while the largest alone is
at the mercy of one noisy metric. It is calibrated again (`ml.calibration`) on the calibration
part, since the largest of forty p-values is small by chance alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from anomaly_platform.ml.arrays import Floats, Ints
from anomaly_platform.ml.calibration.conformal import THRESHOLD
from anomaly_platform.ml.series_runs.together import as_one

#: How many of the largest pieces of evidence are averaged, at most half of them, rounded up.
LARGEST = 3
#: Evidence of one series beyond p = 1e-4 counts less: further down it is extrapolated, and one
#: metric's extrapolation must not outweigh every other metric. Its order is kept.
EVIDENCE_KNEE = 4.0 * float(np.log(10.0))
BEYOND_KNEE = 0.3
#: A series that most often does not move has no noise to extrapolate in units of.
BEYOND_KNEE_AT_REST = 0.01
#: A metric is named as a cause from this evidence on (p ≤ 0.01), the strongest in any case …
CAUSE_EVIDENCE = 2.0 * float(np.log(10.0))
#: … and at most this many are.
MOST_CAUSES = 10
#: How far beside the standard threshold a score is held at most.
BESIDE = 1e-6


@dataclass(frozen=True)
class EntityEvidence:
    """The evidence of one entity's series on their common clock.

    Attributes
    ----------
    times
        (t,) distinct times, ascending, microseconds since 1970.
    matrix, joined
        (t, series) evidence, 0 where a series has no reading; and as it counts together.
    places
        Per series, (n_i,) the row of each of its readings.
    beyond
        (series,) how much of the evidence beyond the knee counts.
    series
        How many the entity has, those without a reading included.
    """

    times: Ints
    matrix: Floats
    joined: Floats
    places: tuple[Ints, ...]
    beyond: Floats
    series: int

    @classmethod
    def align(
        cls,
        times: Sequence[Ints],
        p_values: Sequence[Floats],
        moves: Sequence[bool],
        series: int | None = None,
    ) -> EntityEvidence:
        """Bring the readings of several series together.

        Parameters
        ----------
        times
            Per series, (n_i,) microseconds since 1970, distinct.
        p_values
            Per series, (n_i,) in (0, 1].
        moves
            Per series, whether it most often moves (`SeriesModel.moves`).
        series
            How many the entity has, if these are not all: a sensor that is silent says nothing
            unusual, but the others are no more for it.
        """
        everything = np.concatenate(times) if times else np.empty(0, dtype=np.int64)
        common, inverse = np.unique(everything, return_inverse=True)
        ends = np.cumsum([t.size for t in times])
        places = tuple(np.split(inverse, ends[:-1])) if times else ()
        matrix = np.zeros((common.size, len(times)))
        for column, (place, p) in enumerate(zip(places, p_values, strict=True)):
            matrix[place, column] = -np.log(p)
        beyond = np.where(np.asarray(moves, dtype=np.bool_), BEYOND_KNEE, BEYOND_KNEE_AT_REST)
        return cls(common, matrix, matrix, places, beyond, series or len(times))

    def with_runs(self, alone: Sequence[Floats], deepest: Sequence[Floats]) -> EntityEvidence:
        """Return the evidence in which runs that come together count once.

        Parameters
        ----------
        alone
            Per series, (n_i,) p-values without that of runs, NaN where none are judged.
        deepest
            Per series, when its runs were longest (`series_runs.together`).
        """
        without = np.zeros_like(self.matrix)
        for column, (place, p) in enumerate(zip(self.places, alone, strict=True)):
            without[place, column] = -np.log(p)
        return replace(self, joined=as_one(self.matrix, without, deepest))

    def fused(self) -> Floats:
        """Return (t,) the entity's evidence."""
        return fuse(self.joined, self.beyond, self.series)

    def causes(self, row: int) -> list[int]:
        """Return the series that stand out at one time, the strongest evidence first."""
        found = standing_out(self.matrix[row])
        return found or [int(np.argmax(self.matrix[row]))]


def standing_out(evidence: Floats) -> list[int]:
    """Return the places of (series,) evidence that names a cause, the strongest first."""
    order = np.argsort(-evidence, kind="stable")[:MOST_CAUSES]
    return [int(s) for s in order if evidence[s] >= CAUSE_EVIDENCE]


def at_times(known: Ints, evidence: Floats, times: Ints) -> Floats:
    """Return (t,) evidence at other times, 0 where there is none.

    Parameters
    ----------
    known, evidence
        (n,) times, ascending, and the evidence then.
    times
        (t,) the other times.
    """
    found = np.zeros(times.size)
    if known.size:
        places = np.minimum(np.searchsorted(known, times), known.size - 1)
        there = known[places] == times
        found[there] = evidence[places[there]]
    return found


def ranked(scores: Floats, together: Floats) -> Floats:
    """Return (t,) scores in the order of all evidence, decided as the series alone decide.

    How metrics move together says which rows are the more unusual, but it drifts with a host's
    work, too far to decide by itself. So no score changes sides of the standard threshold: one that
    would stays beside it, in order.

    Parameters
    ----------
    scores
        (t,) of the series' evidence.
    together
        (t,) of all evidence.
    """
    above = np.maximum(together, THRESHOLD + BESIDE * together)
    below = np.minimum(together, THRESHOLD - BESIDE * (1.0 - together))
    return np.where(scores >= THRESHOLD, above, below)


def fuse(
    evidence: Floats, beyond: Floats | float = BEYOND_KNEE, series: int | None = None
) -> Floats:
    """Return (t,) the mean of the largest pieces of (t, series) evidence.

    Beyond the knee the (series,) given shares of it count. With more `series` than columns, the
    others have no evidence.

    Examples
    --------
    >>> fuse(np.array([[0.0, 0.0, 3.0, 6.0, 9.0]])).tolist()
    [6.0]
    >>> fuse(np.array([[0.0, 9.0]])).tolist()
    [9.0]
    """
    columns: int = evidence.shape[1]
    count = min(LARGEST, (max(series or 0, columns) + 1) // 2)
    if columns == 0:
        return np.zeros(evidence.shape[0])
    bent = np.minimum(evidence, EVIDENCE_KNEE)
    bent += beyond * np.maximum(evidence - EVIDENCE_KNEE, 0.0)
    there = min(count, columns)
    return np.asarray(np.partition(bent, -there, axis=1)[:, -there:].sum(axis=1) / count)
