"""Bundles of the barcode detectors: what they hold, and when they are refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from anomaly_platform.ml.bundles.format import (
    BundleError,
    DigestMismatchError,
    MissingFeaturesError,
)
from anomaly_platform.ml.detectors.rules.detector import RulesModel
from anomaly_platform.ml.features.scans.definition import ScanFeatureSet
from anomaly_platform.ml.features.scans.reference import ScanReference
from anomaly_platform.ml.scans.bundles import (
    FUSION,
    WATCHED,
    Origin,
    fusion_arrays,
    open_detector,
    read_detector,
    read_reference,
    read_set,
    write_detector,
)
from anomaly_platform.ml.scans.fusion import BarcodeFusion
from anomaly_platform.simulator.supply_network import simulate_supply_network

FEATURES = ScanFeatureSet()
START = datetime(2026, 1, 5, tzinfo=UTC)
AVAILABLE = (
    *("entity", "epc_code", "event_id", "event_time", "location_id", "business_step"),
    *("event_type", *FEATURES.names),
)


@pytest.fixture(scope="module")
def scans() -> pl.DataFrame:
    network = simulate_supply_network(events=800, days=6, seed=1, start=START)
    return FEATURES.compute(network.scans)


@pytest.fixture
def rules(scans: pl.DataFrame) -> RulesModel:
    return RulesModel.fit(scans, ScanReference())


def origin(version: int = 1) -> Origin:
    return Origin("barcode", version, "1.0", FEATURES, START, 1.5, (START, START))


def write_rules(folder: Path, rules: RulesModel) -> str:
    return write_detector(
        folder,
        "rules",
        rules.to_arrays(),
        origin(),
        metrics={"precision": 0.9, "recall": 0.8, "f1": 0.85, "auc_roc": 0.95},
        hyper_parameters={"jump_z": 6.0},
        data={"training_samples": 700, "validation_samples": 0, "test_samples": 100},
    )


def test_a_detector_comes_back_with_the_same_verdicts(
    tmp_path: Path, scans: pl.DataFrame, rules: RulesModel
) -> None:
    digest = write_rules(tmp_path / "rules", rules)
    again = read_detector(tmp_path / "rules", "rules", available=AVAILABLE, expected_digest=digest)
    assert isinstance(again, RulesModel)
    assert again.score(scans).equals(rules.score(scans), null_equal=True)
    manifest = json.loads((tmp_path / "rules" / "manifest.json").read_text())
    assert manifest["metrics"]["auc_roc"] == 0.95
    assert manifest["data"]["test_samples"] == 100
    assert manifest["feature_schema"]["inputs"] == list(RulesModel.feature_schema)


def test_a_missing_column_is_named(tmp_path: Path, rules: RulesModel) -> None:
    write_rules(tmp_path / "rules", rules)
    lacking = tuple(name for name in AVAILABLE if name != "business_step")
    with pytest.raises(MissingFeaturesError, match="business_step"):
        open_detector(tmp_path / "rules", "rules", available=lacking)


def test_a_model_that_was_trained_without_a_current_input_is_refused(
    tmp_path: Path, rules: RulesModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rules(tmp_path / "rules", rules)
    monkeypatch.setattr(RulesModel, "feature_schema", ("event_id", "new_input"))
    with pytest.raises(MissingFeaturesError, match="without new_input; train anew"):
        open_detector(tmp_path / "rules", "rules", available=AVAILABLE)


def test_another_digest_or_another_detector_is_refused(tmp_path: Path, rules: RulesModel) -> None:
    write_rules(tmp_path / "rules", rules)
    with pytest.raises(DigestMismatchError):
        open_detector(tmp_path / "rules", "rules", available=AVAILABLE, expected_digest="0" * 64)
    with pytest.raises(BundleError, match="is a rules, not a svm"):
        open_detector(tmp_path / "rules", "svm", available=AVAILABLE)


def test_a_set_is_what_its_fusion_pins(
    tmp_path: Path, scans: pl.DataFrame, rules: RulesModel
) -> None:
    digest = write_rules(tmp_path / "rules-1", rules)
    write_detector(
        tmp_path / "fusion-3",
        FUSION,
        fusion_arrays(BarcodeFusion({}), scans),
        origin(3),
        metrics={},
        hyper_parameters={},
        data={},
        members={"rules": {"version": 1, "digest": digest}},
    )

    def folder_of(detector: str, version: int) -> Path:
        return tmp_path / f"{detector}-{version}"

    models = read_set(folder_of, 3, available=AVAILABLE)
    assert models.lstm is None
    assert models.score(scans)["final_confidence"].null_count() == 0
    reference = read_reference(folder_of(FUSION, 3), available=AVAILABLE)
    assert reference.features == WATCHED
    other = RulesModel.fit(scans.head(300), ScanReference())
    for file in (tmp_path / "rules-1").iterdir():
        file.unlink()
    (tmp_path / "rules-1").rmdir()
    write_rules(tmp_path / "rules-1", other)
    with pytest.raises(DigestMismatchError):
        read_set(folder_of, 3, available=AVAILABLE)
