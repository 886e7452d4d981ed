"""The explanation of readings of one series, from what scored them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from anomaly_platform.ml.arrays import Floats, Ints
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.scoring.explaining.expected import Judge, Ranges, expected_ranges
from anomaly_platform.ml.scoring.explaining.numbers import (
    ABOVE,
    BELOW,
    NEITHER,
    PARTS,
    Explanation,
)
from anomaly_platform.ml.scoring.explaining.parts import Shares, shares_of
from anomaly_platform.ml.scoring.model_stack import Columns, Model, Room, judge_by_window
from anomaly_platform.ml.series_model.inputs import input_schema
from anomaly_platform.ml.series_runs.layout import (
    CHATTER,
    ELAPSED,
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


def explain(
    model: Model | None,
    layout: MetricFeatureSet,
    columns: Columns,
    times: Ints,
    features: Floats,
    kinds: Ints,
    thresholds: Floats,
    exponent: float,
) -> list[Explanation]:
    """Return the explanations of (n,) readings of one series, each the same alone and among others.

    Parameters
    ----------
    model
        The series'; None where there is none.
    layout, columns
        What the features are, and where.
    times, features
        (n,) microseconds since 1970, (features, n), with or without run columns.
    kinds
        (n,) evidence of runs that decides (`series_runs.layout`).
    thresholds
        (n,) score from which each is an anomaly.
    exponent
        From p-value to score.
    """
    found: list[Explanation] = []
    seasonal = model is not None and model.seasonal
    for start in range(0, times.size, _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        part = np.ascontiguousarray(features[:, some])
        room = Room(part.shape[1], columns)
        room.times = times[some]
        room.slots[:] = -1 if model is None else 0
        judge_by_window(part, columns, room)
        runs = part[len(layout.names) :]
        judge = Judge(None if model is None else model.arrays, columns, room, runs, exponent)
        ranges, shares = expected_ranges(judge, thresholds[some]), None
        if model is not None:
            shares = shares_of(model, columns, room, runs, input_schema(layout))
        found += _explanations(layout, room, runs, kinds[some], ranges, shares, seasonal=seasonal)
    return found


def _explanations(
    layout: MetricFeatureSet,
    room: Room,
    runs: Floats,
    kinds: Ints,
    ranges: Ranges,
    shares: Shares | None,
    *,
    seasonal: bool,
) -> Iterator[Explanation]:
    # Where a season moves the range, only the newest readings can be compared with it.
    windows = layout.windows[: 1 if seasonal else -1]
    shortest_s = layout.frequency.total_seconds() * layout.windows[0]
    other_hours = seasonal and shortest_s > _SAME_HOURS_S
    for i in range(kinds.size):
        low, high = float(ranges.low[i]), float(ranges.high[i])
        value = float(room.table[0, i])
        direction = ABOVE if value > high else BELOW if value < low else NEITHER
        lasted: float | None = _lasted(windows, layout, room.related[:, i], low, high, direction)
        if lasted and other_hours:
            lasted = None
        if runs.size and kinds[i] not in {ORDINARY, RISE}:
            lasted = _of_run(int(kinds[i]), runs[:, i])
        elif direction == NEITHER and not ranges.found[i]:
            # What is unusual is in the windows before it.
            lasted = None
        parts = {} if shares is None else dict(zip(PARTS, shares.parts[i].tolist(), strict=True))
        yield Explanation(
            low,
            high,
            _deviation(value, low, high, float(ranges.spread[i])),
            direction,
            lasting=lasted is None or lasted > 0.0,
            lasted_s=lasted,
            unavoidable=not ranges.found[i],
            parts=parts,
            inputs=() if shares is None else shares.inputs[i],
            usual=None if shares is None else shares.usual,
        )


def _deviation(value: float, low: float, high: float, spread: float) -> float:
    """Return how far a value is from the middle of a range, in halves of its width."""
    if not np.isfinite(high - low):
        # One side has no end: the other is the edge, from where the series' spreads count.
        return 1.0 + max(low - value, value - high) / spread
    half = max((high - low) / 2.0, _NARROWEST * spread)
    return abs(value - (low + high) / 2.0) / half


def _lasted(
    windows: tuple[int, ...],
    layout: MetricFeatureSet,
    related: Floats,
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
    before = float(related[0] - related[1])
    known = [(before, 1.0), *zip(related[2:].tolist(), windows, strict=False)]
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
