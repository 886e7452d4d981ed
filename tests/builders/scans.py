"""Scans of goods: a few written out, a small simulated network, and models that train at once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl

from anomaly_platform.streams import BARCODE, ScanStream

START = datetime(2025, 3, 1, tzinfo=UTC)
#: A well-formed code.
EPC = "001.8804823.0000003.000001.20241201.000000001"
#: The built-in stream with models too small to be good: what is tested is the way of the rows.
SMALL_SCANS: ScanStream = replace(
    BARCODE,
    sequence={"max_epochs": 1, "hidden": 8, "span": 8},
    search={"nu": (0.05,), "gamma": ("scale",), "kernel": ("rbf",), "rows": 200},
)
#: Hours since the start, place, event type and, where it matters, business step.
Scan = tuple[float, str | None, str | None] | tuple[float, str | None, str | None, str | None]

SCHEMA = {
    "entity": pl.String,
    "event_id": pl.String,
    "event_time": pl.Datetime("us", "UTC"),
    "location_id": pl.String,
    "business_step": pl.String,
    "event_type": pl.String,
}


def scans_of(*rows: Scan, epc: str = EPC, start: datetime = START) -> pl.DataFrame:
    """Return validated scans of one code, in the order given."""
    return pl.DataFrame(
        [
            (
                *(epc, f"e{n:04d}", start + timedelta(hours=row[0]), row[1]),
                *(row[3] if len(row) > 3 else None, row[2]),
            )
            for n, row in enumerate(rows)
        ],
        schema=SCHEMA,
        orient="row",
    )


def file_of(scans: pl.DataFrame) -> str:
    """Return simulated scans as a CSV file has them."""
    columns = scans.drop("entity", strict=False).rename({"label": "is_anomaly"}, strict=False)
    return columns.write_csv(datetime_format="%Y-%m-%d %H:%M:%S")
