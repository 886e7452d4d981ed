"""The definition: names, schema, look-back, and that importing it costs nothing."""

import subprocess
import sys
from datetime import timedelta

import pytest

from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet


def test_names_are_unique_and_described():
    schema = MetricFeatureSet().schema()
    assert len(schema) == len(MetricFeatureSet().names) == 34
    assert all(feature["dtype"] in {"f32", "f64"} for feature in schema.values())
    assert all(feature["description"] for feature in schema.values())


@pytest.mark.parametrize(
    ("windows", "lags", "frequency", "days"),
    [
        ((12, 48, 288), (1,), timedelta(minutes=5), 1),
        ((12, 289), (1,), timedelta(minutes=5), 2),
        ((3,), (1,), timedelta(seconds=1), 1),
        ((3,), (500,), timedelta(minutes=5), 2),
    ],
)
def test_lookback_is_the_longest_reach_in_whole_days(windows, lags, frequency, days):
    assert MetricFeatureSet(windows, lags, frequency).lookback_days == days


def test_version_follows_the_definition_and_survives_json():
    plain = MetricFeatureSet()
    assert plain.version == MetricFeatureSet().version
    assert plain.version != MetricFeatureSet(windows=(12, 48)).version
    assert MetricFeatureSet.from_definition(plain.definition()) == plain
    with pytest.raises(ValueError, match="train anew"):
        MetricFeatureSet.from_definition(plain.definition() | {"definition": 0})


@pytest.mark.parametrize(
    "wrong", [{"windows": ()}, {"windows": (12, 12)}, {"lags": (0,)}, {"frequency": timedelta(0)}]
)
def test_wrong_definitions_are_refused(wrong):
    with pytest.raises(ValueError, match="must be positive"):
        MetricFeatureSet(**wrong)


def test_importing_the_definition_loads_no_compiler_and_no_frames():
    code = (
        "import sys, anomaly_platform.ml.features.metrics.definition;"
        "print([m for m in ('numba', 'polars', 'scipy', 'sklearn') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
