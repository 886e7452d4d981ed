"""Fleets: every series gets its row, none stops another, and the bundle scores as trained."""

import warnings
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from anomaly_platform.ml.bundles.bundle import Bundle, open_bundle
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.scoring import batch
from anomaly_platform.ml.scoring.batch import FleetScorer
from anomaly_platform.ml.scoring.explaining.numbers import COLUMNS
from anomaly_platform.ml.scoring.online import OnlineScorer
from anomaly_platform.ml.series_runs.layout import ROWS
from anomaly_platform.ml.training import fleet as fleet_module
from anomaly_platform.ml.training.fit import FleetPolicy
from anomaly_platform.ml.training.fleet import train_fleet
from anomaly_platform.ml.training.manifest import Lineage
from tests.builders.readings import START, series

#: Columns that scoring adds, in order.
SCORE_SCHEMA = {
    "raw_score": pl.Float64,
    "p_value": pl.Float64,
    "score": pl.Float64,
    "is_anomaly": pl.Boolean,
    "threshold": pl.Float64,
    "status": pl.String,
    "z_score": pl.Float64,
    "iqr_score": pl.Float64,
    "mad_score": pl.Float64,
    "entity_score": pl.Float64,
    "entity_is_anomaly": pl.Boolean,
    "is_call": pl.Boolean,
    "entity_is_call": pl.Boolean,
    "causes": pl.List(pl.String),
    "reason": pl.String,
    "expected_low": pl.Float64,
    "expected_high": pl.Float64,
    "deviation": pl.Float64,
    "direction": pl.String,
    "lasting": pl.Boolean,
    "lasted_s": pl.Float64,
    "explanation": pl.String,
}

#: Whether somebody is told, and of what, depends on what was there before.
CALLS = ["is_call", "entity_is_call", "reason", "causes", *COLUMNS]

FEATURES = MetricFeatureSet(windows=(6, 24, 48), lags=(1, 6))
LINEAGE = Lineage(stream="ems", version="v1", code_version="0.1.0")


def noise(seed, rows=800):
    return np.random.default_rng(seed).normal(50.0, 2.0, rows)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    with_gaps = noise(3).tolist()
    with_gaps[10] = with_gaps[400] = None
    chunks = [
        FEATURES.compute(
            pl.concat(
                [
                    series("a", "cpu", noise(1)),
                    series("a", "disk", np.full(800, 7.0)),
                    series("a", "mem", with_gaps),
                ]
            )
        ),
        FEATURES.compute(
            pl.concat(
                [
                    series("b", "cpu", noise(4, 150)),
                    series("b", "mem", noise(5, 60)),
                    series("b", "new", noise(6, 20)),
                ]
            )
        ),
    ]
    directory = tmp_path_factory.mktemp("bundles") / "v1"
    bundle = train_fleet(chunks, FEATURES, FleetPolicy(), directory, lineage=LINEAGE)
    return bundle, chunks


def test_every_series_has_a_row_with_its_status(fleet):
    bundle, _ = fleet
    status = {(e, m): s for e, m, s in bundle.series.select("entity", "metric", "status").rows()}
    assert status == {
        ("a", "cpu"): "trained",
        ("a", "disk"): "trained",
        ("a", "mem"): "trained",
        ("b", "cpu"): "trained",
        ("b", "mem"): "insufficient_history",
        ("b", "new"): "insufficient_history",
    }
    reasons = bundle.series.filter(pl.col("status") != "trained")["reason"]
    assert reasons.str.contains("100 are needed").all()


def test_the_manifest_tells_origin_features_data_and_quality(fleet):
    manifest = fleet[0].manifest
    assert manifest["stream"] == "ems"
    assert manifest["feature_schema"]["definition"] == FEATURES.definition()
    assert set(manifest["feature_schema"]["features"]) == set(FEATURES.names)
    assert manifest["feature_schema"]["inputs"][0] == "z_6"
    assert manifest["data"]["rows"] == 800 * 3 - 2 + 150 + 60 + 20
    assert 0.5 < manifest["metrics"]["balanced_accuracy_median"] <= 1.0
    assert manifest["window"]["first_time"] == START.isoformat()


def test_a_history_that_cannot_show_what_is_rare_shares_a_calibration(fleet, tmp_path):
    # Of 150 rows none can be as rare as 1 in 200.
    policy = FleetPolicy(alpha=0.005, evaluate=False)
    bundle = train_fleet(fleet[1], FEATURES, policy, tmp_path / "v1", lineage=LINEAGE)
    pools = dict(bundle.series.select("metric", "pool_index").drop_nulls().rows())
    assert pools == {"cpu": 0}


def test_a_short_history_is_calibrated_on_all_its_rows(fleet):
    bundle = fleet[0]
    row = bundle.series.row(by_predicate=(pl.col("entity") == "b") & (pl.col("metric") == "cpu"))
    named = dict(zip(bundle.series.columns, row, strict=True))
    assert named["pool_index"] is None
    # The gates take for unseen what the served model was not fitted on.
    assert named["calibration_rows"] == 30
    assert bundle.arrays(named["slot"])["calibration/tail"][0] == 150
    later = FEATURES.compute(series("b", "cpu", noise(40, 2000)))
    assert FleetScorer(bundle).score(later)["is_anomaly"].mean() < 0.03


def test_scores_are_about_as_rare_as_promised_and_complete(fleet):
    bundle, chunks = fleet
    scored = FleetScorer(bundle).score(chunks[0])
    assert scored.columns[-len(SCORE_SCHEMA) :] == list(SCORE_SCHEMA)
    assert dict(scored.select(SCORE_SCHEMA.keys()).schema) == SCORE_SCHEMA
    trained = scored.filter(pl.col("status") == "trained")
    assert trained["score"].is_between(0, 1).all()
    assert (trained["is_anomaly"] == (trained["score"] >= 0.7)).all()
    assert trained["is_anomaly"].mean() < 0.03
    assert trained["entity_score"].null_count() == 0
    assert trained.height == 3 * (800 - 32) - 2  # a reading and a row of history are missing
    assert scored.filter(pl.col("value").is_null())["status"].to_list() == ["missing_value"] * 2
    assert scored.filter(pl.col("value").is_null())["is_anomaly"].null_count() == 2


def test_a_host_of_one_trained_series_has_that_series_score(fleet):
    bundle, chunks = fleet
    alone = FleetScorer(bundle).score(chunks[1]).filter(pl.col("status") == "trained")
    assert set(alone["metric"]) == {"cpu"}
    assert alone["entity_score"].equals(alone["score"].alias("entity_score"))
    several = FleetScorer(bundle).score(chunks[0].filter(pl.col("metric") == "cpu"))
    assert not several["entity_score"].equals(several["score"].alias("entity_score"))


def test_what_is_strange_is_flagged_with_its_causes(fleet):
    bundle, _ = fleet
    changed = [noise(1), np.full(800, 7.0), noise(3)]
    for values in changed:
        values[700] += 60.0
    frame = pl.concat(
        [series("a", m, v) for m, v in zip(("cpu", "disk", "mem"), changed, strict=True)]
    )
    scored = FleetScorer(bundle).score(FEATURES.compute(frame))
    at = scored.filter(pl.col("event_time") == START + 700 * timedelta(minutes=5))
    assert at["is_anomaly"].all()
    assert at["entity_is_anomaly"].all()
    assert set(at["causes"][0]) == {"cpu", "disk", "mem"}
    told = scored["entity_is_anomaly"] | scored["entity_is_call"]
    assert (scored["causes"].is_not_null() == told).all()


def test_no_history_is_never_called_normal(fleet):
    bundle, chunks = fleet
    scored = FleetScorer(bundle).score(chunks[1])
    short = scored.filter(pl.col("metric") != "cpu")
    assert set(short["status"]) == {"insufficient_history"}
    assert short["is_anomaly"].drop_nulls().all()
    assert short.filter(pl.col("count_48") < 30)["score"].null_count() == 30 + 20
    assert short.filter(pl.col("count_48") >= 30)["score"].null_count() == 0
    unknown = FEATURES.compute(series("z", "cpu", [1.0] * 40 + [9.0]))
    verdict = FleetScorer(bundle).score(unknown)
    assert verdict["is_anomaly"].to_list() == [None] * 40 + [True]


def test_first_readings_wait_for_the_window_that_the_model_was_calibrated_with(fleet):
    bundle, _ = fleet
    start = START + timedelta(days=90)
    level = np.concatenate((noise(7, 20) - 2.0, noise(8, 60) + 2.0))
    level[31] += 100.0
    frame = series("a", "cpu", level).with_columns(
        event_time=(pl.lit(start) + pl.duration(minutes=5) * pl.int_range(80)).cast(
            pl.Datetime("us", "UTC")
        )
    )
    features = FEATURES.compute(frame)
    scored = FleetScorer(bundle).score(features)
    new = scored[:32]
    assert set(new["status"]) == {"insufficient_history"}
    assert new["score"].null_count() == 0
    # Only what is far out, or unusual to model and window, is decided, and no host is judged by it.
    assert new["is_anomaly"].to_list() == [None] * 31 + [True]
    assert new["entity_score"].null_count() == 32
    assert set(scored[32:]["status"]) == {"trained"}
    assert scored[32:]["is_anomaly"].null_count() == 0
    alone = pl.concat([FleetScorer(bundle).score(features[i : i + 1]) for i in range(80)])
    assert alone.drop(CALLS).equals(scored.drop(CALLS))


def test_one_row_and_any_chunk_score_the_same(fleet):
    bundle, chunks = fleet
    whole = FleetScorer(bundle).score(chunks[0])
    part = chunks[0].filter(pl.col("event_time") >= START + timedelta(minutes=3000))
    again = FleetScorer(open_bundle(bundle.directory), models_held=1).score(part)
    expected = whole.join(part.select("entity", "metric", "event_time"), on=part.columns[:3])
    expected = whole.filter(pl.col("event_time") >= START + timedelta(minutes=3000))
    assert again.drop(CALLS).equals(expected.drop(CALLS))
    row = part[-1:]
    assert FleetScorer(bundle).score(row)["raw_score"][0] == again["raw_score"][-1]


def test_of_a_fleet_that_is_not_held_whole_one_entity_is_held_and_each_model_is_read_once(
    tmp_path, monkeypatch
):
    frames = [
        FEATURES.compute(pl.concat([series(e, m, noise(ord(e), 150)) for m in ("cpu", "mem")]))
        for e in "abc"
    ]
    bundle = train_fleet(frames, FEATURES, FleetPolicy(), tmp_path / "v1", lineage=LINEAGE)
    held, read = [], []

    def scorer_of(source, *, models_held):
        held.append(models_held)
        return OnlineScorer(source, models_held=models_held)

    def arrays(slot):
        read.append(slot)
        return Bundle.arrays(bundle, slot)

    monkeypatch.setattr(batch, "thread_pool_size", lambda: 1)
    monkeypatch.setattr(batch, "OnlineScorer", scorer_of)
    monkeypatch.setattr(bundle, "arrays", arrays)
    day = pl.concat(frames).with_columns(value=pl.col("value") + 40.0)
    whole, parts = (FleetScorer(bundle, models_held=n) for n in (6, 5))
    assert held == [6, 2]
    assert whole.score(day).equals(parts.score(day))
    assert sorted(read) == sorted([*range(6)] * 2), "explanations read none again"


def test_the_threshold_moves_the_decision_and_nothing_else(fleet):
    bundle, chunks = fleet
    usual = FleetScorer(bundle).score(chunks[0])
    loose = FleetScorer(bundle, threshold=0.3).score(chunks[0])
    assert loose["score"].equals(usual["score"])
    assert loose["is_anomaly"].sum() > usual["is_anomaly"].sum()


def test_training_twice_gives_the_same_bits(fleet, tmp_path):
    bundle, chunks = fleet
    again = train_fleet(chunks, FEATURES, FleetPolicy(), tmp_path / "v1", lineage=LINEAGE)
    assert again.series["digest"].equals(bundle.series["digest"])


def test_a_series_that_fails_stops_no_other(monkeypatch, tmp_path):
    def fail_on_disk(key, *rest):
        if key[1] == "disk":
            raise ValueError("no model for disks")
        return fit(key, *rest)

    fit = fleet_module.fit_series
    monkeypatch.setattr(fleet_module, "fit_series", fail_on_disk)
    chunk = FEATURES.compute(
        pl.concat([series("a", "cpu", noise(1, 200)), series("a", "disk", noise(2, 200))])
    )
    bundle = train_fleet(
        [chunk], FEATURES, FleetPolicy(evaluate=False), tmp_path / "v", lineage=LINEAGE
    )
    assert bundle.series["status"].to_list() == ["trained", "failed"]
    assert bundle.series["reason"].to_list() == [None, "ValueError: no model for disks"]
    scored = FleetScorer(bundle).score(chunk)
    assert set(scored.filter(pl.col("metric") == "disk")["status"]) == {"failed"}


def test_readings_near_the_largest_float_leave_everything_finite_and_quiet(tmp_path):
    values = {
        "changes sign": np.where(np.arange(200) % 2 == 0, 1.7e308, -1.7e308),
        "jumps": np.where(np.arange(200) % 50 == 3, 1e308, noise(1, 200)),
        "rests": np.full(200, 1.7e308),
        "steps": np.where(np.arange(200) < 90, 1e308, -1e308) + 1e300 * noise(2, 200),
    }
    chunk = FEATURES.compute(pl.concat([series("a", name, of) for name, of in values.items()]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        bundle = train_fleet([chunk], FEATURES, FleetPolicy(), tmp_path / "v", lineage=LINEAGE)
        scored = FleetScorer(bundle).score(chunk)
    assert [str(one.message) for one in caught if one.category is RuntimeWarning] == []
    assert set(bundle.series["status"]) == {"trained"}
    for name in ("mean", "std"):
        assert bundle.series[name].is_finite().all()
    assert bundle.series["std"][0] == pytest.approx(1.7e308)
    assert scored["score"].drop_nulls().is_between(0, 1).all()


def test_a_run_that_is_still_open_is_not_learned_and_goes_on_in_the_state(tmp_path):
    stuck = noise(8).round(2)
    stuck[-40:] = stuck[-40]
    frame = FEATURES.compute(series("a", "cpu", stuck))
    ended = FEATURES.compute(series("a", "cpu", stuck[:-39]))
    policy = FleetPolicy(trees=20)
    with (
        train_fleet([frame], FEATURES, policy, tmp_path / "open", lineage=LINEAGE) as bundle,
        train_fleet([ended], FEATURES, policy, tmp_path / "ended", lineage=LINEAGE) as before,
    ):
        told, usual = bundle.series.row(0, named=True), before.series.row(0, named=True)
        assert told["status"] == "trained"
        assert (
            told["reason"] == f"not learned from: 40 readings of {stuck[-1]:.6g} up to the newest"
        )
        assert usual["reason"] is None
        apart = ("reason", "trained_at", "digest")
        assert bundle.series.drop(apart).equals(before.series.drop(apart))
        models = [FleetScorer(one).load_model("a", "cpu") for one in (bundle, before)]
        np.testing.assert_array_equal(models[0].runs.constants, models[1].runs.constants)
        assert [model.runs.last[ROWS] for model in models] == [40.0, 1.0]


def test_wrong_frames_are_refused(fleet, tmp_path):
    bundle, chunks = fleet
    with pytest.raises(ValueError, match="empty"):
        train_fleet([], FEATURES, FleetPolicy(), tmp_path / "x", lineage=LINEAGE)
    with pytest.raises(ValueError, match="mean_6"):
        train_fleet(
            [chunks[0].drop("mean_6")], FEATURES, FleetPolicy(), tmp_path / "x", lineage=LINEAGE
        )
    with pytest.raises(ValueError, match="mean_6"):
        FleetScorer(bundle).score(chunks[0].drop("mean_6"))
    with pytest.raises(ValueError, match="contiguous"):
        FleetScorer(bundle).score(chunks[0].sort("event_time"))
