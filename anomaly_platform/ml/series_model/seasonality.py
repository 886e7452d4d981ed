"""What a series does at which time of its cycle: found in the training part, used when reliable.

A job that runs at six every morning makes the same jump every day; to windows of the last hours it
is a surprise each time. A `SeasonalProfile` holds, for every phase of a period, what each model
input usually is there and how widely it varies there, so that the input says how a reading differs
from its usual self at that time.

The period is one of: a day, a week, and the lag at which the series' autocorrelation peaks. Its
strength is the correlation between the profile of the odd cycles and that of the even ones: chance
does not repeat itself, however large it is. Below `STRENGTH_NEEDED` there is no profile; above,
it is shrunk by its reliability (Spearman and Brown). Of a series that changes only a few times
`season_support` asks for more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from anomaly_platform.ml.arrays import Floats, Ints
from anomaly_platform.ml.bundles.checking import BadModelError, checked
from anomaly_platform.ml.series_model.season_kernels import (
    fill_profile,
    first_peak,
    lay_on_grid,
    repetition,
    take_off,
)
from anomaly_platform.ml.series_model.season_support import is_supported

PHASES = 288
"""Phases of a period at most; of a day they are five minutes each."""

WEEK_PHASES = 84
"""Phases of a week on top of a day, two hours each."""

STRENGTH_NEEDED = 0.5
"""Correlation of odd and even cycles from which a profile is used."""

_CYCLES_NEEDED = 3
#: By so much another period must repeat better than the clock's own.
_CLEARLY = 0.05
_DAY = 86_400_000_000
_CLOCK = (_DAY, 7 * _DAY)
#: Inputs beyond this many units are cut before averaging, so that one incident makes no habit.
_CLIP = 10.0
_SHORTEST_PERIOD_ROWS = 12
#: Ten years: times a phase, it is still a whole number of 64 bits.
_LONGEST_PERIOD = 3_653 * _DAY


@dataclass(frozen=True)
class SeasonalProfile:
    """The usual course of every model input over a period.

    Attributes
    ----------
    period
        Microseconds; 0 when there is none.
    phases
        Phases that the period is cut into, 0 to 288.
    strength
        Correlation between odd and even cycles, the strongest input's, in [−1, 1].
    offset
        (inputs, 288 or 84) usual value of each input, f16, 0 where no habit was found.
    widening
        (as offset) by how much wider it varies there than at large, f16, at least 1.
    """

    period: int
    phases: int
    strength: float
    offset: npt.NDArray[np.float16]
    widening: npt.NDArray[np.float16]

    @classmethod
    def none(cls, inputs: int, strength: float = 0.0, width: int = PHASES) -> SeasonalProfile:
        """Return the profile of a series without seasons, with room for `width` phases."""
        return cls(0, 0, strength, *_flat(inputs, width))

    @classmethod
    def fit(cls, times: Ints, inputs: Floats, frequency: int) -> SeasonalProfile:
        """Find period, strength and profile.

        Parameters
        ----------
        times
            (n,) microseconds since 1970, ascending.
        inputs
            (n, inputs) in units of their rare distances, centred.
        frequency
            Expected microseconds between two rows.
        """
        cut = _cut(inputs)
        # The clock's own periods first; another, or a longer one, must repeat clearly better.
        periods = (
            lambda: _DAY,
            lambda: 7 * _DAY,
            lambda: _peak(times, cut, frequency),
        )
        return cls._best_of(periods, times, cut, frequency, PHASES)

    @classmethod
    def fit_week(cls, times: Ints, inputs: Floats, frequency: int) -> SeasonalProfile:
        """Find what recurs weekly, on top of a day, in inputs without their daily profile.

        What happens on Monday mornings only is no part of an ordinary day, and a profile of the
        whole week alone is too coarse for the jobs of a day. Parameters as in `fit`.
        """
        if not times.size or times[-1] - times[0] < _CYCLES_NEEDED * 7 * _DAY:
            return cls.none(inputs.shape[1], width=WEEK_PHASES)
        cut = _cut(inputs)
        return cls._best_of((lambda: 7 * _DAY,), times, cut, frequency, WEEK_PHASES)

    @classmethod
    def _best_of(
        cls,
        candidates: tuple[Callable[[], int], ...],
        times: Ints,
        cut: Floats,
        frequency: int,
        width: int,
    ) -> SeasonalProfile:
        span = int(times[-1] - times[0]) if times.size else 0
        best = cls.none(cut.shape[1], width=width)
        found = np.zeros(cut.shape[1])
        for candidate in candidates:
            if best.strength > 1.0 - _CLEARLY:
                break
            period = candidate()
            if period < _SHORTEST_PERIOD_ROWS * frequency or span < _CYCLES_NEEDED * period:
                continue
            phases = int(min(width, max(4, round(period / frequency))))
            strengths = repetition(times, cut, period, phases)
            # What is looked for takes the best of all lags.
            tried = 1 if period in _CLOCK else span // (_CYCLES_NEEDED * frequency)
            if strengths.max() > best.strength + _CLEARLY and is_supported(
                times, cut[:, _level_input(cut)], period, phases, tried
            ):
                best = cls(period, phases, float(strengths.max()), best.offset, best.widening)
                found = strengths
        if best.strength < STRENGTH_NEEDED:
            return cls.none(cut.shape[1], best.strength, width)
        return best._filled(times, cut, found)

    def _filled(self, times: Ints, inputs: Floats, strengths: Floats) -> SeasonalProfile:
        offset = np.zeros(self.offset.shape)
        widening = np.ones(self.offset.shape)
        shares = np.where(strengths >= STRENGTH_NEEDED, 2.0 * strengths / (1.0 + strengths), 0.0)
        fill_profile(times, inputs, self.period, self.phases, shares, offset, widening)
        return SeasonalProfile(
            self.period,
            self.phases,
            self.strength,
            offset.astype(np.float16),
            widening.astype(np.float16),
        )

    def apply(self, times: Ints, inputs: Floats) -> Floats:
        """Return (n, inputs) as differences from what is usual at their times."""
        if self.period == 0:
            return inputs
        inputs = np.ascontiguousarray(inputs)
        result = np.empty(inputs.shape)
        offset, widening = self.offset.astype(np.float32), self.widening.astype(np.float32)
        take_off(times, inputs, self.period, self.phases, offset, widening, result)
        return result

    def to_arrays(self) -> dict[str, Floats | npt.NDArray[np.float16]]:
        """Return everything, of the same shapes for every series with as many inputs."""
        head = np.array([self.period, self.phases, self.strength], dtype=np.float64)
        return {"head": head, "offset": self.offset, "widening": self.widening}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Floats]) -> SeasonalProfile:
        """Return the profile that `to_arrays` wrote.

        Raises
        ------
        BadModelError
            When it is none: a phase beyond its room would be read from elsewhere.
        """
        head = checked(arrays, "head", (3,))
        offset = checked(arrays, "offset", (None, None))
        widening = checked(arrays, "widening", offset.shape, low=0.5)
        period, phases, strength = head.tolist()
        if not 0 <= period <= _LONGEST_PERIOD or not (period > 0) <= phases <= offset.shape[1]:
            raise BadModelError(f"the season has {phases} phases in {period} µs")
        return cls(
            int(period),
            int(phases),
            strength,
            np.asarray(offset, dtype=np.float16),
            np.asarray(widening, dtype=np.float16),
        )


@cache
def _flat(inputs: int, width: int) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.float16]]:
    """Return offsets and widenings that change nothing; all series without seasons share them."""
    offset, widening = np.zeros((inputs, width), np.float16), np.ones((inputs, width), np.float16)
    offset.flags.writeable = widening.flags.writeable = False
    return offset, widening


def _cut(inputs: Floats) -> Floats:
    """Return the inputs within the clip: what `numpy.clip` does, without what it looks at first."""
    cut = np.maximum(inputs, -_CLIP, order="C")
    return np.minimum(cut, _CLIP, out=cut)


def _peak(times: Ints, inputs: Floats, frequency: int) -> int:
    """Return the period in microseconds at which the autocorrelation of the inputs peaks, or 0."""
    rows = int((times[-1] - times[0] + frequency // 2) // frequency) + 1
    longest = rows // _CYCLES_NEEDED
    if longest <= _SHORTEST_PERIOD_ROWS or rows > 50 * times.size:
        return 0
    # The input against the longest window: of all it follows the level most closely.
    grid = np.zeros(rows)
    lay_on_grid(times, inputs, _level_input(inputs), frequency, grid)
    # Room for the lags wanted; a transform is fast where its length has small factors only.
    room = rows + longest
    size = min(m << (room // m).bit_length() for m in (1, 3, 5, 9, 15))
    spectrum = np.fft.rfft(grid, size)
    correlation = np.fft.irfft(spectrum.real**2 + spectrum.imag**2, size)[: longest + 1]
    return first_peak(correlation, rows, _SHORTEST_PERIOD_ROWS) * frequency


def _level_input(inputs: Floats) -> int:
    """Return the place of the input against the longest window: the last z of the schema."""
    columns: int = inputs.shape[1]
    return max(0, columns - 4)
