"""All detectors learn from codes that have nothing but a serial number."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl

from anomaly_platform.ml.detectors.one_class_svm import SvmSearch
from anomaly_platform.ml.detectors.one_class_svm_scans import CalibratedSvm
from anomaly_platform.ml.detectors.rules.detector import RuleParameters, RulesModel
from anomaly_platform.ml.detectors.sequence_lstm.calibrated import CalibratedSequence
from anomaly_platform.ml.detectors.sequence_lstm.parameters import TrainingParameters
from anomaly_platform.ml.features.scans.definition import ScanFeatureSet
from anomaly_platform.ml.features.scans.reference import ScanReference
from anomaly_platform.ml.scans.scoring import BarcodeModels, fit_fusion, ruled
from anomaly_platform.ml.training.scan_quality import inject_scans, measure
from tests.builders.scans import SCHEMA, START

PATTERN = r"^PX(?P<serial>[0-9]{8})$"
FEATURES = ScanFeatureSet(code_pattern=PATTERN)
SMALL = SvmSearch(nu=(0.05,), gamma=("scale",), kernel=("rbf",))


def parcels(prefix: str = "") -> pl.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for n in range(300):
        hours = 0.9 * n
        for stop, place in enumerate("ABCD"):
            hours += rng.normal(9.0, 0.5)
            way = "Inbound" if stop % 2 == 0 else "Outbound"
            when = START + timedelta(hours=hours)
            rows.append((f"PX{n:08d}", f"e{n}-{stop}", when, f"{prefix}{place}", None, way))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row").with_columns(epc_code="entity")


def test_codes_without_a_date_teach_all_detectors_and_another_network_is_said_once() -> None:
    features = FEATURES.compute(parcels())
    assert features["manufacture_age_days"].null_count() == features.height
    reference = ScanReference()
    rules = RulesModel.fit(features, reference, RuleParameters(code_pattern=PATTERN))
    judged = ruled(rules, features)
    svm = CalibratedSvm.fit(judged, reference, seed=1, search=SMALL)
    small = TrainingParameters(max_epochs=2, hidden=8, span=8)
    lstm = CalibratedSequence.fit(judged, parameters=small, seed=1)
    models = BarcodeModels(rules, lstm, svm, fit_fusion(judged, lstm, svm))

    def judge(held: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        scored = models.score(held)
        return scored["final_confidence"].to_numpy(), scored["is_anomaly"].to_numpy()

    assert measure(inject_scans(judged, FEATURES, seed=1), judge)["auc_roc"] > 0.9

    left_out: dict[str, str] = {}
    scored = models.score(FEATURES.compute(parcels("Z")), left_out=left_out)
    assert set(left_out.values()) == {"no place of this request was learned"}
    assert set(left_out) == {"lstm", "svm"}
    assert not scored["is_anomaly"].any()
    one = FEATURES.compute(parcels("Z")).head(1)
    assert models.score(one)["svm_score"].null_count() == 0
