"""A set of models of scans with anything in it is refused by name, or scores."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="the sequence model trains with torch")

from anomaly_platform.ml.bundles.format import BundleError
from anomaly_platform.ml.detectors.one_class_svm import SvmSearch
from anomaly_platform.ml.detectors.one_class_svm_scans import CalibratedSvm
from anomaly_platform.ml.detectors.rules.detector import RulesModel
from anomaly_platform.ml.detectors.sequence_lstm.calibrated import CalibratedSequence
from anomaly_platform.ml.detectors.sequence_lstm.parameters import TrainingParameters
from anomaly_platform.ml.features.scans.definition import ScanFeatureSet
from anomaly_platform.ml.features.scans.reference import ScanReference
from anomaly_platform.ml.scans.bundles import (
    FUSION,
    Origin,
    fusion_arrays,
    read_set,
    write_detector,
)
from anomaly_platform.ml.scans.scoring import fit_fusion
from anomaly_platform.ml.scans.warm_up import warm_up
from anomaly_platform.simulator.supply_network import simulate_supply_network
from tests.security.bundles.bad_bundles import Parts, change, read_parts, write_parts

FEATURES = ScanFeatureSet()
START = datetime(2026, 1, 5, tzinfo=UTC)
AVAILABLE = (
    *("entity", "epc_code", "event_id", "event_time", "location_id", "business_step"),
    *("event_type", *FEATURES.names),
)
MEMBERS = ("rules", "lstm", "svm")
SEARCH = SvmSearch(nu=(0.05,), gamma=("scale",), kernel=("rbf",), rows=60, folds=2)
SMALL = TrainingParameters(hidden=8, span=4, mixtures=2, max_epochs=1)
SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


@pytest.fixture(scope="module")
def scans() -> pl.DataFrame:
    return FEATURES.compute(simulate_supply_network(events=800, days=6, seed=1, start=START).scans)


@pytest.fixture(scope="module")
def set_parts(scans: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Parts]:
    """The bundles of a set: that of each detector, and the fusion's."""
    folder = tmp_path_factory.mktemp("set")
    rules = RulesModel.fit(scans, ScanReference())
    judged = rules.score(scans, reasons=False)
    lstm = CalibratedSequence.fit(judged, parameters=SMALL)
    svm = CalibratedSvm.fit(judged, ScanReference(), search=SEARCH)
    fusion = fit_fusion(judged, lstm, svm)
    arrays = {"rules": rules.to_arrays(), "lstm": lstm.to_arrays(), "svm": svm.to_arrays()}
    arrays[FUSION] = fusion_arrays(fusion, scans)
    members = {name: {"version": 1, "digest": "0" * 64} for name in MEMBERS}
    for name, of in arrays.items():
        write_detector(
            folder / name,
            name,
            of,
            Origin("barcode", 1, "1.0", FEATURES, START, 1.5, (START, START)),
            metrics={},
            hyper_parameters={},
            data={},
            members=members if name == FUSION else None,
        )
    return {name: read_parts(folder / name) for name in arrays}


def write_set(parts: dict[str, Parts], folder: Path) -> None:
    """Write a set whose fusion names the digests of its members, whatever they are."""
    digests = {name: write_parts(parts[name], folder / name) for name in MEMBERS}
    members = parts[FUSION].manifest.get("members")
    for name, digest in digests.items():
        if isinstance(members, dict) and isinstance(members.get(name), dict):
            members[name]["digest"] = digest
    write_parts(parts[FUSION], folder / FUSION)


def score(folder: Path, scans: pl.DataFrame) -> pl.DataFrame:
    models = warm_up(read_set(lambda name, _: folder / name, 1, available=AVAILABLE), FEATURES)
    return models.score(scans)


def test_a_set_that_is_written_anew_scores(
    tmp_path: Path, set_parts: dict[str, Parts], scans: pl.DataFrame
) -> None:
    write_set(copy.deepcopy(set_parts), tmp_path)
    scored = score(tmp_path, scans)
    assert scored["final_confidence"].null_count() == 0
    assert scored["lstm_score"].null_count() < scans.height


@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
@given(data=st.data())
def test_a_changed_set_is_refused_by_name_or_scores(
    tmp_path: Path, set_parts: dict[str, Parts], scans: pl.DataFrame, data: st.DataObject
) -> None:
    changed = copy.deepcopy(set_parts)
    change(changed[data.draw(st.sampled_from([*MEMBERS, FUSION]))], data)
    write_set(changed, tmp_path)
    try:
        scored = score(tmp_path, scans.head(200))
    except BundleError as error:
        assert str(tmp_path) in str(error) or "manifest" in str(error)  # noqa: PT017
    else:
        assert scored["final_confidence"].is_between(0, 100).all()


@pytest.mark.parametrize(
    ("detector", "name", "cut", "said"),
    [
        ("lstm", "lstm/weights/lstm/hidden", np.s_[:, :, :-1], "'lstm/hidden' has the shape"),
        ("lstm", "lstm/weights/qkv/weight", np.s_[:, :-1], "'qkv/weight' has the shape"),
        ("svm", "svm/vectors", np.s_[:, :, :-1], "'vectors' has the shape"),
        ("fusion", "fusion/weights", np.s_[:, :-1], "'fusion/weights' has the shape"),
    ],
)
def test_an_array_that_is_too_short_for_its_kernel_is_refused(
    tmp_path: Path,
    set_parts: dict[str, Parts],
    scans: pl.DataFrame,
    detector: str,
    name: str,
    cut: tuple[slice, ...],
    said: str,
) -> None:
    changed = copy.deepcopy(set_parts)
    changed[detector].arrays[name] = changed[detector].arrays[name][cut]
    write_set(changed, tmp_path)
    with pytest.raises(BundleError, match=said) as refused:
        score(tmp_path, scans)
    assert f"the {detector} bundle at" in str(refused.value)
