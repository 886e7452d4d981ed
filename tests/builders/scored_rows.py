"""Scored rows for tests."""

from __future__ import annotations

import datetime as dt
import uuid

import polars as pl

DAY = dt.date(2026, 1, 5)


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
