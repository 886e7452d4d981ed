from __future__ import annotations

import io
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="the sequence model trains with torch")

from anomaly_platform.ml.detectors.one_class_svm import SvmSearch
from anomaly_platform.ml.detectors.one_class_svm_scans import CalibratedSvm
from anomaly_platform.ml.detectors.rules.detector import RulesModel
from anomaly_platform.ml.detectors.scan_habits.detector import ScanHabits
from anomaly_platform.ml.detectors.sequence_lstm.calibrated import CalibratedSequence, doubtful
from anomaly_platform.ml.detectors.sequence_lstm.parameters import TrainingParameters
from anomaly_platform.ml.features.scans.definition import ScanFeatureSet
from anomaly_platform.ml.features.scans.reference import ScanReference
from anomaly_platform.ml.scans.fusion import BarcodeFusion
from anomaly_platform.ml.scans.response import write_response
from anomaly_platform.ml.scans.scoring import (
    SCORE_COLUMNS,
    BarcodeModels,
    after_violation,
    fit_fusion,
)
from anomaly_platform.simulator.supply_network import simulate_supply_network

SEARCH = SvmSearch(nu=(0.05,), gamma=("scale",), kernel=("rbf",), rows=60, folds=2)
TRAINING = TrainingParameters(hidden=24, span=8, mixtures=3, max_epochs=6, batch_events=512)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> BarcodeModels:
    data = simulate_supply_network(events=25_000, days=30, seed=1)
    folder = tmp_path_factory.mktemp("reference")
    data.world.write_reference(folder)
    reference = ScanReference.read(folder)
    features = ScanFeatureSet().compute(data.scans)
    rules = RulesModel.fit(features, reference)
    judged = rules.score(features, reasons=False)
    lstm = CalibratedSequence.fit(judged, parameters=TRAINING)
    svm = CalibratedSvm.fit(judged, reference, search=SEARCH)
    return BarcodeModels(rules, lstm, svm, fit_fusion(judged, lstm, svm))


@pytest.fixture(scope="module")
def features() -> pl.DataFrame:
    return ScanFeatureSet().compute(simulate_supply_network(events=8000, days=20, seed=2).scans)


def ordered(scored: pl.DataFrame) -> pl.DataFrame:
    return scored.select("event_id", *SCORE_COLUMNS).sort("event_id")


def test_scores_are_0_to_100_and_rule_kinds_are_found(
    models: BarcodeModels, features: pl.DataFrame
) -> None:
    scored = models.score(features)
    for name in ("lstm_score", "svm_score", "ml_combined_score", "final_confidence"):
        assert scored[name].null_count() == 0
        assert scored[name].is_between(0, 100).all()
    rule_kinds = scored.filter(pl.col("anomaly_kind").is_in(["epcFake", "locErr", "epcDup"]))
    assert rule_kinds["is_anomaly"].mean() > 0.95
    assert (rule_kinds["ml_explanation"] != "").all()
    ordinary = scored.filter(pl.col("anomaly_kind").is_null())
    assert ordinary["is_anomaly"].mean() < 0.03


def test_the_order_of_rows_and_the_other_epcs_change_nothing(
    models: BarcodeModels, features: pl.DataFrame
) -> None:
    whole = ordered(models.score(features))
    shuffled = ordered(models.score(features.sample(fraction=1.0, shuffle=True, seed=3)))
    chunks = ordered(pl.concat(models.in_chunks(features, rows=1000)))
    for name in ("svm_score", "lstm_score", "final_confidence", "severity"):
        assert whole[name].equals(shuffled[name]), name
        assert whole[name].equals(chunks[name]), name


def test_since_returns_the_end_of_the_whole(models: BarcodeModels, features: pl.DataFrame) -> None:
    since = features["event_time"].max() - timedelta(days=2)  # type: ignore[operator]
    late = models.score(features, since=since)
    whole = models.score(features).filter(pl.col("event_time") >= since)
    assert ordered(late).equals(ordered(whole))


def test_stored_and_read_again_every_part_says_the_same(
    models: BarcodeModels, features: pl.DataFrame
) -> None:
    assert models.lstm is not None
    assert models.svm is not None
    assert models.fusion is not None
    again = BarcodeModels(
        RulesModel.from_arrays(models.rules.to_arrays()),
        CalibratedSequence.from_arrays(models.lstm.to_arrays()),
        CalibratedSvm.from_arrays(models.svm.to_arrays()),
        BarcodeFusion.from_arrays(models.fusion.to_arrays()),
    )
    assert ordered(again.score(features)).equals(ordered(models.score(features)))


def test_a_set_that_was_fused_before_there_were_habits_scores_without_them(
    models: BarcodeModels, features: pl.DataFrame
) -> None:
    assert models.fusion is not None
    assert models.fusion.habits is not None
    stored = models.fusion.to_arrays()
    before = BarcodeFusion.from_arrays({n: a for n, a in stored.items() if "habits" not in n})
    assert before.habits is None
    scored, now = replace(models, fusion=before).score(features), models.score(features)
    for name in ("lstm_score", "svm_score", "ml_combined_score"):
        assert scored[name].equals(now[name])
    assert not scored["final_confidence"].equals(now["final_confidence"])


def test_without_models_there_are_rules_and_no_error(
    models: BarcodeModels, features: pl.DataFrame
) -> None:
    scored = BarcodeModels(models.rules).score(features)
    assert scored["lstm_score"].null_count() == scored.height
    assert scored["final_confidence"].max() >= 50  # type: ignore[operator]
    assert write_response(io.StringIO(), [scored]).file_anomaly_stats.total_events == scored.height


def test_one_model_is_enough(models: BarcodeModels, features: pl.DataFrame) -> None:
    scored = BarcodeModels(models.rules, svm=models.svm, fusion=models.fusion).score(features)
    assert scored["lstm_score"].null_count() == scored.height
    assert scored["ml_combined_score"].equals(scored["svm_score"].alias("ml_combined_score"))


def test_a_detector_that_is_late_is_left_out_and_the_words_say_so(
    models: BarcodeModels, features: pl.DataFrame
) -> None:
    scored = models.score(features, limits={"lstm": 0.0, "svm": 60.0})
    assert scored["lstm_score"].null_count() == scored.height
    said = scored.filter(pl.col("final_confidence") >= 50)["ml_explanation"]
    assert said.str.contains("sequence model left out", literal=True).all()


def test_habits_that_are_late_are_left_out_and_said_to_be(
    models: BarcodeModels, features: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = ScanHabits.judge

    def slow(*args: Any) -> Any:
        time.sleep(0.5)
        return judged(*args)

    monkeypatch.setattr(ScanHabits, "judge", slow)
    told: dict[str, str] = {}
    scored = models.score(features, limits={"habits": 0.01}, left_out=told)
    assert told == {"habits": "not ready within 0.01 s"}
    assert scored["final_confidence"].null_count() == 0


def test_scans_after_a_violation_are_those_of_the_same_epc(
    models: BarcodeModels, features: pl.DataFrame
) -> None:
    judged = models.rules.score(features, reasons=False)
    after, wrong = after_violation(judged), doubtful(judged)
    broken = set(judged.filter(pl.Series(wrong))["epc_code"])
    assert after.any()
    assert set(judged.filter(pl.Series(after))["epc_code"]) <= broken
    first = judged.with_columns(wrong=pl.Series(wrong)).filter("wrong").group_by("epc_code").first()
    rows = judged.with_row_index("row").join(first.select("event_id"), on="event_id")["row"]
    assert not after[rows.to_numpy()].any()


def test_the_reference_names_places_in_explanations(
    models: BarcodeModels, features: pl.DataFrame
) -> None:
    scored = models.score(features).filter(pl.col("ml_explanation").str.contains("expected"))
    names = models.rules.reference.locations["scan_location"].to_list()
    assert any(name in words for words in scored["ml_explanation"] for name in names)


@pytest.fixture(scope="module")
def month() -> pl.DataFrame:
    return simulate_supply_network(events=3000, days=12, seed=3).scans


@given(order=st.randoms(use_true_random=False), day=st.integers(4, 11), parts=st.integers(1, 6))
@settings(max_examples=12, deadline=None)
def test_no_bit_of_a_score_depends_on_the_order_or_the_portions_of_arrival(
    models: BarcodeModels, month: pl.DataFrame, order: Random, day: int, parts: int
) -> None:
    start = month["event_time"].min().date() + timedelta(days=day)  # type: ignore[union-attr]
    since = datetime.combine(start, datetime.min.time(), UTC)
    whole = month.filter(pl.col("event_time") < since + timedelta(days=1))
    rows = list(range(whole.height))
    order.shuffle(rows)
    shuffled = whole[rows]
    size = -(-shuffled.height // parts)
    arrived = [shuffled.slice(n * size, size) for n in range(parts)]

    def scored(frame: pl.DataFrame) -> pl.DataFrame:
        return models.score(ScanFeatureSet().compute(frame), since=since)

    at_once, bit_by_bit = scored(whole), scored(pl.concat(arrived))
    assert at_once.height > 0
    assert ordered(bit_by_bit).equals(ordered(at_once))
    assert bit_by_bit.drop("places_so_far").equals(at_once.drop("places_so_far"))
