"""From the raw rows of one day to its validated readings, for streams of metrics.

Here belongs what makes a reading valid, and the account of every row: each raw row ends up in
exactly one of the validated frame, the rejects, or the count of duplicates. The result does not
depend on the order in which the rows come, only on what was ingested first. A day may be worked
through bucket by bucket: all readings of a natural key share a bucket.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple

import polars as pl

from anomaly_platform.ingest.bucketing import bucket_of
from anomaly_platform.ingest.cells import (
    Cells,
    read_labels,
    read_metadata,
    read_names,
    read_numbers,
    read_uuids,
)
from anomaly_platform.ingest.event_days import FUTURE_ALLOWANCE, refuse_event_time
from anomaly_platform.ingest.identity import derive_event_ids
from anomaly_platform.ingest.rejects import REJECTS, raw_column
from anomaly_platform.ingest.validation.duplicates import CONFLICT, settle_duplicates

METRIC_KEY: Final = ("entity", "metric", "event_time")
METRIC_COLUMNS: Final = (
    "bucket",
    "entity",
    "metric",
    "event_time",
    "value",
    "event_id",
    "label",
    "metadata",
)
DAY_REJECTS: Final = pl.Schema({"batch_seq": pl.Int64(), **REJECTS})
"""Rejects of a day's rows, which come from several ingested files (`rejects.REJECTS`)."""

_TEXTS: Final = (
    "event_time_text",
    "entity",
    "metric",
    "value_text",
    "event_id_text",
    "metadata_text",
    "label_text",
)


class ValidatedDay(NamedTuple):
    """What became of a day's raw rows.

    Parameters
    ----------
    frame
        Valid events, sorted, as the stream's schema in `schemas` has them.
    rejects
        Refused rows (`DAY_REJECTS`), one reason each, sorted by order of ingestion.
    duplicates
        How many rows repeat an earlier one exactly.
    """

    frame: pl.DataFrame
    rejects: pl.DataFrame
    duplicates: int


def validate_metrics(
    rows: pl.DataFrame,
    day: date,
    *,
    start: datetime,
    now: datetime,
    future_allowance: timedelta = FUTURE_ALLOWANCE,
) -> ValidatedDay:
    """Validate the raw rows of one UTC day.

    Parameters
    ----------
    rows
        `layout.RAW_METRIC_ROWS` and ``batch_seq`` (``Int64``: which ingested file a row is from, in
        order of ingestion), in any order; (``batch_seq``, ``row_number``, ``column``) identify a
        row.
    day
        The day; a row of another day is refused.
    start
        The first instant that the stream takes, with a time zone.
    now
        The present, with a time zone.
    future_allowance
        How far ahead of `now` an event may lie.

    Returns
    -------
    ValidatedDay
        Its frame is sorted by bucket, entity, metric and event time.

    Raises
    ------
    pandera.errors.SchemaErrors
        When the result breaks its schema: a mistake in this module, not in the input.
    """
    columns = {
        "entity": read_names(rows["entity"], "the entity"),
        "metric": read_names(rows["metric"], "the metric's name"),
        "event_time": Cells(
            rows["event_time"],
            time_reasons(rows, day, start=start, now=now, future_allowance=future_allowance),
        ),
        "value": read_numbers(rows["value_text"]),
        "event_id": read_uuids(rows["event_id_text"]),
        "label": read_labels(rows["label_text"]),
        "metadata": read_metadata(rows["metadata_text"]),
    }
    events, refused = split_by_reason(rows, columns, _TEXTS)
    winners, conflicts, duplicates = settle_duplicates(
        events, METRIC_KEY, ("value", "label", "metadata")
    )
    frame = with_event_ids(winners, ["entity", "metric"])
    frame = frame.with_columns(bucket_of(frame["entity"])).select(METRIC_COLUMNS)
    frame = frame.sort("bucket", *METRIC_KEY)
    rejects = pl.concat([refused, conflict_rejects(conflicts, _TEXTS)])

    from anomaly_platform.ingest.validation.schemas import METRIC_EVENTS

    METRIC_EVENTS.validate(frame, lazy=True)
    return ValidatedDay(frame, rejects.sort("batch_seq", "row_number", "column"), duplicates)


def time_reasons(
    rows: pl.DataFrame,
    day: date,
    *,
    start: datetime,
    now: datetime,
    future_allowance: timedelta,
) -> pl.Series:
    """Say of each row why its time is refused on this day (`refuse_event_time`)."""
    times = rows["event_time"]
    reasons = refuse_event_time(times, start=start, now=now, future_allowance=future_allowance)
    first = datetime(day.year, day.month, day.day, tzinfo=UTC)
    elsewhere = (times < first) | (times >= first + timedelta(days=1))
    return pl.DataFrame([reasons, elsewhere.alias("elsewhere")]).select(
        pl.when(pl.col("reason").is_null() & pl.col("elsewhere"))
        .then(pl.lit(f"the event is not of {day:%Y-%m-%d}"))
        .otherwise("reason")
        .alias("reason")
    )["reason"]


def split_by_reason(
    rows: pl.DataFrame, columns: dict[str, Cells], texts: tuple[str, ...]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split rows into events, with their read columns, and rejects.

    Parameters
    ----------
    rows
        Raw rows with ``batch_seq``, ``row_number`` and ``column``.
    columns
        The columns that were read; a row is refused for the first one with a reason.
    texts
        Raw columns that a reject shows.
    """
    reasons = pl.DataFrame(
        {name: cells.reasons for name, cells in columns.items() if cells.reasons.count()}
    )
    kept = [name for name in rows.columns if name not in columns]
    events = rows[kept].hstack([cells.values.alias(name) for name, cells in columns.items()])
    if not reasons.width:
        return events, pl.DataFrame(schema=DAY_REJECTS)
    judged = reasons.select(
        reason=pl.coalesce(pl.all()),
        field=pl.coalesce(
            pl.when(pl.col(name).is_not_null()).then(pl.lit(name)) for name in reasons.columns
        ),
    )
    bad = judged["reason"].is_not_null()
    refused = rows.filter(bad)
    rejects = refused.select(
        "batch_seq",
        "row_number",
        "column",
        judged["field"].filter(bad),
        judged["reason"].filter(bad),
        raw=raw_column(refused, texts),
    )
    return events.filter(~bad), rejects.cast(DAY_REJECTS)


def conflict_rejects(conflicts: pl.DataFrame, texts: tuple[str, ...]) -> pl.DataFrame:
    """Return the rejects of events that lost against an earlier one of the same key."""
    return conflicts.select(
        "batch_seq",
        "row_number",
        "column",
        field=pl.lit(""),
        reason=pl.lit(CONFLICT),
        raw=raw_column(conflicts, texts),
    ).cast(DAY_REJECTS)


def with_event_ids(events: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """Give an id to the events that came without one, derived from time and key."""
    without = events["event_id"].is_null()
    if not without.any():
        return events
    derived = derive_event_ids(events.filter(without), key)
    if without.all():
        return events.with_columns(derived)
    return events.with_columns(events["event_id"].scatter(without.arg_true(), derived))
