"""Expected ranges drawn in to values that a series can have, as far as that is known.

A range is found by scoring, and scoring knows no percentages: it may reach below 0 or beyond 100,
or between the states of a switch. What training shows of a series bounds what is said:

*   A series that was never negative has no range below 0.
*   One whose readings went from about 0 up to 100, and never further, has none beyond 100; one that
    went up to exactly 1 has none beyond 1.
*   One that only ever had a few states has a range from state to state.
*   One of whole numbers, as far as training and the look-back tell, has whole numbers for ends.

A bound is a guess from the past, so it never speaks against a reading. The first two are none where
the reading or another within the look-back has passed them, and no end is drawn in past the
reading: on which side of the range it lies stays what the scores say.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from anomaly_platform.ml.arrays import Bools, Floats, Ints
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.scoring.explaining.expected import Ranges
from anomaly_platform.ml.scoring.model_stack import Models
from anomaly_platform.ml.series_model.visited import LEAST, MOST, WIDTH, parts_known, parts_of
from anomaly_platform.ml.series_runs.layout import STATE_VALUES, STATES

#: A percentage was seen from at most, up to at least; a share of one touches 1 itself.
_PERCENT_FROM, _PERCENT_TO, _PERCENT = 10.0, 99.0, 100.0
_SHARE_FROM, _SHARE = 0.1, 1.0
_NOTHING: Final = np.empty(0)


def bounded(
    ranges: Ranges, models: Models, slots: Ints, layout: MetricFeatureSet, features: Floats
) -> Ranges:
    """Return the expected ranges of (n,) readings, drawn in.

    Parameters
    ----------
    ranges
        As scoring found them.
    models, slots
        Those in use, and (n,) place of each reading's.
    layout, features
        What the features are, and (features, n) of them.
    """
    last = layout.windows[-1]
    value, lowest, highest = (
        features[layout.names.index(name)] for name in ("value", f"min_{last}", f"max_{last}")
    )
    visited = models.visited[slots]
    known, least, most = visited[:, WIDTH] > 0.0, visited[:, LEAST], visited[:, MOST]
    # What came since training may say that there is no such bound.
    not_below = known & (np.minimum(np.minimum(least, lowest), value) >= 0.0)
    up_to = np.maximum(np.maximum(most, highest), value)
    percent = (least <= _PERCENT_FROM) & (most >= _PERCENT_TO) & (up_to <= _PERCENT)
    share = (least <= _SHARE_FROM) & (most == _SHARE) & (up_to <= _SHARE)
    full = np.where(share, _SHARE, _PERCENT)
    low, high = ranges.low.copy(), ranges.high.copy()
    drawn = not_below & (low < 0.0) & (high >= 0.0)
    low[drawn] = 0.0
    drawn = not_below & (percent | share) & (high > full) & (low <= full)
    high[drawn] = full[drawn]
    _draw_in_to_states(models, slots, known, value, low, high)
    _draw_in_to_whole_numbers(known & _are_whole(visited, layout, features), low, high)
    return ranges._replace(low=low, high=high)


def _are_whole(visited: Floats, layout: MetricFeatureSet, features: Floats) -> Bools:
    """Return of which of (n,) readings the series is one of whole numbers, as far as is known."""
    names = [
        *(f"{end}_{window}" for end in ("min", "max") for window in layout.windows),
        *(f"diff_{lag}" for lag in layout.lags),
    ]
    told = np.array([features[layout.names.index(name)] for name in ("value", *names)])
    told = np.concatenate((told, visited[:, [LEAST, MOST]].T))
    return np.asarray((np.isnan(told) | (told == np.floor(told))).all(axis=0))


def _draw_in_to_whole_numbers(whole: Bools, low: Floats, high: Floats) -> None:
    """Draw the ends in, where a whole number lies between them: no reading changes its side."""
    first, last = np.ceil(low), np.floor(high)
    drawn = whole & (first <= last)
    low[drawn], high[drawn] = first[drawn], last[drawn]


def _draw_in_to_states(
    models: Models, slots: Ints, known: Bools, value: Floats, low: Floats, high: Floats
) -> None:
    states_of: dict[int, Floats] = {}
    for i in np.flatnonzero(known).tolist():
        slot = slots.item(i)
        if slot not in states_of:
            states_of[slot] = _only_states(models, slot)
        states = states_of[slot]
        within = states[(states >= low[i]) & (states <= high[i])]
        if not within.size:
            continue
        first, last = within.min(), within.max()
        if not low[i] <= value[i] < first:
            low[i] = first
        if not last < value[i] <= high[i]:
            high[i] = last


def _only_states(models: Models, slot: int) -> Floats:
    """Return the states of a series that had no other values in training; else none."""
    states = models.runs[slot, STATE_VALUES : STATE_VALUES + STATES]
    states = states[np.isfinite(states)]
    visited = models.visited[slot]
    if not states.size or not np.isin(visited[[LEAST, MOST]], states).all():
        return _NOTHING
    return states if np.unique(parts_of(visited, states)).size == parts_known(visited) else _NOTHING
