"""Where the series of readings are held, asked again and again."""

import numpy as np

from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.features.metrics.series_state import SeriesState
from anomaly_platform.realtime.series_state_cache import CachedSeries, CachedState

FEATURES = MetricFeatureSet()
PUMP, PRESS, OVEN = (("pump", "m"), ("press", "m"), ("oven", "m"))


def cache_of(*keys):
    cached = CachedSeries(FEATURES, 16)
    for number, key in enumerate(keys):
        cached.put(key, CachedState(number, 0, 0, SeriesState.empty(FEATURES)))
    return cached


def found(cached, keys):
    places, several = cached.find(keys)
    assert places.tolist() == cached.places(keys)
    return several


def test_places_are_found_again_in_whatever_order_series_come():
    cached = cache_of(PUMP, PRESS, OVEN)
    for keys in ([PUMP, PRESS], [PUMP, PRESS], [PUMP, OVEN], [PUMP, PUMP], [PUMP, PRESS, OVEN]):
        assert found(cached, keys) == (len(set(keys)) < len(keys))


def test_a_series_that_is_read_or_forgotten_is_no_longer_where_it_was():
    cached, keys = cache_of(PUMP, PRESS), [PUMP, OVEN, PRESS]
    found(cached, keys)
    cached.put(OVEN, CachedState(7, 0, 0, SeriesState.empty(FEATURES)))
    found(cached, keys)
    assert cached.find(keys)[0].min() >= 0
    cached.drop([PUMP])
    found(cached, keys)
    assert np.flatnonzero(cached.find(keys)[0] < 0).tolist() == [0]
