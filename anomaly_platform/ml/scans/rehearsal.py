"""Learns from invented scans and judges them, so that whoever is next finds it compiled."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from anomaly_platform.ml.detectors.one_class_svm import SvmSearch
from anomaly_platform.ml.detectors.one_class_svm_scans import CalibratedSvm
from anomaly_platform.ml.detectors.rules.detector import RulesModel
from anomaly_platform.ml.features.scans.definition import ScanFeatureSet
from anomaly_platform.ml.features.scans.reference import ScanReference
from anomaly_platform.ml.scans.scoring import BarcodeModels, fit_fusion, ruled
from anomaly_platform.ml.scans.warm_up import warm_up

_LOTS, _CODES_OF_A_LOT = 40, 8
#: Places and event types, and hours since the lot set out.
_ROUTE: Final = (
    ("factory", "Factory_Outbound", 0),
    ("hub", "HUB_Inbound", 5),
    ("hub", "HUB_Outbound", 20),
    ("shop", "POS_Inbound", 30),
)
_HOURS_BETWEEN_LOTS: Final = 12
#: Minutes by which codes of a lot stay longer than others.
_UNEVEN: Final = 17


def rehearse_scans() -> None:
    """Learn from scans of one route, and judge them and one that went back.

    The sequence model takes no part: what it judges by is compiled when it is imported.
    """
    start = datetime(2026, 1, 1, tzinfo=UTC)
    scans = [
        (
            f"001.8804823.0000001.{lot:06d}.20260101.{code:09d}",
            stop,
            word,
            start
            + timedelta(
                hours=_HOURS_BETWEEN_LOTS * lot + after, minutes=_UNEVEN * code * bool(after)
            ),
        )
        for lot in range(_LOTS)
        for code in range(_CODES_OF_A_LOT)
        for stop, word, after in _ROUTE
    ]
    last, _, _, late = scans[-1]
    scans.append((last, *_ROUTE[0][:2], late + timedelta(hours=1)))
    codes, stops, words, times = zip(*scans, strict=True)
    frame = pl.DataFrame(
        {
            "entity": codes,
            "epc_code": codes,
            "event_id": [str(number) for number in range(len(scans))],
            "event_time": pl.Series(times, dtype=pl.Datetime("us", "UTC")),
            "location_id": stops,
            "business_step": [word.partition("_")[0] for word in words],
            "event_type": words,
        }
    )
    feature_set, reference = ScanFeatureSet(), ScanReference()
    features = feature_set.compute(frame)
    rules = RulesModel.fit(features, reference)
    judged = ruled(rules, features)
    search = SvmSearch(nu=(0.05,), gamma=("scale",), kernel=("rbf",), rows=200)
    svm = CalibratedSvm.fit(judged, reference, seed=0, search=search)
    models = BarcodeModels(rules, None, svm, fit_fusion(judged, None, svm))
    models.score(features)
    warm_up(models, feature_set)
