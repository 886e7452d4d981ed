"""Small files, read as an import reads them."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import polars as pl

from anomaly_platform.ingest.layout.context import LayoutContext
from anomaly_platform.ingest.layout.mapping import ColumnMapping
from anomaly_platform.ingest.layout.metrics import METRIC_READER
from anomaly_platform.ingest.validation.metrics import validate_metrics

NOW = datetime(2026, 11, 1, tzinfo=UTC)
START = datetime(2010, 1, 1, tzinfo=UTC)


def raw(text: str | bytes, name: str = "a.csv", batch_rows: int = 250_000, **mapping: object):
    data = text.encode() if isinstance(text, str) else text
    context = LayoutContext(name, NOW, ColumnMapping.parse(**mapping))  # type: ignore[arg-type]
    parts = list(METRIC_READER.read(io.BytesIO(data), context, batch_rows=batch_rows))
    return pl.concat([rows for rows, _ in parts]), pl.concat([refused for _, refused in parts])


def read(text: str | bytes, name: str = "a.csv", **options: object):
    """Return the validated readings of a file, in its order, and its rejects."""
    rows, refused = raw(text, name, **options)
    frames, rejects = [], [refused]
    for (day,), of_day in rows.group_by("event_date", maintain_order=True):
        done = validate_metrics(
            of_day.with_columns(batch_seq=pl.lit(1, pl.Int64)), day, start=START, now=NOW
        )
        frames.append(done.frame)
        rejects.append(done.rejects.drop("batch_seq"))
    frame = pl.concat(frames).sort("event_time", "metric") if frames else pl.DataFrame()
    return frame, pl.concat(rejects)


def values(text: str, **options: object) -> list[float | None]:
    frame, rejects = read(text, **options)
    assert rejects.is_empty(), rejects["reason"].to_list()
    return frame["value"].to_list()


def column(*cells: str, delimiter: str = ";") -> str:
    """Return a file with a column of numbers, a second apart."""
    rows = (f"2026-03-01 00:00:{n:02d}{delimiter}{cell}" for n, cell in enumerate(cells))
    return "\n".join((f"timestamp{delimiter}load", *rows, ""))


def times(*cells: str, **options: object) -> list[datetime]:
    """Return the instants of a column of times."""
    text = "timestamp;load\n" + "".join(f"{cell};{n}\n" for n, cell in enumerate(cells))
    frame, rejects = read(text, **options)
    assert rejects.is_empty(), rejects["reason"].to_list()
    return frame.sort("value")["event_time"].to_list()
