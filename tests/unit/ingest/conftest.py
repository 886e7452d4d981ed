"""What the tests of ingestion share: the way from bytes to validated days."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl
import pytest

from anomaly_platform.ingest.files.readers import RawBatch, ReadLimits, read_raw
from anomaly_platform.ingest.layout.context import LayoutContext
from anomaly_platform.ingest.layout.mapping import ColumnMapping
from anomaly_platform.ingest.layout.metrics import METRIC_READER, RAW_METRIC_ROWS
from anomaly_platform.ingest.validation.metrics import validate_metrics

START = datetime(2010, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 1, 1, tzinfo=UTC)

SMALL_LIMITS = ReadLimits(
    max_bytes=40 << 20,
    max_ratio=200,
    ratio_from_bytes=4 << 20,
    max_columns=1000,
    max_cell_bytes=16 << 20,
    max_line_bytes=16 << 20,
    max_document_bytes=2 << 20,
)


@dataclass(frozen=True)
class Outcome:
    """What became of a file."""

    frame: pl.DataFrame
    reasons: list[str]
    duplicates: int


def ingest_bytes(content: bytes, name: str, mapping: ColumnMapping | None = None) -> Outcome:
    """Take a file all the way to validated days."""
    context = LayoutContext(name, NOW, mapping or ColumnMapping(), start=START, limits=SMALL_LIMITS)
    parts = list(METRIC_READER.read(io.BytesIO(content), context))
    rows = pl.concat([rows for rows, _ in parts]).with_columns(batch_seq=pl.lit(1, pl.Int64))
    rejects = pl.concat([rejects for _, rejects in parts])
    frames = []
    reasons = rejects["reason"].to_list()
    duplicates = 0
    for (day,), of_day in rows.group_by("event_date", maintain_order=True):
        validated = validate_metrics(of_day, day, start=START, now=NOW)
        frames.append(validated.frame)
        reasons += validated.rejects["reason"].to_list()
        duplicates += validated.duplicates
        assert validated.frame.height + validated.rejects.height + validated.duplicates == (
            of_day.height
        )
    return Outcome(pl.concat(frames) if frames else pl.DataFrame(), reasons, duplicates)


@pytest.fixture(scope="session")
def ingest() -> Callable[..., Outcome]:
    return ingest_bytes


def read_bytes(content: bytes, name: str, **options: object) -> list[RawBatch]:
    """Read a file's raw batches."""
    return list(read_raw(io.BytesIO(content), name, limits=SMALL_LIMITS, **options))  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def read() -> Callable[..., list[RawBatch]]:
    return read_bytes


def make_raw_rows(readings: Sequence[dict[str, object]]) -> pl.DataFrame:
    """Build raw rows from what matters to a test; the rest has defaults."""
    defaults: dict[str, object] = {
        "batch_seq": 1,
        "column": "",
        "entity": "pump",
        "metric": "temperature",
        "event_time": datetime(2024, 5, 1, 12, tzinfo=UTC),
        "value_text": "1",
        "event_id_text": None,
        "metadata_text": None,
        "label_text": None,
        "bucket": 0,
    }
    rows = [
        {**defaults, "row_number": number, **reading} for number, reading in enumerate(readings, 1)
    ]
    for row in rows:
        at = row["event_time"]
        assert isinstance(at, datetime)
        row |= {"event_time_text": at.isoformat(), "event_date": at.date()}
    return pl.DataFrame(rows, schema={"batch_seq": pl.Int64(), **RAW_METRIC_ROWS})


@pytest.fixture(scope="session")
def raw_rows() -> Callable[[Sequence[dict[str, object]]], pl.DataFrame]:
    return make_raw_rows
