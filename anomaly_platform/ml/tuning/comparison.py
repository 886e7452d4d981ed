"""Compares two settings on the same stretches of time, with confidence.

A paired bootstrap: stretches are drawn anew with replacement, the same ones for both, and the
difference of the objective is looked at in every draw.
"""

from dataclasses import dataclass

import numpy as np

from anomaly_platform.ml.arrays import Floats
from anomaly_platform.ml.tuning.judging import Measured, measure

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
        Stretches of time that were compared.
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
    limit: float,
    seed: int,
) -> Comparison:
    """Compare what (units, 6) counts of both say, with the VUS-PR beside them."""
    units = len(present[0])
    drawn = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), _DRAWS)
    gains = measure(drawn @ proposed[0], limit)[0] - measure(drawn @ present[0], limit)[0]
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
