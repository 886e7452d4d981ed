"""Compares two settings on the same stretches of time, with confidence.

A paired bootstrap: what is drawn anew with replacement is the same for both, and the difference of
the objective is looked at in every draw. Stretches of one host are alike, so whole hosts are drawn
where there are enough of them; else stretches, which says nothing of other hosts.
"""

from dataclasses import dataclass

import numpy as np

from anomaly_platform.ml.arrays import Floats
from anomaly_platform.ml.tuning.held_out import FEWEST_UNITS
from anomaly_platform.ml.tuning.judging import COUNTS, Measured, measure

_DRAWS = 4000
#: Smallest gain of the objective that is worth other settings.
LEAST_GAIN = 0.01
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Comparison:
    """Today's settings beside the best ones, on rows that the search never saw.

    Attributes
    ----------
    present, proposed
        What each is worth.
    present_vus_pr, proposed_vus_pr
        How well the scores rank the rows, whatever is flagged; None where nothing was injected.
    gain
        Difference of the objectives.
    low, high
        Interval that holds it with a confidence of 95 %.
    units
        How many hosts, or else stretches of time, were drawn from.
    """

    present: Measured
    proposed: Measured
    present_vus_pr: float | None
    proposed_vus_pr: float | None
    gain: float
    low: float
    high: float
    units: int

    @property
    def is_gain(self) -> bool:
        """Whether the proposed settings are better, beyond chance and by more than a trifle."""
        return self.low > 0.0 and self.gain >= LEAST_GAIN


def compare(
    present: tuple[Floats, float | None],
    proposed: tuple[Floats, float | None],
    *,
    hosts: int,
    limit: float,
    seed: int,
) -> Comparison:
    """Compare what (units, 6) counts of both say, with the VUS-PR beside them.

    Parameters
    ----------
    present, proposed
        Counts and VUS-PR; the stretches of each host lie together, equally many of each.
    hosts
        How many there are.
    limit
        Share of ordinary rows that may be flagged.
    seed
        Of the draws.
    """
    units = hosts if hosts >= FEWEST_UNITS else len(present[0])
    drawn = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), _DRAWS)
    known, better = (
        one[0].reshape(units, -1, len(COUNTS)).sum(axis=1) for one in (present, proposed)
    )
    gains = measure(drawn @ better, limit)[0] - measure(drawn @ known, limit)[0]
    low, high = np.quantile(gains, ((1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2))
    before, after = Measured.of(present[0], limit), Measured.of(proposed[0], limit)
    return Comparison(
        present=before,
        proposed=after,
        present_vus_pr=present[1],
        proposed_vus_pr=proposed[1],
        gain=after.objective - before.objective,
        low=float(low),
        high=float(high),
        units=units,
    )
