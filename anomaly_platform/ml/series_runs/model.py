"""What is ordinary of a series' runs, and how much rarer than all seen another is.

A value is a *state* where the series stays at it: off, on, closed, 0. Each state has lengths of its
own, and all other values, of a sensor that measures something, have theirs together. Nothing is
said of a run until it is longer than every one in training. From there on it is judged by the tail
of the long ones: an exponential fitted to their excess, which is narrow where they end regularly,
as a daily job makes them end, and wide where they do not. The p-value is that of a reading, not of
a run: the share of readings that lie so deep in one.

The same tail is fitted to how quickly changes follow each other, where a series has states and
little else, and to the increase of counters. What never happened at a time of the day is judged by
how well one half of the days foretells the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from anomaly_platform.ml.arrays import AnyArray, Arrays, Bools, Floats, Ints
from anomaly_platform.ml.bundles.checking import BadModelError
from anomaly_platform.ml.order_statistics import median_of_sorted
from anomaly_platform.ml.series_runs.days import learn_counting, learn_days, learn_phases
from anomaly_platform.ml.series_runs.fold import fold, no_runs, state_of_today
from anomaly_platform.ml.series_runs.layout import (
    AGE_WORTH,
    CHANGED,
    CHANGING,
    COUNTER,
    DEEPEST,
    DEEPEST_COUNT,
    ELAPSED,
    EVENTS,
    EXCUSED,
    FALL_WORTH,
    FORGETS,
    GOES_ON,
    LENGTH,
    LOOKS_AFTER,
    MOST_CHANGES,
    OTHERS,
    REST,
    RISING,
    RUN_CONSTANTS,
    SPACING,
    SPEAKS,
    STATE_SIZE,
    STATE_SIZES,
    STATE_VALUES,
    STATES,
    STEP,
    TAIL_SIZE,
    TAILS,
    USUAL_LEVEL,
)
from anomaly_platform.ml.series_runs.resets import learn_resets, learn_rises

#: All values of a series are states where so few take up this share of its readings; elsewhere one
#: is where so large a share have it, in runs of so many readings on average.
_ALL_STATES = 0.98
_STATE_SHARE = 0.1
_STATE_LENGTH = 3.0
#: Runs or changes below which a tail says nothing.
_FEWEST = 8
#: The largest share that a tail is fitted to, and how many at least and at most.
_TAIL_SHARE = 0.1
_TAIL_COUNT = (5, 50)
#: Readings by which a run of a state, or of any other value, must be longer than all seen.
_LONGER_STATE = 2
_LONGER_OTHER = 5
#: Factor by which changes must be quicker than all seen, or a counter rise faster.
_QUICKER = 3.0
_FASTER = 1.5
#: Readings come only when the value changes where runs have so few readings on average, and the
#: longest tenth of the times between them is so many times the shortest tenth; how many times as
#: long as ever a state must be held.
_EVENT_RUNS = 1.5
_UNEVEN = 3.0
_HELD_LONGER = 1.2
#: Share of a counter's steps that may go down, and of those that must go up, and how many these
#: must be in all and for each reset: a machine that goes through its steps again and again is no
#: counter. A reset ends at less than this part of what was counted.
_RESETS = 0.01
_COUNTS = 0.02
_FEWEST_COUNTS = _COUNTS_PER_RESET = 30
_RESET_TO = 0.5
#: Quantile of the times between readings beyond which there is a gap.
_GAP = 0.99
_HALF_HOUR = 1_800_000_000
#: How many constants models have, the oldest first.
_SIZES = (FORGETS, DEEPEST, USUAL_LEVEL, FALL_WORTH, GOES_ON, RUN_CONSTANTS)


class _Tail(NamedTuple):
    """See `layout.MOST`."""

    most: float
    lasted: float
    least: float
    begin: float
    scale: float
    share: float


_SILENT = _Tail(0.0, 0.0, math.inf, 0.0, 1.0, 0.0)


@dataclass(frozen=True)
class RunModel:
    """What one series' runs are judged by.

    Attributes
    ----------
    constants
        (`RUN_CONSTANTS`,) as `layout` names them.
    last
        (`STATE_SIZE`,) state after the newest training row.
    """

    constants: Floats
    last: Floats

    @classmethod
    def silent(cls) -> RunModel:
        """Return the model that says nothing: that of bundles made before there was one."""
        return cls(np.zeros(RUN_CONSTANTS), no_runs())

    @classmethod
    # Between readings near the largest float steps are infinite.
    @np.errstate(over="ignore", invalid="ignore")
    def fit(cls, times: Ints, values: Floats, longest: int, *, forgets: bool = False) -> RunModel:
        """Learn from the rows of a series.

        Parameters
        ----------
        times, values
            (n,) microseconds since 1970, ascending; readings, none missing, n ≥ 1.
        longest
            Rows of the longest window: as many after a reset see the level before.
        forgets
            See `layout.FORGETS`.
        """
        last = no_runs()
        columns = fold(last, times, values)
        own = np.zeros(RUN_CONSTANTS)
        own[STATE_VALUES:AGE_WORTH] = own[REST] = own[DEEPEST:LOOKS_AFTER] = np.nan
        if times.size < 2 or not np.isfinite(values).all():
            own = np.zeros(RUN_CONSTANTS)
            own[FORGETS] = float(forgets)
            return cls(own, last)
        own[SPEAKS], own[FORGETS], own[LOOKS_AFTER] = 1.0, float(forgets), 1.0
        apart = np.sort(times[1:] - times[:-1])
        own[SPACING] = spacing = float(median_of_sorted(apart))
        runs = _Runs.of(times, values, apart)
        counter = is_counter(values)
        states = np.empty(0) if counter else _states(values, runs)
        own[STATE_VALUES : STATE_VALUES + states.size] = states
        tails = [_SILENT] * (RISING + 1)
        groups = runs.groups(states)
        others = groups == states.size
        events = states.size > 0 and not others.any() and _is_of_events(times, runs)
        own[EVENTS] = float(events)
        for k, state in enumerate(states):
            tails[k] = (
                _of_holds(times, values == state, spacing)
                if events
                else _of_runs(runs, groups == k, _LONGER_STATE, values.size)
            )
        tails[OTHERS] = _of_runs(runs, others, _LONGER_OTHER, values.size)
        if states.size and runs.rows[~others].sum() >= _ALL_STATES * values.size:
            tails[CHANGING] = _of_changes(columns, spacing)
        if counter:
            own[COUNTER], own[EXCUSED], own[GOES_ON] = 1.0, (longest + 1) * spacing, 1.0
            tails[RISING] = _of_rises(columns, spacing)
        own[TAILS : TAILS + TAIL_SIZE * len(tails)] = np.array(tails).ravel()
        if not events:
            deepest = _deepest(runs, spacing).ravel()
            own[DEEPEST : DEEPEST + deepest.size] = deepest
        if counter:
            learn_counting(times, columns, own)
            learn_resets(times, values, columns, own)
            learn_rises(times, columns, own)
        else:
            learn_days(times, values, columns, own)
        if states.size and events:
            learn_phases(*_held_on(times, values), None, states[0], own)
        elif states.size:
            learn_phases(times, values, columns[LENGTH], states[0], own)
        return cls(own, last)

    @property
    def counts(self) -> bool:
        """Whether the series is a counter."""
        return bool(self.constants[COUNTER] > 0.0)

    def to_arrays(self) -> dict[str, AnyArray]:
        """Return the model as arrays of fixed shapes."""
        return {"constants": self.constants, "last": self.last}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> RunModel:
        """Return the model that `to_arrays` wrote, or a silent one.

        Raises
        ------
        BadModelError
            When the arrays are none of such a model.
        """
        if not arrays:
            return cls.silent()
        found = {name: arrays[name].shape for name in sorted(arrays)}
        wanted = {"constants": (RUN_CONSTANTS,), "last": (STATE_SIZE,)}
        known = [{"constants": (n,), "last": (k,)} for n in _SIZES for k in STATE_SIZES]
        if found not in known:
            raise BadModelError(f"the runs are of {found}, not of {wanted}")
        constants, last = (np.asarray(arrays[name], np.float64) for name in wanted)
        padded = np.append(constants, np.zeros(RUN_CONSTANTS - constants.size))
        return cls(padded, state_of_today(last))


@dataclass(frozen=True)
class _Runs:
    """The runs of a series: (n,) values, and (3, n) as `learning_kernels.find_runs` has them."""

    value: Floats
    lengths: Ints

    @classmethod
    def of(cls, times: Ints, values: Floats, apart: Ints) -> _Runs:
        """Return the runs of readings; `apart` is what lies between them, ascending."""
        from anomaly_platform.ml.series_runs.learning_kernels import find_runs

        # A gap between two equal readings says nothing of how long the value stays.
        usual = apart.item(max(math.ceil((values.size - 1) * _GAP) - 1, 0))
        value, lengths = np.empty(values.size), np.empty((3, values.size), dtype=np.int64)
        count = find_runs(times, values, usual, value, lengths)
        return cls(value[:count], lengths[:, :count])

    @property
    def rows(self) -> Ints:
        """The readings of each run."""
        rows: Ints = self.lengths[0]
        return rows

    @property
    def lasted(self) -> Ints:
        """The microseconds of each run."""
        lasted: Ints = self.lengths[2]
        return lasted

    def groups(self, states: Floats) -> Ints:
        """Return the place of each run's value among the states, after them where it is none."""
        from anomaly_platform.ml.series_runs.learning_kernels import group_runs

        groups = np.empty(self.value.size, dtype=np.int64)
        group_runs(self.value, states, groups)
        return groups


def _states(values: Floats, runs: _Runs) -> Floats:
    """Return the values at which a series stays, the one with the most readings first."""
    from anomaly_platform.ml.series_runs.learning_kernels import find_states

    states, n = np.empty(STATES), values.size
    limits = (_ALL_STATES * n, _STATE_SHARE * n, _STATE_LENGTH)
    count = find_states(runs.value, runs.rows, np.argsort(runs.value), *limits, states)
    return states[:count]


def is_counter(values: Floats) -> bool:
    """Return whether a series of (n,) readings, none missing, only rises, but for resets."""
    from anomaly_platform.ml.series_runs.learning_kernels import only_counts

    limits = (_RESETS, _COUNTS, _FEWEST_COUNTS, _COUNTS_PER_RESET, _RESET_TO)
    return bool(only_counts(values, *limits))


def _is_of_events(times: Ints, runs: _Runs) -> bool:
    """Return whether a series of states has readings only when it changes."""
    short, long = np.quantile(np.diff(times), (0.1, 0.9))
    return bool(runs.rows.mean() <= _EVENT_RUNS and long > _UNEVEN * short)


def _held_on(times: Ints, values: Floats) -> tuple[Ints, Floats]:
    """Return the readings, and between them at each half-hour the value that held on."""
    clock = np.arange(times[0] - times[0] % _HALF_HOUR + _HALF_HOUR, times[-1], _HALF_HOUR)
    held = values[np.searchsorted(times, clock, side="right") - 1]
    together = np.concatenate((times, clock))
    order = np.argsort(together, kind="stable")
    return together[order], np.concatenate((values, held))[order]


def _fitted(sizes: Floats, weight: float, coarse: float) -> tuple[float, float, float] | None:
    """Return where the tail of (n,) sizes begins, its scale and the logarithm of its share.

    Parameters
    ----------
    sizes
        One for each thing that may be unusual.
    weight
        Readings that each makes unusual, per unit of the tail's scale, of all readings.
    coarse
        The smallest scale.
    """
    from anomaly_platform.ml.series_runs.learning_kernels import fit_tail

    n = sizes.size
    if n < _FEWEST:
        return None
    count = min(max(math.ceil(_TAIL_SHARE * n), _TAIL_COUNT[0]), _TAIL_COUNT[1], n - 1)
    found = np.empty(3)
    fit_tail(np.sort(sizes), count, weight, coarse, found)
    begin, scale, share = found.tolist()
    return begin, scale, share


def _of_runs(runs: _Runs, mine: Bools, longer: int, readings: int) -> _Tail:
    rows = runs.rows[mine].astype(np.float64)
    fitted = _fitted(rows, 1.0 / readings, 0.5)
    if fitted is None:
        return _SILENT
    most = float(rows.max())
    return _Tail(most, float(runs.lasted[mine].max()), most + longer, *fitted)


def _deepest(runs: _Runs, spacing: float) -> Floats:
    """Return (n, 2) begin and end of what the longest runs have beyond the one next in length."""
    from anomaly_platform.ml.series_runs.learning_kernels import deepest_runs

    ordered = np.sort(runs.rows)
    least = ordered.item(-min(DEEPEST_COUNT, ordered.size // 2) - 1)
    found = np.empty((int(ordered.size - np.searchsorted(ordered, least, side="right")), 2))
    deepest_runs(runs.lengths, least, spacing, found)
    return found


def _of_holds(times: Ints, mine: Bools, spacing: float) -> _Tail:
    """Return the tail of how long a state was held; what is longer is one reading, the next."""
    held = np.diff(times)[mine[:-1]] / spacing
    fitted = _fitted(held, 1.0, 1e-6)
    if fitted is None:
        return _SILENT
    begin, scale, _ = fitted
    most = float(held.max())
    beyond = int(np.count_nonzero(held > begin))
    share = math.log(max(beyond, 1) / times.size)
    return _Tail(most, most * spacing, _HELD_LONGER * most, begin, scale, share)


def _of_changes(columns: Floats, spacing: float) -> _Tail:
    spans = columns[CHANGED][columns[LENGTH] == 1.0]
    quick = -np.log(spans[spans > 0.0])
    if quick.size < _FEWEST * MOST_CHANGES:
        return _SILENT
    most = float(quick.max())
    if most >= -math.log(_QUICKER * spacing):
        return _SILENT  # It changes with every reading as it is.
    # Changes that follow each other say the same: one in eight is counted.
    fitted = _fitted(quick[::MOST_CHANGES], MOST_CHANGES / columns.shape[1], 0.1)
    if fitted is None:
        return _SILENT
    return _Tail(most, 0.0, most + math.log(_QUICKER), *fitted)


def _of_rises(columns: Floats, spacing: float) -> _Tail:
    up = columns[STEP] > 0.0
    rates = np.log1p(columns[STEP][up] * spacing / np.maximum(columns[ELAPSED][up], spacing))
    fitted = _fitted(rates, 1.0 / columns.shape[1], 0.05)
    if fitted is None:
        return _SILENT
    most = float(rates.max())
    return _Tail(most, 0.0, most + math.log(_FASTER), *fitted)
