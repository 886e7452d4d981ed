"""Measure the learned barcode detectors and their fusion; a part of `barcode_quality.py`.

What belongs here: training on one simulated window, judging months that training never saw, and
the tables about subtle anomalies, which no rule sees.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime

import numpy as np
import polars as pl
from sklearn.metrics import average_precision_score

from anomaly_platform.ml.detectors.one_class_svm import SvmSearch
from anomaly_platform.ml.detectors.one_class_svm_scans import CalibratedSvm
from anomaly_platform.ml.detectors.rules.detector import RulesModel
from anomaly_platform.ml.detectors.sequence_lstm.calibrated import CalibratedSequence
from anomaly_platform.ml.detectors.sequence_lstm.parameters import TrainingParameters
from anomaly_platform.ml.features.scans.definition import ScanFeatureSet
from anomaly_platform.ml.features.scans.reference import ScanReference
from anomaly_platform.ml.scans.scoring import BarcodeModels, fit_fusion
from anomaly_platform.simulator.supply_network_anomalies import RULE_KINDS, SUBTLE_KINDS

DETECTORS = {
    "rules": "rules",
    "LSTM": "lstm_score",
    "SVM": "svm_score",
    "fused": "final_confidence",
}


SUBTLE = """## Subtle anomalies

No rule fires at these. Area under the precision-recall curve, event by event: positives
are the labelled scans, negatives *all* scans without a label. Some of those belong to an
EPC to which something happened before (goods that went a wrong way arrive at odd hours);
the last column leaves them out. A row per kind counts the other kinds neither way.
Share of positives: what a detector without any skill would reach.
"""


def train(
    scans: pl.DataFrame,
    reference: ScanReference,
    parameters: TrainingParameters | None = None,
    search: SvmSearch | None = None,
) -> BarcodeModels:
    """Train every detector on one window, without labels."""
    features = ScanFeatureSet().compute(scans.drop("label", "anomaly_kind"))
    rules = RulesModel.fit(features, reference)
    judged = rules.score(features, reasons=False)
    lstm = CalibratedSequence.fit(judged, parameters=parameters)
    svm = CalibratedSvm.fit(judged, reference, search=search)
    return BarcodeModels(rules, lstm, svm, fit_fusion(judged, lstm, svm))


def judge(models: BarcodeModels, scans: pl.DataFrame, since: datetime) -> pl.DataFrame:
    """Judge a month with its look-back, and put labels and magnitudes beside the verdicts."""
    features = ScanFeatureSet().compute(scans.drop("label", "anomaly_kind"))
    return labelled(models.score(features, since=since), scans)


def labelled(scored: pl.DataFrame, scans: pl.DataFrame) -> pl.DataFrame:
    """Put labels beside verdicts, and the highest score of a rule."""
    labels = scans.select(
        "event_id",
        "anomaly_kind",
        touched=pl.col("anomaly_kind").is_not_null().any().over("epc_code"),
    )
    rules = pl.max_horizontal(*(f"{kind}_score" for kind in RULE_KINDS))
    return scored.with_columns(rules=rules).join(labels, on="event_id", how="left")


def section(
    models: BarcodeModels, months: Mapping[int, tuple[pl.DataFrame, pl.DataFrame]], since: datetime
) -> str:
    """Return the tables; months are scans with their look-back, and incidents, by seed."""
    parts = [SUBTLE]
    for seed, (scans, incidents) in months.items():
        began = time.perf_counter()
        scored = judge(models, scans, since)
        rate = scans.height / (time.perf_counter() - began)
        scored = scored.join(incidents.select("event_id", "magnitude"), on="event_id", how="left")
        size = f"{scored.height:,} scans ({rate:,.0f} scans/s, features and reasons included)"
        parts += [f"Month of seed {seed}, {size}:", "", *_table(scored), ""]
    return "\n".join(parts)


def _table(scored: pl.DataFrame) -> list[str]:
    normal = scored.filter(pl.col("anomaly_kind").is_null())
    lines = [
        "| kind, magnitude | scans | share | " + " | ".join(DETECTORS) + " | fused, untouched "
        "negatives | found at the live threshold |",
        "|---|--:|--:|" + "--:|" * len(DETECTORS) + "--:|--:|",
    ]
    subtle = scored.filter(pl.col("anomaly_kind").is_in(SUBTLE_KINDS))
    lines.append(_row("**all subtle kinds**", subtle, normal))
    for kind in SUBTLE_KINDS:
        own = subtle.filter(anomaly_kind=kind)
        if own.is_empty():
            continue
        middle = own["magnitude"].median()
        parts = (
            (f"`{kind}`", own),
            (f"… below {middle:.2g}", own.filter(pl.col("magnitude") < middle)),
            (f"… from {middle:.2g}", own.filter(pl.col("magnitude") >= middle)),
        )
        lines += [_row(name, part, normal) for name, part in parts if not part.is_empty()]
    false = (normal["final_confidence"] >= 50).mean()
    said = f"False-positive rate at the live threshold: {false:.2%} of the scans without a label."
    return [*lines, "", said]


def _row(name: str, positives: pl.DataFrame, normal: pl.DataFrame) -> str:
    areas = [area(positives, normal, column) for column in DETECTORS.values()]
    untouched = area(positives, normal.filter(~pl.col("touched")), "final_confidence")
    found = (positives["final_confidence"] >= 50).mean()
    share = positives.height / (positives.height + normal.height)
    cells = [f"{area:.3f}" for area in (*areas, untouched)]
    return f"| {name} | {positives.height} | {share:.4f} | {' | '.join(cells)} | {found:.0%} |"


def area(positives: pl.DataFrame, normal: pl.DataFrame, column: str = "final_confidence") -> float:
    """Return the area under the precision-recall curve, event by event."""
    truth = np.repeat([1, 0], [positives.height, normal.height])
    scores = pl.concat([positives[column], normal[column]]).to_numpy()
    return float(average_precision_score(truth, scores))
