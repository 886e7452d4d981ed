"""Files of one's own as wide frames: one column of times, one per metric, labels apart."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from anomaly_platform.ingest.cells import Cells, read_labels, read_numbers
from anomaly_platform.ingest.event_days import NO_TIME
from anomaly_platform.ingest.files.batches import RawBatch, is_unnamed, joined
from anomaly_platform.ingest.files.readers import read_raw
from anomaly_platform.ingest.files.sources import UnreadableFile
from anomaly_platform.ingest.layout.context import (
    Layout,
    LayoutContext,
    shown_times_of,
    timed_rows,
)
from anomaly_platform.ingest.layout.mapping import ColumnMapping, MappingError, listed, plain
from anomaly_platform.ingest.layout.metrics import (
    METRIC_READER,
    MetricContradictions,
    resolve_layout,
    to_raw_rows,
)
from anomaly_platform.ingest.layout.values import read_values

TIME = "__time"
_ANY_TIME: dict[str, Any] = {
    "start": datetime(1, 1, 2, tzinfo=UTC),
    "future_allowance": timedelta(days=365_000),
}


@dataclass(frozen=True, slots=True)
class MetricFile:
    """A file of readings.

    Attributes
    ----------
    path : Path
        Where it came from.
    columns : tuple of str
        What the file has, in its order, used or not.
    frame : polars.DataFrame
        Column :data:`TIME` (UTC, never null) and a float column per metric, a row per row of the
        file (per time in a long file, or one of several entities), in the file's order.
    time_name : str
        What the file calls its time.
    time_text : polars.Series
        The times as the file has them.
    labels : polars.Series or None
        Known anomalies; null where a row has no label.
    repeated : polars.Series
        Rows whose time an earlier row has; they are not scored.
    notes : tuple of str
        What of the file is left out, in words.
    """

    path: Path
    columns: tuple[str, ...]
    frame: pl.DataFrame
    time_name: str
    time_text: pl.Series
    labels: pl.Series | None
    repeated: pl.Series
    notes: tuple[str, ...] = ()

    @property
    def metrics(self) -> list[str]:
        """The names of the metrics, in the file's order."""
        return [name for name in self.frame.columns if name != TIME]

    @property
    def readings(self) -> pl.DataFrame:
        """The rows that count, each time once."""
        return self.frame.filter(~self.repeated)


def read_metric_file(path: Path, mapping: ColumnMapping) -> MetricFile:
    """Read a wide or long file of any accepted format.

    Parameters
    ----------
    path : Path
    mapping : ColumnMapping
        What is said of the columns; of those to ignore the file may have some or none.

    Raises
    ------
    UnreadableFile
        When the file cannot be understood; the message names the file, the row and the fix.
    """
    try:
        batch, layout, context = _rows(path, mapping)
    except MappingError as error:
        raise UnreadableFile(f"{path.name}: {error}") from None
    rows = batch.frame
    timed = timed_rows(batch, layout, replace(context, **_ANY_TIME))
    text, times = shown_times_of(rows, layout), timed["event_time"]
    if timed["reason"].count():
        raise UnreadableFile(f"{path.name}{_no_time(text, timed['reason'], context)}")
    series = [rows[layout.columns[name]] for name in ("entity", "metric") if name in layout.columns]
    if pl.DataFrame([times, *series]).is_duplicated().any():
        _refuse_contradictions(batch, layout, context)
    labels = _labels(path, rows, layout)
    metrics = layout.metric_columns(rows.columns) if layout.wide else [layout.columns["value"]]
    cells = {name: _cells(batch, layout, name) for name in metrics}
    notes = (*_left_out(layout, context), *_unread(path, rows, cells))
    read = MetricFile(
        path=path,
        columns=tuple(rows.columns),
        frame=rows.select(times.alias(TIME), *(cells[name].values.alias(name) for name in metrics)),
        time_name=text.name,
        time_text=text,
        labels=labels,
        repeated=~times.is_first_distinct(),
        notes=notes,
    )
    entity = layout.columns.get("entity")
    if not layout.wide or (entity is not None and rows[entity].n_unique() > 1):
        return _pivoted(read, _long(read, rows, layout))
    if read.repeated.any():
        place = int(read.repeated.arg_true()[0])
        note = (
            f"{read.repeated.sum():,} rows have the time of an earlier row, such as row "
            f"{place + 1} ({text[place]}); they get no score, the first row of a time counts"
        )
        read = replace(read, notes=(*notes, note))
    return read


def _rows(path: Path, mapping: ColumnMapping) -> tuple[RawBatch, Layout, LayoutContext]:
    """Return all rows of a file as text, and what its columns mean and how they are written."""
    parts: list[RawBatch] = []
    context = LayoutContext(path.name, datetime.now(UTC), mapping)
    for batch in read_raw(path, path.name):
        if batch.rejects.height:
            number, reason = batch.rejects.select("row_number", "reason").row(0)
            raise UnreadableFile(f"{path.name}, row {number}: {reason}")
        if not parts:
            there = tuple(name for name in mapping.ignore if name in batch.frame.columns)
            context = replace(context, mapping=replace(mapping, ignore=there))
            resolve_layout(batch.frame.columns, context)
        parts.append(batch)
    if not sum(part.frame.height for part in parts):
        raise UnreadableFile(f"{path.name} has no rows")
    return joined(parts), METRIC_READER.layout(path, context), context


def _refuse_contradictions(batch: RawBatch, layout: Layout, context: LayoutContext) -> None:
    """Refuse a file most readings of which contradict another one, such as a misread long file."""
    found = MetricContradictions(layout, batch, context)
    found.see(to_raw_rows(batch, layout, replace(context, **_ANY_TIME))[0])
    try:
        found.refuse()
    except MappingError as error:
        raise UnreadableFile(f"{context.name}: {error}") from None


def _no_time(text: pl.Series, reasons: pl.Series, context: LayoutContext) -> str:
    """Say which cell is no time, or that the file seems to have no column of times."""
    place = int(reasons.is_not_null().arg_true()[0])
    known = {plain(name) for name in context.fields["event_time"]}
    guessed = text.name not in context.mapping.columns and plain(text.name) not in known
    if guessed and reasons.count() == len(reasons):
        return (
            f": no column has the time: none is called timestamp or time, and the first one, "
            f"{text.name}, has {text[place]!r} in row {place + 1}; name the column of the time "
            "with --map column=timestamp"
        )
    why = "" if reasons[place] == NO_TIME else f": {reasons[place]}"
    return f", row {place + 1}: {text[place]!r} is no time{why}"


def _left_out(layout: Layout, context: LayoutContext) -> Iterator[str]:
    """Say which columns are not used although nobody asked for that."""
    unused = [
        name
        for name in layout.ignored
        if name not in context.mapping.ignore and not is_unnamed(name)
    ]
    meanings = {
        plain(known): field
        for field, names in context.fields.items()
        for known in names
        if field in layout.columns
    }
    for name in unused:
        if field := meanings.get(plain(name)):
            yield (
                f"column {name} is left out, as {layout.columns[field]} is {_MEANINGS[field]}"
                + ("; rename it if it is a metric" if layout.wide else "")
            )
    rest = [name for name in unused if plain(name) not in meanings]
    if rest:
        yield f"left out: {listed(rest)}"


_MEANINGS = {
    "event_time": "the time",
    "entity": "the entity",
    "metric": "the metric",
    "value": "the value",
    "event_id": "the id",
    "metadata": "the metadata",
    "label": "the label",
}


def _long(read: MetricFile, rows: pl.DataFrame, layout: Layout) -> pl.DataFrame:
    """Return time, metric, value and row of each reading; with several entities it says whose."""
    entity = layout.columns.get("entity")
    whose = pl.lit("")
    if entity is not None and rows[entity].n_unique() > 1:
        whose = pl.concat_str(pl.col("__entity").fill_null(""), pl.lit(":"))
    frame = read.frame.with_row_index("__row")
    if entity is not None:
        frame = frame.with_columns(rows[entity].alias("__entity"))
    kept = [name for name in ("__entity", "__row", TIME) if name in frame.columns]
    if layout.wide:
        long = frame.unpivot(
            on=read.metrics, index=kept, variable_name="__metric", value_name="__value"
        )
    else:
        metric = layout.columns.get("metric")
        name = rows[metric] if metric else pl.lit(layout.constants.get("metric"))
        long = frame.select(*kept, name.alias("__metric"), pl.col(read.metrics[0]).alias("__value"))
    return long.select(TIME, "__row", "__value", metric=pl.concat_str(whose, "__metric"))


def _pivoted(read: MetricFile, long: pl.DataFrame) -> MetricFile:
    """Return the file with a row per time and a column per metric."""
    notes = read.notes
    extra = long.filter(~pl.struct(TIME, "metric").is_first_distinct())
    if extra.height:
        row, metric = extra.sort("__row").select("__row", "metric").row(0)
        note = (
            f"{extra.height:,} readings have metric and time of an earlier one, such as {metric} "
            f"in row {row + 1}; the first one counts"
        )
        notes = (*notes, note)
    wide = long.pivot(
        on="metric", index=TIME, values="__value", aggregate_function="first", maintain_order=True
    ).sort(TIME)
    known = None
    if read.labels is not None:
        labels = read.frame.select(TIME, label=read.labels)
        known = wide.select(TIME).join(
            labels.group_by(TIME).agg(pl.col("label").any()),
            on=TIME,
            how="left",
            maintain_order="left",
        )["label"]
    text = wide[TIME].dt.strftime("%Y-%m-%dT%H:%M:%S%.fZ").alias(read.time_name)
    never = pl.repeat(False, wide.height, eager=True)
    return replace(read, frame=wide, time_text=text, labels=known, repeated=never, notes=notes)


def _cells(batch: RawBatch, layout: Layout, name: str) -> Cells:
    """Return the values of a column, and why others of its cells are none."""
    read = read_values(batch, layout, name)
    if read is None:
        return read_numbers(batch.frame[name])
    cells = read_numbers(read.texts)
    wrong = read.reasons.is_not_null()
    return Cells(cells.values.set(wrong, None), read.reasons.zip_with(wrong, cells.reasons))


def _unread(path: Path, rows: pl.DataFrame, columns: Mapping[str, Cells]) -> tuple[str, ...]:
    """Say of which columns how many readings are no numbers.

    Raises
    ------
    UnreadableFile
        When no column has a single one.
    """
    said, useful = [], 0
    for name, cells in columns.items():
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
    return None if column is None else labels_of(path, rows[column])


def labels_of(path: Path, texts: pl.Series) -> pl.Series:
    """Return a file's column of labels as truth values; an empty cell is null.

    Raises
    ------
    UnreadableFile
        When a cell is no label.
    """
    cells = read_labels(texts)
    if cells.reasons.count():
        place = int(cells.reasons.is_not_null().arg_true()[0])
        said = f"{str(texts[place])[:40]!r} in {texts.name}: {cells.reasons[place]}"
        raise UnreadableFile(f"{path.name}, row {place + 1}: {said}")
    return cells.values
