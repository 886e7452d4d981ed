"""What every detector of scans must do, whatever is inside.

The same as `test_conformance` asks of detectors of rows, for those that read frames of scans. A new
one adds an entry to ``DETECTORS``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch", reason="the sequence model trains with torch")

from anomaly_platform.ml.detectors.one_class_svm import SvmSearch
from anomaly_platform.ml.detectors.one_class_svm_scans import CalibratedSvm
from anomaly_platform.ml.detectors.rules.detector import RulesModel
from anomaly_platform.ml.detectors.sequence_lstm.calibrated import CalibratedSequence
from anomaly_platform.ml.detectors.sequence_lstm.parameters import TrainingParameters
from anomaly_platform.ml.features.scans.definition import ScanFeatureSet
from anomaly_platform.ml.features.scans.reference import ScanReference
from anomaly_platform.ml.scans.scoring import rule_certainty
from anomaly_platform.simulator.supply_network import build_world, simulate_supply_network

FEATURES = ScanFeatureSet()
SEARCH = SvmSearch(nu=(0.05,), gamma=("scale",), kernel=("rbf",), rows=60, folds=2)
SMALL = TrainingParameters(hidden=16, span=8, mixtures=2, max_epochs=3, batch_events=512)


@dataclass(frozen=True)
class ScanDetector:
    """How a detector is fitted, asked and read; raw scores (n,) in the order of the frame."""

    fit: Callable[[pl.DataFrame, ScanReference, int], Any]
    score: Callable[[Any, pl.DataFrame], np.ndarray]
    read: Callable[[dict[str, np.ndarray]], Any]


DETECTORS = {
    "rules": ScanDetector(
        fit=lambda scans, reference, _: RulesModel.fit(scans, reference),
        score=lambda model, scans: rule_certainty(model.score(scans, reasons=False)),
        read=RulesModel.from_arrays,
    ),
    "sequence_lstm": ScanDetector(
        fit=lambda scans, _, seed: CalibratedSequence.fit(scans, parameters=SMALL, seed=seed),
        score=lambda model, scans: model.judge(scans).raw,
        read=CalibratedSequence.from_arrays,
    ),
    "one_class_svm": ScanDetector(
        fit=lambda scans, reference, seed: CalibratedSvm.fit(
            scans, reference, seed=seed, search=SEARCH
        ),
        score=lambda model, scans: model.judge(scans).raw,
        read=CalibratedSvm.from_arrays,
    ),
}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> ScanReference:
    folder = tmp_path_factory.mktemp("reference")
    build_world().write_reference(folder)
    return ScanReference.read(folder)


def simulated(seed: int, events: int = 5000) -> pl.DataFrame:
    data = simulate_supply_network(events=events, days=20, seed=seed, anomaly_rate=0.0)
    return data.scans.drop("label", "anomaly_kind")


@pytest.fixture(scope="module")
def training() -> pl.DataFrame:
    return FEATURES.compute(simulated(1))


@pytest.fixture(scope="module")
def judged() -> pl.DataFrame:
    return FEATURES.compute(simulated(2, events=2000))


@pytest.fixture(scope="module", params=DETECTORS)
def detector(request: pytest.FixtureRequest) -> ScanDetector:
    return DETECTORS[request.param]


@pytest.fixture(scope="module")
def model(detector: ScanDetector, training: pl.DataFrame, reference: ScanReference) -> Any:
    return detector.fit(training, reference, 1)


def test_higher_is_more_anomalous_and_better_than_chance(
    detector: ScanDetector, model: Any, judged: pl.DataFrame
) -> None:
    long = judged.filter(pl.len().over("epc_code") >= 3)
    last = pl.col("event_time").rank("ordinal").over("epc_code") == pl.len().over("epc_code")
    # The last scan of each code happens at a place that nobody knows, half a minute later.
    before = pl.col("event_time").shift(1).over("epc_code", order_by="event_time")
    odd = FEATURES.compute(
        long.with_columns(
            location_id=pl.when(last).then(pl.lit("X999")).otherwise("location_id"),
            event_time=pl.when(last).then(before + timedelta(seconds=30)).otherwise("event_time"),
        )
    )
    normal = detector.score(model, long)
    strange = detector.score(model, odd)[odd["location_id"].eq_missing("X999").to_numpy()]
    assert len(strange) > 20
    assert (strange[:, None] > normal[None, :]).mean() > 0.8


def test_the_same_seed_gives_the_same_bits(
    detector: ScanDetector, model: Any, training: pl.DataFrame, reference: ScanReference
) -> None:
    again = detector.fit(training, reference, 1).to_arrays()
    arrays = model.to_arrays()
    assert arrays.keys() == again.keys()
    for name, array in arrays.items():
        assert array.tobytes() == again[name].tobytes(), name


def test_save_and_load_keep_every_bit(
    detector: ScanDetector, model: Any, judged: pl.DataFrame
) -> None:
    arrays = model.to_arrays()
    assert all(array.dtype != object for array in arrays.values())
    again = detector.read({name: array.copy() for name, array in arrays.items()})
    assert detector.score(again, judged).tobytes() == detector.score(model, judged).tobytes()


def test_one_code_is_the_same_alone_and_in_a_batch(
    detector: ScanDetector, model: Any, judged: pl.DataFrame
) -> None:
    batch = detector.score(model, judged)
    for code in judged["epc_code"].unique().sort().head(25):
        rows = (judged["epc_code"] == code).to_numpy()
        alone = detector.score(model, judged.filter(pl.Series(rows)))
        np.testing.assert_array_equal(alone, batch[rows])


def test_scoring_changes_nothing(detector: ScanDetector, model: Any, judged: pl.DataFrame) -> None:
    before = {name: array.tobytes() for name, array in model.to_arrays().items()}
    first = detector.score(model, judged)
    assert np.isfinite(first).all()
    assert first.tobytes() == detector.score(model, judged).tobytes()
    assert {name: array.tobytes() for name, array in model.to_arrays().items()} == before


def test_no_scans_are_no_scores(detector: ScanDetector, model: Any, judged: pl.DataFrame) -> None:
    assert detector.score(model, judged.clear()).shape == (0,)


def test_a_missing_column_is_named(
    detector: ScanDetector, model: Any, judged: pl.DataFrame
) -> None:
    with pytest.raises((ValueError, pl.exceptions.ColumnNotFoundError), match=r"event_time|hour"):
        detector.score(model, judged.drop("event_time", "hour"))
