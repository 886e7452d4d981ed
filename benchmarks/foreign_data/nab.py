"""Scoring after the Numenta Anomaly Benchmark (NAB): early detections in windows, few false ones.

What belongs here: the benchmark's reward for a row, its sum over a corpus at one threshold, its
normalisation, and its threshold optimiser. What does not: the corpus itself, and measures that
need no windows (evaluation).

After Lavin and Ahmad, "Evaluating Real-time Anomaly Detection Algorithms - the Numenta Anomaly
Benchmark", ICMLA 2015, in the form of the benchmark's current sweeper. The optimiser looks at the
labels: what it returns is a figure for comparison with published ones and must be called
*optimised*; :func:`score_at` is what a user gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from anomaly_platform.ml.arrays import Floats, Ints

_PROBATION_SHARE = 0.15
_PROBATION_CEILING = 5000
# A row this many window lengths behind a window is as wrong as one that no window precedes.
_FAR = 3.0


@dataclass(frozen=True, slots=True)
class Profile:
    """What an application pays for each kind of mistake.

    Attributes
    ----------
    true_positive, false_positive, false_negative : float
        Weights, positive.
    """

    true_positive: float
    false_positive: float
    false_negative: float


STANDARD = Profile(1.0, 0.11, 1.0)
LOW_FP = Profile(1.0, 0.22, 1.0)
LOW_FN = Profile(1.0, 0.11, 2.0)


@dataclass(frozen=True, slots=True)
class NabSeries:
    """Scores of one file of the corpus, with its anomaly windows.

    Attributes
    ----------
    scores : ndarray of float64, shape (n,)
        Higher = more anomalous, in order of time; NaN, where a row has no score, is never flagged.
    windows : tuple of (int, int)
        First and last row (included) of each window, in order, not overlapping.
    """

    scores: Floats
    windows: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        last = -1
        for start, stop in self.windows:
            if not last < start <= stop < self.scores.size:
                raise ValueError(
                    f"window {start}-{stop} overlaps another or leaves the {self.scores.size} rows"
                )
            last = stop


@dataclass(frozen=True, slots=True)
class NabScore:
    """Result on a corpus.

    Attributes
    ----------
    score : float
        Normalised: 0 is a detector that never flags, 100 one that flags the first row of every
        window and nothing else; bad detectors fall below 0.
    threshold : float
        Rows with at least this score are flagged.
    windows, windows_found : int
        Windows that reach beyond probation, and those with a flag.
    false_positives : int
        Flagged rows outside every window, after probation.
    """

    score: float
    threshold: float
    windows: int
    windows_found: int
    false_positives: int


def probation_rows(rows: int) -> int:
    """Return how many first rows of a file are not scored: 15 %, at most 750."""
    return int(min(_PROBATION_SHARE * rows, _PROBATION_SHARE * _PROBATION_CEILING))


def windows_of(
    times: ArrayLike, limits: Sequence[tuple[object, object]]
) -> tuple[tuple[int, int], ...]:
    """Return windows given as first and last time as first and last row.

    Parameters
    ----------
    times : array_like of datetime64, shape (n,)
        Times of the rows, rising.
    limits : sequence of (start, end)
        Both included, anything that NumPy reads as a time.

    Raises
    ------
    ValueError
        If no row lies in a window.
    """
    clock = np.asarray(times, dtype="datetime64[us]")
    rows: list[tuple[int, int]] = []
    for start, end in limits:
        first = int(np.searchsorted(clock, np.datetime64(str(start), "us"), side="left"))
        stop = int(np.searchsorted(clock, np.datetime64(str(end), "us"), side="right"))
        if stop <= first:
            raise ValueError(f"no row lies in the window {start} - {end}")
        rows.append((first, stop - 1))
    return tuple(rows)


def scaled_sigmoid(position: ArrayLike) -> Floats:
    """Return the reward of a detection by its place relative to a window, in [-1, 1).

    -1 is the window's first row (0.9866), 0 its end (0), positive places lie behind it (down to
    -1 beyond three window lengths).
    """
    place = np.asarray(position, dtype=np.float64)
    inside = np.minimum(place, _FAR)
    return np.where(place > _FAR, -1.0, 2 / (1 + np.exp(5 * inside)) - 1)


def score_at(
    corpus: Sequence[NabSeries], threshold: float, profile: Profile = STANDARD
) -> NabScore:
    """Score a corpus at one threshold that was chosen without looking at the labels.

    Parameters
    ----------
    corpus : sequence of NabSeries
        All files.
    threshold : float
        Rows with at least this score are flagged, in every file.
    profile : Profile
        Weights of the mistakes.

    Raises
    ------
    ValueError
        If no window reaches beyond probation: the normalisation is then undefined.
    """
    sweep = _Sweep.of(corpus, profile)
    return sweep.result(int(np.count_nonzero(sweep.scores >= threshold)), threshold)


def optimised_score(corpus: Sequence[NabSeries], profile: Profile = STANDARD) -> NabScore:
    """Score a corpus at the one threshold that is best for it: the benchmark's optimiser.

    It sees the labels. The figure is comparable with published ones and to be reported as
    optimised; no product can reach it but by luck.

    Parameters
    ----------
    corpus : sequence of NabSeries
        All files.
    profile : Profile
        Weights of the mistakes.

    Raises
    ------
    ValueError
        If no window reaches beyond probation.
    """
    sweep = _Sweep.of(corpus, profile)
    # A threshold can only lie between two different scores.
    cuts = np.flatnonzero(np.append(sweep.scores[1:] != sweep.scores[:-1], True)) + 1
    cuts = np.concatenate(([0], cuts)) if sweep.scores.size else np.zeros(1, dtype=np.int64)
    gains = np.concatenate(([0.0], np.cumsum(sweep.gains)))
    flagged = int(cuts[np.argmax(gains[cuts])])
    return sweep.result(flagged, float(sweep.scores[flagged - 1]) if flagged else np.inf)


@dataclass(frozen=True, slots=True)
class _Sweep:
    """Every scored row of a corpus from the highest score down, with what flagging it changes."""

    scores: Floats
    gains: Floats
    window: Ints
    windows: int
    profile: Profile

    @classmethod
    def of(cls, corpus: Sequence[NabSeries], profile: Profile) -> _Sweep:
        parts: list[tuple[Floats, Floats, Ints]] = []
        known = 0
        for series in corpus:
            reward, window = _row_rewards(series, profile)
            kept = np.arange(series.scores.size) >= probation_rows(series.scores.size)
            scored = kept & ~np.isnan(series.scores)
            # A window stays to be found even when none of its rows has a score.
            present = np.unique(window[kept & (window >= 0)])
            numbers = np.full(len(series.windows) + 1, -1, dtype=np.int64)
            numbers[present] = known + np.arange(present.size)
            known += present.size
            parts.append((series.scores[scored], reward[scored], numbers[window[scored]]))
        if not known:
            raise ValueError("no anomaly window reaches beyond probation")
        values, rewards, windows = map(np.concatenate, zip(*parts, strict=True))
        order = np.argsort(-values, kind="stable")
        window = windows[order]
        gains = _gains(rewards[order], window, profile)
        return cls(values[order], gains, window, known, profile)

    def result(self, flagged: int, threshold: float) -> NabScore:
        raw = -self.profile.false_negative * self.windows + float(self.gains[:flagged].sum())
        nothing = -self.profile.false_negative * self.windows
        perfect = self.profile.true_positive * self.windows
        hit = self.window[:flagged]
        return NabScore(
            score=100 * (raw - nothing) / (perfect - nothing),
            threshold=threshold,
            windows=self.windows,
            windows_found=int(np.unique(hit[hit >= 0]).size),
            false_positives=int(np.count_nonzero(hit < 0)),
        )


def _row_rewards(series: NabSeries, profile: Profile) -> tuple[Floats, Ints]:
    """Return what flagging each row is worth, and the window that it lies in (-1: none)."""
    rows = np.arange(series.scores.size)
    window = np.full(rows.size, -1, dtype=np.int64)
    reward = np.full(rows.size, -profile.false_positive)
    best = float(scaled_sigmoid(-1.0))
    for number, (start, stop) in enumerate(series.windows):
        width = stop - start + 1
        inside = slice(start, stop + 1)
        window[inside] = number
        place = -(stop - rows[inside] + 1) / width
        reward[inside] = profile.true_positive * scaled_sigmoid(place) / best
        behind = slice(stop + 1, None)
        # The benchmark divides by the steps within the window; one row has none.
        place = (rows[behind] - stop) / max(width - 1, 1)
        reward[behind] = profile.false_positive * scaled_sigmoid(place)
    return reward, window


def _gains(rewards: Floats, window: Ints, profile: Profile) -> Floats:
    """Return what each row adds when the threshold falls to it: a window counts its best row."""
    gains = np.where(window < 0, rewards, 0.0)
    for number in np.unique(window[window >= 0]).tolist():
        members = np.flatnonzero(window == number)
        best = np.maximum.accumulate(rewards[members])
        gains[members] = np.diff(best, prepend=-profile.false_negative)
    return gains
