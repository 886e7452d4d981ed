"""Judges invented scans once, so that the first real ones meet compiled kernels.

Compiling takes seconds where no machine code is kept yet, longer than the detectors' time limits:
the first request of a new installation would be answered without them.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import polars as pl

from anomaly_platform.ml.features.scans.definition import ScanFeatureSet
from anomaly_platform.ml.features.scans.online import HISTORY_SCHEMA, with_history
from anomaly_platform.ml.features.scans.sequences import ScanSequences
from anomaly_platform.ml.scans.scoring import BarcodeModels

_SCANS = 3


def warm_up(models: BarcodeModels, features: ScanFeatureSet) -> BarcodeModels:
    """Let every detector of a set judge a code of three scans, without a time limit.

    Parameters
    ----------
    models
        The set; detectors that fail are left out, as in a request.
    features
        The features that the set reads.

    Returns
    -------
    BarcodeModels
        The same set.
    """
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    invented = pl.DataFrame(
        {
            "entity": ["warm-up"] * _SCANS,
            "event_time": [start + dt.timedelta(hours=hour) for hour in range(_SCANS)],
            "event_id": [str(number) for number in range(_SCANS)],
            "location_id": [f"place {number}" for number in range(_SCANS)],
            "business_step": [None] * _SCANS,
            "event_type": [None] * _SCANS,
        },
        schema=HISTORY_SCHEMA,
    ).with_columns(epc_code=pl.col("entity"))
    ordered = ScanSequences.of(with_history({}, invented))
    models.score(replace(ordered, frame=features.of(ordered)), left_out={})
    return models
