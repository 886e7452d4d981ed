"""Explanations: numbers that add up, ranges that hold, the same alone and in a day."""

import json
import math
import re
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from anomaly_platform.ml.bundles.bundle import open_bundle
from anomaly_platform.ml.features.metrics.batch import microseconds
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.features.metrics.layout import FeatureLayout
from anomaly_platform.ml.scoring.batch import FleetScorer
from anomaly_platform.ml.scoring.call_states import CallStates
from anomaly_platform.ml.scoring.explaining.numbers import COLUMNS, Explanation
from anomaly_platform.ml.scoring.explaining.words import roles_of, sentence
from anomaly_platform.ml.scoring.model_stack import Columns, ModelStack
from anomaly_platform.ml.scoring.online import OnlineScorer
from anomaly_platform.ml.series_runs.layout import LENGTH, ORDINARY
from anomaly_platform.ml.series_runs.run_states import RunStates
from anomaly_platform.ml.training.fit import FleetPolicy
from anomaly_platform.ml.training.fleet import train_fleet
from anomaly_platform.ml.training.manifest import Lineage
from tests.builders.readings import series

FEATURES = MetricFeatureSet(windows=(6, 24, 96), lags=(1, 6), frequency=timedelta(minutes=15))
LINEAGE = Lineage(stream="iiot", version="1", code_version="0.1.0")
KINDS = {"steady": 600, "seasonal": 3 * 7 * 96, "resting": 700}
SPIKE, STEP, STUCK, DROP = 150, 250, 360, 460
FLAGGED, CALLED = (pl.col(name).fill_null(value=False) for name in ("is_anomaly", "is_call"))
NOVEL = (
    pl.col("reason").str.contains("(always from|never between) .* before").fill_null(value=False)
)


def values_of(seed, rows, kind):
    rng = np.random.default_rng(seed)
    noise = rng.normal(0.0, 1.0, rows)
    if kind == "seasonal":
        return 100 + 30 * np.sin(np.arange(rows) / 96 * 2 * np.pi) + noise
    if kind == "resting":
        return np.where(rng.random(rows) < 0.01, 3.0, 7.0)
    return 20 + noise


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    frames = [
        FEATURES.compute(series("host", kind, values_of(n, rows, kind), step=FEATURES.frequency))
        for n, (kind, rows) in enumerate(KINDS.items())
    ]
    directory = tmp_path_factory.mktemp("bundles") / "v1"
    train_fleet(frames, FEATURES, FleetPolicy(), directory, lineage=LINEAGE)
    with open_bundle(directory) as opened:
        yield opened


@pytest.fixture(scope="module")
def scored(bundle):
    """Days with a spike, a step, a stuck value and a drop, of series known and unknown."""
    frames = []
    for n, kind in enumerate([*KINDS, "new"]):
        values = values_of(n + 50, 672, kind)
        values[SPIKE] += 40.0
        values[STEP : STEP + 40] += 25.0
        values[STUCK : STUCK + 50] = values[STUCK]
        values[DROP] -= 40.0
        frames.append(series("host", kind, values, step=FEATURES.frequency))
    return FleetScorer(bundle, threshold=0.7).score(
        FEATURES.compute(pl.concat(frames)), RunStates()
    )


def explained(scored):
    return scored.filter(pl.col("explanation").is_not_null())


def told(scored, metric, row):
    found = scored.filter(metric=metric).row(row, named=True)
    return found | {"parts": json.loads(found["explanation"])["parts"]}


def arrays(scored):
    """Return times, features and run columns of rows of one series in a row."""
    features = scored.select(FEATURES.names).cast(pl.Float64).to_numpy().T.copy()
    times = microseconds(scored["event_time"])
    runs = RunStates().take(("host", "x"), times, features[FEATURES.names.index("value")])
    return times, np.concatenate((features, runs))


def test_every_flagged_reading_every_call_and_every_cause_is_explained_and_no_other(scored):
    is_cause = pl.col("causes").list.contains(pl.col("metric")).fill_null(value=False)
    # What is only novel has its range for a reason.
    wanted = FLAGGED | ((CALLED | is_cause) & ~NOVEL)
    assert scored.select((wanted == pl.col("explanation").is_not_null()).all()).item()
    assert explained(scored).height > 100
    assert explained(scored)["reason"].null_count() == 0
    assert scored.filter(CALLED)["reason"].null_count() == 0


@pytest.fixture(scope="module")
def quiet(bundle):
    """Days on which nothing happens."""
    frames = [
        series("host", kind, values_of(n + 80, 2_000, kind), step=FEATURES.frequency)
        for n, kind in enumerate(("steady", "seasonal"))
    ]
    return FleetScorer(bundle, threshold=0.7).score(
        FEATURES.compute(pl.concat(frames)), RunStates()
    )


def test_a_call_below_the_threshold_is_told_from_where_it_becomes_one(quiet):
    calls = quiet.filter(CALLED & ~FLAGGED & ~NOVEL)
    assert calls.height > 5
    assert (calls["p_value"] > 0.01).all()
    assert (calls["p_value"] <= 0.02).all()
    words = "not yet an anomaly, told because its series was quiet before"
    assert calls["reason"].str.ends_with(words).all()
    of_value = calls.filter(pl.col("direction") != "none")
    assert of_value.height > 2
    outside = (pl.col("value") < pl.col("expected_low")).fill_null(value=False) | (
        pl.col("value") > pl.col("expected_high")
    ).fill_null(value=False)
    assert of_value.select(outside.all()).item()


def test_a_host_that_is_called_names_its_causes_and_they_say_why(bundle, quiet):
    scorer, features = (
        FleetScorer(bundle, threshold=0.7),
        quiet.select("entity", "metric", "event_time", *FEATURES.names),
    )
    times = features["event_time"].unique().sort()
    hours = [
        # After a quiet time each.
        scorer.score(
            features.filter(pl.col("event_time").is_in(times[at : at + 40].implode())),
            calls=CallStates(hosts={"host": 2.0}),
        )
        for at in range(0, times.len(), 40)
    ]
    called = pl.concat(hours).filter(pl.col("entity_is_call") & ~pl.col("entity_is_anomaly"))
    assert called.height > 4
    assert called["causes"].null_count() == 0
    reasons = called.group_by("event_time").agg(pl.col("reason").count())
    assert (reasons["reason"] > 0).all()


def test_no_sentence_says_only_that_all_is_well(scored):
    ordinary = explained(scored).filter(direction="none")
    assert ordinary.height > 20
    because = "unusual is (what came before|that it has not moved)|among the most unusual"
    of_run = "^(at|repeats|not at rest|has not|rises|8 changes)"
    assert ordinary["reason"].str.contains(f"{because}|moves apart|{of_run}").all()


def test_parts_add_up_to_one_and_inputs_to_the_raw_score_of_the_model(bundle, scored):
    for metric in KINDS:
        rows = scored.filter(metric=metric)
        model = FleetScorer(bundle).load_model("host", metric)
        times, features = arrays(rows)
        columns = Columns(FEATURES)
        room = ModelStack.of(model).score_series(times, features[: len(FEATURES.names)], columns)
        raw = model.detector.score(room.inputs)
        for i in np.flatnonzero(rows["explanation"].is_not_null().to_numpy()).tolist():
            found = json.loads(rows["explanation"][i])
            shares = list(found["parts"].values())
            # Any reading of a series that hardly ever moves is as odd as one can be told to be.
            if metric != "resting" or any(shares):
                assert sum(shares) == pytest.approx(1.0, abs=1e-9)
            if found["features"]:
                total = sum(one["forest"] + one["distance"] for one in found["features"])
                assert found["usual"] + total == pytest.approx(raw[i], abs=1e-9)
                distance = sum(one["distance"] for one in found["features"])
                assert distance == pytest.approx(room.logarithms[0, i], abs=1e-9)


@pytest.mark.parametrize("days", ["scored", "quiet"])
def test_a_reading_alone_is_explained_as_in_its_day(bundle, request, days):
    scorer = OnlineScorer(FleetScorer(bundle, threshold=0.7))
    for (metric,), rows in request.getfixturevalue(days).group_by("metric"):
        times, features = arrays(rows)
        called = rows.select(CALLED & ~FLAGGED & ~NOVEL).to_series().to_numpy()
        flagged = np.flatnonzero(rows["is_anomaly"].fill_null(value=False).to_numpy())
        for i in [*flagged[::3].tolist(), *np.flatnonzero(called).tolist()]:
            alone = slice(i, i + 1)
            said = scorer.judge_one(("host", metric), times.item(i), features[:, alone], 0.7)
            (one,) = scorer.explain(
                [("host", metric)],
                times[alone],
                features[:, alone],
                np.array([said.kind]),
                np.array([0.7]),
                roles_of(np.array([said.is_anomaly is True])),
            )
            day = rows.row(i, named=True)
            assert one.explanation.columns() == {name: day[name] for name in COLUMNS}
            # What is novel is said by whoever knows the ranges of before.
            assert one.reason == re.split("; (?:always from|never between) ", day["reason"])[0]


def test_a_value_is_flagged_beyond_the_range_and_not_within(bundle, scored):
    scorer = OnlineScorer(FleetScorer(bundle, threshold=0.7))
    value, step = (FEATURES.names.index(name) for name in ("value", "diff_1"))
    held = 0
    for (metric,), rows in scored.group_by("metric"):
        times, features = arrays(rows)
        # How long a value is held says nothing of how large one may be.
        features[len(FEATURES.names) + LENGTH] = np.nan
        avoidable = rows["explanation"].str.contains('"unavoidable": false')
        flagged = (rows["is_anomaly"] & avoidable).fill_null(value=False)
        for i in np.flatnonzero(flagged.to_numpy()).tolist():
            low, high = rows["expected_low"][i], rows["expected_high"][i]
            if low is None or high is None:
                continue
            for at, beyond in ((low, False), (high, False), (high + (high - low) / 20, True)):
                other = features[:, i : i + 1].copy()
                other[step] += at - other[value]
                other[value] = at
                said = scorer.judge_one(("host", metric), times.item(i), other, 0.7)
                assert beyond or not said.is_anomaly
                held += (said.is_anomaly or False) == beyond
    assert held > 200


def test_ordinary_readings_lie_within_and_their_range_is_narrow(bundle):
    fresh = FEATURES.compute(
        series("host", "seasonal", values_of(9, 960, "seasonal"), step=FEATURES.frequency)
    )
    rows = FleetScorer(bundle, threshold=0.7).score(fresh)[200:]
    times, features = arrays(rows)
    features = features[: len(FEATURES.names)]
    found = OnlineScorer(FleetScorer(bundle)).explain(
        [("host", "seasonal")] * times.size,
        times,
        features,
        np.full(times.size, ORDINARY),
        np.full(times.size, 0.7),
    )
    within = np.mean([one.explanation.direction == "none" for one in found])
    width = [one.explanation.expected_high - one.explanation.expected_low for one in found]
    assert within > 0.97
    # The whole swing is 60, the noise's standard deviation 1.
    assert np.median(width) < 30.0


def test_how_long_is_not_told_where_the_hour_before_was_another(tmp_path):
    """A job at 02:00 that stays out: what is low for that hour was ordinary at 01:00."""
    hourly = MetricFeatureSet(windows=(12, 48, 288), lags=(1, 12), frequency=timedelta(hours=1))
    rng, hours = np.random.default_rng(9), np.arange(60 * 24)
    values = np.where(hours % 24 == 2, 70.0, 9.0) + rng.normal(0.0, 0.5, hours.size)
    missing = 50 * 24 + 2
    values[missing] = 9.0
    frame = hourly.compute(series("host", "job", values, step=hourly.frequency))
    train_fleet([frame[: 45 * 24]], hourly, FleetPolicy(), tmp_path / "v1", lineage=LINEAGE)
    with open_bundle(tmp_path / "v1") as opened:
        found = FleetScorer(opened, threshold=0.7).score(frame, RunStates())
    row = told(found, "job", missing)
    assert row["is_anomaly"]
    assert row["direction"] == "below"
    assert row["lasted_s"] is None
    assert "for at least" not in row["reason"]


@pytest.mark.parametrize(
    ("metric", "row", "direction", "lasting"),
    [
        ("steady", SPIKE, "above", False),
        ("seasonal", SPIKE, "above", False),
        ("steady", DROP, "below", False),
        ("new", SPIKE, "above", False),
        ("steady", STEP + 8, "above", True),
        ("seasonal", STEP + 8, "above", True),
    ],
)
def test_direction_and_duration_are_those_of_what_happened(scored, metric, row, direction, lasting):
    found = told(scored, metric, row)
    assert found["is_anomaly"]
    assert (found["direction"], found["lasting"]) == (direction, lasting)
    assert found["deviation"] > 1.0
    assert found["lasted_s"] == pytest.approx(0.0 if not lasting else 2700.0, abs=1800.0 * lasting)


def test_a_stuck_value_is_told_by_its_run(scored):
    found = told(scored, "steady", STUCK + 40)
    assert max(found["parts"], key=found["parts"].get) == "runs"
    assert found["lasting"]
    assert found["lasted_s"] == 40 * 900.0
    assert found["reason"].startswith("repeats")


def test_a_season_makes_a_value_unusual_that_is_none_at_another_hour(scored):
    found = told(scored, "seasonal", STEP + 20)
    assert found["parts"]["level"] + found["parts"]["season"] > 0.5
    assert f" at {found['event_time']:%H:%M} UTC" in found["reason"]


def test_the_sentence_says_value_range_distance_duration_and_part():
    found = Explanation(
        12.0, 40.0, 6.2, "above", True, 1500.0, False, {"forest": 0.3, "level": 0.7}
    )
    assert sentence(93.1, found, FeatureLayout(), 52_200_000_000) == (
        "93.1, expected 12 to 40 at 14:30 UTC; 6.2 times its usual spread above; for at least "
        "25 min; mostly by how far it lies from its usual level"
    )


@pytest.mark.parametrize(
    ("high", "value", "said"),
    [
        (123_456.7, 2_500_000.0, "2500000, expected at most 123500; 110 times"),
        (123_456.0, 2_500_000.0, "2500000, expected at most 123456; 110 times"),
        (40.0, 4e9, "4000000000, expected at most 40; 110 times"),
    ],
)
def test_numbers_are_written_out(high, value, said):
    found = Explanation(-math.inf, high, 110.2, "above", False, 0.0)
    assert sentence(value, found, FeatureLayout()).startswith(said)
