"""Expected ranges stay within what a series can have, and never speak against a reading."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.scoring.explaining.bounds import bounded
from anomaly_platform.ml.scoring.explaining.expected import Ranges
from anomaly_platform.ml.series_model.visited import nothing_visited, visited_by
from anomaly_platform.ml.series_runs.model import RunModel

FEATURES = MetricFeatureSet(windows=(6, 24, 96), lags=(1, 6))
RNG = np.random.default_rng(4)
ROWS = 2_000
TRAINED = {
    "load": np.clip(RNG.normal(50.0, 25.0, ROWS), 0.0, 100.0),
    "humidity": np.clip(RNG.normal(70.0, 8.0, ROWS), 0.0, 99.0),
    "share": np.clip(RNG.normal(0.5, 0.3, ROWS), 0.0, 1.0),
    "summer": RNG.normal(20.0, 3.0, ROWS),
    "winter": RNG.normal(0.0, 3.0, ROWS),
    "switch": np.repeat(RNG.integers(0, 2, ROWS // 20), 20).astype(np.float64),
    "mode": np.repeat(RNG.choice([2.0, 5.0, 9.0], ROWS // 20), 20),
    "mostly at rest": np.where(RNG.random(ROWS) < 0.5, 0.0, RNG.normal(60.0, 9.0, ROWS)),
    "constant": np.full(ROWS, 7.0),
    "count": np.cumsum(RNG.integers(1, 40, ROWS)).astype(np.float64),
}


def bounds_of(name, low, high, value, window=None):
    values = TRAINED[name]
    runs = RunModel.fit(np.arange(ROWS) * 300_000_000, values, 96).constants
    models = SimpleNamespace(visited=visited_by(values)[None], runs=runs[None])
    return drawn_in(models, low, high, value, window)


def drawn_in(models, low, high, value, window=None):
    features = np.zeros((len(FEATURES.names), 1))
    least, most = (value, value) if window is None else window
    for feature, number in (("value", value), ("min_96", least), ("max_96", most)):
        features[FEATURES.names.index(feature)] = number
    ranges = Ranges(
        np.array([low]), np.array([high]), np.array([True]), np.ones(1), np.array([False])
    )
    found = bounded(ranges, models, np.zeros(1, dtype=np.int64), FEATURES, features)
    assert (ranges.low.item(), ranges.high.item()) == (low, high)
    return found.low.item(), found.high.item()


@pytest.mark.parametrize(
    ("name", "found", "value", "said"),
    [
        ("load", (-20.0, 130.0), 60.0, (0.0, 100.0)),
        ("load", (-20.0, 70.0), 99.0, (0.0, 70.0)),
        ("load", (-math.inf, math.inf), 99.0, (0.0, 100.0)),
        ("share", (-0.4, 1.6), 0.3, (0.0, 1.0)),
        ("summer", (-5.0, 32.0), 40.0, (0.0, 32.0)),
        ("winter", (-9.0, 9.0), 12.0, (-9.0, 9.0)),
        ("switch", (-0.996, 1.0), 0.0, (0.0, 1.0)),
        ("switch", (-0.996, 0.7), 1.0, (0.0, 0.0)),
        ("mode", (1.5, 7.7), 9.0, (2.0, 5.0)),
        ("mode", (2.5, 4.5), 9.0, (3.0, 4.0)),
        ("mostly at rest", (-9.0, 41.0), 70.0, (0.0, 41.0)),
        ("constant", (6.9, 7.1), 8.0, (7.0, 7.0)),
    ],
)
def test_a_range_ends_where_the_series_does(name, found, value, said):
    assert bounds_of(name, *found, value) == said


@pytest.mark.parametrize(
    ("found", "value", "said"),
    [
        ((48_784.33, 48_801.0), 48_781.0, (48_785.0, 48_801.0)),
        ((48_784.33, 48_801.9), 48_802.0, (48_785.0, 48_801.0)),
        ((48_784.33, math.inf), 48_781.0, (48_785.0, math.inf)),
        ((48_784.33, 48_784.8), 48_781.0, (48_784.33, 48_784.8)),
        ((48_784.33, 48_801.9), 48_781.5, (48_784.33, 48_801.9)),
    ],
)
def test_a_range_of_whole_numbers_ends_at_whole_numbers(found, value, said):
    assert bounds_of("count", *found, value) == said


def test_what_stayed_below_100_for_another_reason_is_no_percentage():
    least = TRAINED["humidity"].min()
    assert least > 10.0
    assert bounds_of("humidity", 40.0, 120.0, 90.0) == (40.0, 120.0)


@pytest.mark.parametrize(
    ("name", "found", "value", "window"),
    [
        ("summer", (-5.0, 32.0), -2.0, None),
        ("summer", (-5.0, 32.0), -9.0, None),
        ("summer", (-5.0, 32.0), 3.0, (-1.0, 12.0)),
        ("load", (5.0, 130.0), 104.0, None),
        ("load", (5.0, 130.0), 90.0, (5.0, 104.0)),
        ("switch", (0.0, 1.4), 1.2, None),
    ],
)
def test_a_bound_that_readings_have_passed_is_none(name, found, value, window):
    assert bounds_of(name, *found, value, window) == found


def test_models_made_before_there_were_ranges_bound_nothing():
    runs = RunModel.fit(np.arange(ROWS) * 300_000_000, TRAINED["switch"], 96).constants
    models = SimpleNamespace(visited=nothing_visited()[None], runs=runs[None])
    assert drawn_in(models, -0.996, 1.2, 1.0) == (-0.996, 1.2)


@given(
    name=st.sampled_from(sorted(TRAINED)),
    ends=st.tuples(st.floats(-150.0, 150.0), st.floats(0.0, 200.0)),
    value=st.one_of(st.floats(-150.0, 250.0), st.sampled_from([0.0, 1.0, 2.0, 5.0, 7.0, 100.0])),
)
def test_a_reading_stays_on_its_side_and_a_range_only_shrinks(name, ends, value):
    low, high = ends[0], ends[0] + ends[1]
    drawn = bounds_of(name, low, high, value)
    assert low <= drawn[0] <= drawn[1] <= high
    assert (value < low, value > high) == (value < drawn[0], value > drawn[1])
