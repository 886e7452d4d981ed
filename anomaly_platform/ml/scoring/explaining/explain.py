"""The explanation of readings, from what scored them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from anomaly_platform.ml.arrays import Bools, Floats, Ints
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.scoring.explaining.bounds import bounded
from anomaly_platform.ml.scoring.explaining.expected import Judge, Ranges, expected_ranges
from anomaly_platform.ml.scoring.explaining.numbers import (
    ABOVE,
    BELOW,
    NEITHER,
    PARTS,
    Explanation,
)
from anomaly_platform.ml.scoring.explaining.parts import Shares, shares_of
from anomaly_platform.ml.scoring.model_stack import Columns, Models, Room, judge_by_window
from anomaly_platform.ml.series_model.inputs import input_schema
from anomaly_platform.ml.series_runs.layout import (
    CHATTER,
    ELAPSED,
    FALL,
    HELD,
    LASTED,
    ORDINARY,
    RISE,
)

#: Readings that are explained at once: more only take more memory.
_AT_ONCE = 64
#: A range without width is taken to be so wide, in the series' spreads.
_NARROWEST = 0.01
#: What was ordinary longer ago may lie beyond what is usual now, where there is a season.
_SAME_HOURS_S = 7_200.0


class Judged(NamedTuple):
    """(n,) readings that are to be explained, and what has judged them.

    Attributes
    ----------
    models, slots
        Those in use, and (n,) place of each reading's; None where no reading has one.
    layout, columns
        What the features are, and where.
    times, features
        (n,) microseconds since 1970, (features, n), with or without run columns.
    kinds
        (n,) evidence of runs that decides (`series_runs.layout`).
    thresholds
        (n,) score from which each is told.
    exponent
        From p-value to score.
    """

    models: Models | None
    slots: Ints
    layout: MetricFeatureSet
    columns: Columns
    times: Ints
    features: Floats
    kinds: Ints
    thresholds: Floats
    exponent: float


def explain(judged: Judged) -> list[Explanation]:
    """Return the explanations of readings, each the same alone and among others."""
    models, slots, layout, columns, times, features, kinds, thresholds, exponent = judged
    found: list[Explanation] = []
    for start in range(0, times.size, _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        part = np.ascontiguousarray(features[:, some])
        room = Room(part.shape[1], columns)
        room.slots, room.times = slots[some], times[some]
        judge_by_window(part, columns, room)
        runs = part[len(layout.names) :]
        judge = Judge(models, columns, room, runs, exponent)
        ranges, shares = expected_ranges(judge, thresholds[some]), None
        said = ranges
        seasonal = np.zeros(room.slots.size, dtype=np.bool_)
        if models is not None:
            shares = shares_of(models, columns, room, runs, input_schema(layout))
            seasonal = are_seasonal(models, room.slots)
            said = bounded(ranges, models, room.slots, layout, part)
        found += _explanations(layout, judge, kinds[some], ranges, said, shares, seasonal)
    return found


def are_seasonal(models: Models, slots: Ints) -> Bools:
    """Return whether what is usual of (n,) readings depends on the time of the day or the week."""
    return np.asarray((models.periods[slots, ::2] > 0).any(axis=1))


def _explanations(
    layout: MetricFeatureSet,
    judge: Judge,
    kinds: Ints,
    ranges: Ranges,
    said: Ranges,
    shares: Shares | None,
    seasonal: Bools,
) -> Iterator[Explanation]:
    room, runs = judge.room, judge.runs
    other_hours = layout.frequency.total_seconds() * layout.windows[0] > _SAME_HOURS_S
    related = room.related.T.tolist()
    lows, highs, found, spreads, goes_on = (one.tolist() for one in ranges)
    said_lows, said_highs = said.low.tolist(), said.high.tolist()
    parts, usual = ((), ()) if shares is None else (shares.parts.tolist(), shares.usual.tolist())
    for i, (kind, value, season) in enumerate(
        zip(kinds.tolist(), room.table[0].tolist(), seasonal.tolist(), strict=True)
    ):
        low, high = lows[i], highs[i]
        direction = ABOVE if value > high else BELOW if value < low else NEITHER
        # Where a season moves the range, only the newest readings can be compared with it.
        windows = layout.windows[: 1 if season else -1]
        lasted: float | None = _lasted(windows, layout, related[i], low, high, direction)
        if lasted and season and other_hours:
            lasted = None
        if goes_on[i]:
            # The range is about one rise: no reading before is to be compared with it.
            lasted = 0.0
        if runs.size and kind not in {ORDINARY, RISE, FALL}:
            lasted = _of_run(kind, runs[:, i])
        elif direction == NEITHER and not found[i]:
            # What is unusual is in the windows before it.
            lasted = None
        yield Explanation(
            said_lows[i],
            said_highs[i],
            _deviation(value, low, high, spreads[i]),
            direction,
            lasting=lasted is None or lasted > 0.0,
            lasted_s=lasted,
            unavoidable=not found[i],
            parts={} if shares is None else dict(zip(PARTS, parts[i], strict=True)),
            inputs=() if shares is None else shares.inputs[i],
            usual=None if shares is None else usual[i],
            still=shares is not None and room.frozen.item(i),
        )


def _deviation(value: float, low: float, high: float, spread: float) -> float:
    """Return how far a value is from the middle of a range, in halves of its width."""
    if not math.isfinite(high - low):
        # One side has no end: the other is the edge, from where the series' spreads count.
        return 1.0 + max(low - value, value - high) / spread
    half = max((high - low) / 2.0, _NARROWEST * spread)
    return abs(value - (low + high) / 2.0) / half


def _lasted(
    windows: tuple[int, ...],
    layout: MetricFeatureSet,
    related: list[float],
    low: float,
    high: float,
    direction: str,
) -> float:
    """Return for how many seconds at least readings have been on this side of the range.

    Told by the reading before, and by the medians of windows: of a window whose median is beyond
    the range at least half is.
    """
    every = layout.frequency.total_seconds()
    if direction == NEITHER:
        return 0.0
    lasted = 0.0
    before = related[0] - related[1]
    known = [(before, 1.0), *zip(related[2:], windows, strict=False)]
    for place, (level, rows) in enumerate(known):
        if not (level > high if direction == ABOVE else level < low):
            break
        lasted = every * (rows if place == 0 else rows / 2)
    return lasted


def _of_run(kind: int, runs: Floats) -> float | None:
    """Return for how many seconds a run has lasted; None of quick changes."""
    if kind == CHATTER:
        return None
    return float(runs[ELAPSED if kind == HELD else LASTED]) / 1e6
