"""Scored rows for tests."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable
from typing import Any

import polars as pl

from anomaly_platform.storage.tables.scored.days import ScoredDay
from anomaly_platform.storage.tables.scored.rows import ScoredRows
from anomaly_platform.storage.tables.scored.scans import SCORED_SCANS

DAY = dt.date(2026, 1, 5)


def replace_day(
    scores: ScoredRows, stream: str, day: dt.date, chunks: Iterable[pl.DataFrame], **made: Any
) -> ScoredDay:
    """Replace a stream's day by these chunks; `made` is what `ScoredRows.replacing` takes.

    By default watermark 1, the forests' detector and no bundle.
    """
    usual = {"watermark": 1, "detector": "isolation_forest", "bundle_version": None}
    with scores.replacing(stream, day, **(usual | made)) as new:
        for chunk in chunks:
            new.add(chunk)
    return new.stored


def scored(
    entities: int = 3, *, day: dt.date = DAY, value: float = 1.0, flagged: int = 1, rows: int = 20
) -> pl.DataFrame:
    """Return `entities` series of `rows` readings, the last `flagged` of each an anomaly."""
    start = dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC)
    records = []
    for entity in range(entities):
        for row in range(rows):
            is_flagged = row >= rows - flagged
            missing = row == 0
            records.append(
                {
                    "entity": f"host-{entity}",
                    "metric": "cpu",
                    "event_time": start + dt.timedelta(minutes=5 * row),
                    "event_id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{day}{entity}/{row}")),
                    "value": None if missing else value,
                    "score": None if missing else (0.9 if is_flagged else 0.2),
                    "is_anomaly": None if missing else is_flagged,
                    "threshold": 0.7,
                    "status": "missing_value" if missing else "trained",
                    "p_value": None if missing else 0.25,
                    "raw_score": None if missing else 0.5,
                    "z_score": None if missing else 1.5,
                    "iqr_score": None if missing else 0.5,
                    "mad_score": None if missing else 0.25,
                    "causes": '[{"metric": "cpu"}]' if is_flagged else None,
                }
            )
    return pl.DataFrame(records, infer_schema_length=None).with_columns(
        pl.col("event_time").cast(pl.Datetime("us", "UTC"))
    )


def scored_scans(*confidences: float, day: dt.date = DAY) -> pl.DataFrame:
    """Scans of one code, an hour apart, of which senders left out place and step."""
    noon = dt.datetime(day.year, day.month, day.day, 12, tzinfo=dt.UTC)
    blank = {
        name: False if kind == pl.Boolean else 0.0 if name.endswith("_score") else None
        for name, kind in SCORED_SCANS.schema.items()
    }
    rows = [
        blank
        | {
            "epc_code": "001.8804823.0000003.000001.20241201.000000001",
            "event_id": f"e{number}",
            "event_time": noon + dt.timedelta(hours=number),
            "final_confidence": confidence,
            "is_anomaly": confidence >= 50.0,
            "severity": "MEDIUM" if confidence >= 50.0 else "NONE",
            "explanation": "why" if confidence >= 50.0 else None,
        }
        for number, confidence in enumerate(confidences)
    ]
    return pl.DataFrame(rows, schema=SCORED_SCANS.schema)
