"""Whether a day of a series has drifted: the stream's policy over what was measured.

Belongs here: pure comparisons of one day's numbers. How they are measured is in ``ml.drift``, how
many such days ask for a training in ``streams.retraining``.

A fixed bound on PSI is no policy for daily data. A machine that works in shifts, or a level that
wanders, lies far from its own month on every single day: on the simulated plant the median PSI of
an ordinary day is 0.7. So a day counts as drifted only when its values lie clearly further away
than any single day of the training data did, or when its scores are no longer spread evenly.
"""

from typing import Final, Literal

from anomaly_platform.ml.drift.days import DayChange
from anomaly_platform.streams.base import RetrainingPolicy

Verdict = Literal["unknown", "none", "drifted", "severe"]
DRIFTED: Final[tuple[Verdict, ...]] = ("drifted", "severe")
"""The verdicts on days that have drifted."""

#: How many times the PSI of the oddest training day a drifted day has.
USUAL_FACTOR = 1.5
#: The same for a day that is severe.
SEVERE_FACTOR = 3.0
#: How many times the noise of sampling a PSI has to be to mean anything.
NOISE_FACTOR = 2.0
#: PSI of the p-values from which scores have drifted (measured in docs/explanation/retraining.md).
DRIFTED_SCORE_PSI = 2.0
#: From here on nearly every reading of the day is among the least usual ones.
SEVERE_SCORE_PSI = 4.0


def judge_day(
    policy: RetrainingPolicy,
    *,
    psi: float | None,
    psi_noise: float | None,
    usual_psi: float | None,
    score_psi: float | None,
    change: DayChange | None = None,
) -> Verdict:
    """Say what a day of a series is.

    Parameters
    ----------
    policy : RetrainingPolicy
    psi, psi_noise : float or None
        Of the day's values against the training reference, and what sampling alone would give.
    usual_psi : float or None
        Largest PSI of a single day of the training data; values without it are not judged.
    score_psi : float or None
        Of the day's p-values against the even spread.
    change : DayChange or None
        How the day compares with those of training.

    Examples
    --------
    >>> policy = RetrainingPolicy()
    >>> judge_day(policy, psi=0.9, psi_noise=0.05, usual_psi=0.8, score_psi=0.3)
    'none'
    >>> judge_day(policy, psi=1.3, psi_noise=0.05, usual_psi=0.8, score_psi=0.3)
    'drifted'
    """
    by_value = judge_distribution(policy, psi, psi_noise, usual_psi)
    by_score: Verdict = "unknown"
    if score_psi is not None:
        by_score = "none"
        if score_psi >= SEVERE_SCORE_PSI:
            by_score = "severe"
        elif score_psi >= DRIFTED_SCORE_PSI:
            by_score = "drifted"
    by_change: Verdict = "unknown"
    if change is not None and change.is_known:
        # Less noise is followed by scoring, in part, and asks for a training after a week.
        by_change = "drifted" if change.kind == "wider" else "none"
    order: tuple[Verdict, ...] = ("unknown", "none", "drifted", "severe")
    return max(by_value, by_score, by_change, key=order.index)


def judge_distribution(
    policy: RetrainingPolicy, psi: float | None, noise: float | None, usual: float | None
) -> Verdict:
    """Say what a day's distribution of one quantity is, from its PSI alone; see `judge_day`."""
    if psi is None or usual is None:
        return "unknown"
    beyond_noise = NOISE_FACTOR * (noise or 0.0)
    if psi >= max(SEVERE_FACTOR * max(usual, policy.drift_psi), beyond_noise):
        return "severe"
    if psi >= max(policy.drift_psi, USUAL_FACTOR * usual, beyond_noise):
        return "drifted"
    return "none"
