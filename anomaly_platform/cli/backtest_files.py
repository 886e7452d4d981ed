"""Files of one's own as wide frames: one column of times, one per metric, labels apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from anomaly_platform.ingest.cells import read_labels, read_numbers
from anomaly_platform.ingest.event_days import parse_event_time
from anomaly_platform.ingest.layout import Layout, LayoutContext, resolve_layout
from anomaly_platform.ingest.mapping import ColumnMapping
from anomaly_platform.ingest.readers import read_raw
from anomaly_platform.ingest.sources import UnreadableFile

TIME = "__time"


@dataclass(frozen=True, slots=True)
class MetricFile:
    """A file of readings.

    Attributes
    ----------
    path : Path
        Where it came from.
    frame : polars.DataFrame
        Column :data:`TIME` (UTC, never null) and a float column per metric, a row per row of the
        file (per time in a long file), in the file's order.
    time_name : str
        What the file calls its time.
    time_text : polars.Series
        The times as the file has them.
    labels : polars.Series or None
        Known anomalies; null where a row has no label.
    unread : tuple of str
        What each column of readings has in it that is no finite number, in words.
    """

    path: Path
    frame: pl.DataFrame
    time_name: str
    time_text: pl.Series
    labels: pl.Series | None
    unread: tuple[str, ...] = ()

    @property
    def metrics(self) -> list[str]:
        """The names of the metrics, in the file's order."""
        return [name for name in self.frame.columns if name != TIME]


def read_metric_file(path: Path, mapping: ColumnMapping, timezone: str = "UTC") -> MetricFile:
    """Read a wide or long file of any accepted format.

    Raises
    ------
    UnreadableFile
        When the file cannot be understood; the message names the file, the row and the fix.
    """
    if not path.is_file():
        raise UnreadableFile(f"there is no file {path}")
    context = LayoutContext(
        name=path.name, now=datetime.now(UTC), mapping=mapping, timezone=timezone
    )
    parts = []
    layout: Layout | None = None
    for batch in read_raw(path, path.name):
        if batch.rejects.height:
            number, reason = batch.rejects.select("row_number", "reason").row(0)
            raise UnreadableFile(f"{path.name}, row {number}: {reason}")
        layout = layout or resolve_layout(batch.frame.columns, context)
        parts.append(batch.frame)
    if layout is None or not sum(part.height for part in parts):
        raise UnreadableFile(f"{path.name} has no rows")
    rows = pl.concat(parts, how="diagonal")
    text = rows[layout.columns["event_time"]]
    times = parse_event_time(text, context.zone)
    if times.null_count():
        place = int(times.is_null().arg_true()[0])
        raise UnreadableFile(f"{path.name}, row {place + 1}: {text[place]!r} is no time")
    labels = _labels(path, rows, layout)
    numbers = rows.with_columns(times.alias(TIME))
    if layout.wide:
        names = layout.metric_columns(rows.columns)
        frame = numbers.select(TIME, *(_number(name) for name in names))
        return MetricFile(path, frame, text.name, text, labels, _unread(path, rows, names))
    unread = _unread(path, rows, [layout.columns["value"]])
    return replace(_pivoted(path, numbers, layout, labels), unread=unread)


def _pivoted(
    path: Path, rows: pl.DataFrame, layout: Layout, labels: pl.Series | None
) -> MetricFile:
    """Turn long rows into wide ones; metrics of several entities keep their entity's name."""
    metric, value = layout.columns.get("metric"), layout.columns["value"]
    name = pl.lit(layout.constants.get("metric")) if metric is None else pl.col(metric)
    entity = layout.columns.get("entity")
    if entity is not None and rows[entity].n_unique() > 1:
        name = pl.concat_str(entity, name, separator=":")
    long = rows.select(TIME, name.alias("metric"), _number(value).alias("value"))
    if labels is not None:
        long = long.with_columns(labels.alias("label"))
    wide = long.pivot(
        on="metric", index=TIME, values="value", aggregate_function="first", maintain_order=True
    ).sort(TIME)
    known = None
    if labels is not None:
        known = long.group_by(TIME).agg(pl.col("label").any()).sort(TIME)["label"]
    time_name = layout.columns["event_time"]
    text = wide[TIME].dt.strftime("%Y-%m-%dT%H:%M:%S%.fZ").alias(time_name)
    return MetricFile(path, wide, time_name, text, known)


def _number(name: str) -> pl.Expr:
    value = pl.col(name).str.strip_chars().cast(pl.Float64, strict=False)
    return pl.when(value.is_finite()).then(value).alias(name)


def _unread(path: Path, rows: pl.DataFrame, names: Sequence[str]) -> tuple[str, ...]:
    """Say of which columns how many readings are no numbers.

    Raises
    ------
    UnreadableFile
        When no column has a single one.
    """
    said, useful = [], 0
    for name in names:
        cells = read_numbers(rows[name])
        wrong = cells.reasons.is_not_null()
        useful += cells.values.count()
        if wrong.any():
            first = int(wrong.arg_true()[0])
            said.append(
                f"column {name}: {wrong.sum():,} of {rows.height:,} cells are left out, such as "
                f"{str(rows[name][first])[:40]!r} in row {first + 1}: {cells.reasons[first]}"
            )
    if said and not useful:
        raise UnreadableFile(f"{path.name} has no readings; {said[0]}")
    return tuple(said)


def _labels(path: Path, rows: pl.DataFrame, layout: Layout) -> pl.Series | None:
    column = layout.columns.get("label")
    if column is None:
        return None
    cells = read_labels(rows[column])
    if cells.reasons.count():
        place = int(cells.reasons.is_not_null().arg_true()[0])
        raise UnreadableFile(f"{path.name}, row {place + 1}: {cells.reasons[place]}")
    return cells.values
