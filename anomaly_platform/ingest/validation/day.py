"""From raw rows with read columns to a validated day: what all kinds of streams share.

Here belongs the account of every row: each raw row ends up in exactly one of the validated frame,
the rejects, or the count of duplicates. The result does not depend on the order in which the rows
come, only on what was ingested first. A day may be worked through bucket by bucket: all events of a
natural key share a bucket.
"""

from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from anomaly_platform.ingest.bucketing import bucket_of
from anomaly_platform.ingest.cells import Cells
from anomaly_platform.ingest.event_days import refuse_event_time
from anomaly_platform.ingest.identity import derive_event_ids
from anomaly_platform.ingest.notation.zones import may_be_local
from anomaly_platform.ingest.rejects import REJECTS, raw_column
from anomaly_platform.ingest.validation.duplicates import (
    CONFLICT,
    LOCAL_CONFLICT,
    settle_duplicates,
)

if TYPE_CHECKING:
    import pandera.polars as pa

DAY_REJECTS: Final = pl.Schema({"batch_seq": pl.Int64(), **REJECTS})
"""Rejects of a day's rows, which come from several ingested files (`rejects.REJECTS`)."""

_PLACE: Final = "__place"


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


def settle_day(
    rows: pl.DataFrame,
    columns: dict[str, Cells],
    *,
    key: tuple[str, ...],
    payload: tuple[str, ...],
    texts: tuple[str, ...],
    schema: "pa.DataFrameSchema",
) -> ValidatedDay:
    """Account for every row of a day.

    Parameters
    ----------
    rows
        Raw rows with ``batch_seq``, ``row_number`` and ``column``, which identify a row.
    columns
        The columns that were read; a row is refused for the first one with a reason.
    key, payload
        The natural key, what is hashed into buckets first; what a duplicate repeats besides.
    texts
        Raw columns that a reject shows.
    schema
        What the result has to be.

    Raises
    ------
    pandera.errors.SchemaErrors
        When the result breaks its schema: a mistake in our own code, not in the input.
    """
    events, refused = split_by_reason(rows, columns, texts)
    placed = in_order(events, key)
    conflicts, duplicates = events.clear(), 0
    if placed.repeats:
        events, conflicts, duplicates = settle_duplicates(events, key, payload)
        placed = in_order(events, key)
    kept = [name for name in schema.columns if name != "bucket"]
    frame = events.select(kept).with_columns(placed.buckets)[placed.order]
    frame = with_event_ids(frame, [name for name in key if name != "event_time"])
    frame = frame.select(*schema.columns)
    rejects = pl.concat([refused, _with_hint(conflict_rejects(conflicts, texts), conflicts)])
    schema.validate(frame, lazy=True)
    return ValidatedDay(frame, rejects.sort("batch_seq", "row_number", "column"), duplicates)


class Placed(NamedTuple):
    """Where a day's events belong.

    Parameters
    ----------
    buckets
        Of each event, as they came.
    order
        The events' places in the order of bucket and key.
    repeats
        Whether two have the same key.
    """

    buckets: pl.Series
    order: pl.Series
    repeats: bool


def in_order(events: pl.DataFrame, key: tuple[str, ...]) -> Placed:
    """Put a day's events in order of bucket and key.

    The texts before the time name few series, or few goods: they are sorted once each, and events
    by the number of theirs. Those of one number mostly come in order of time, and are then not
    compared with each other.
    """
    names = list(takewhile("event_time".__ne__, key))
    rest = list(key[len(names) :])
    distinct = events.select(names).unique()
    numbered = (
        distinct.with_columns(bucket_of(distinct[key[0]]))
        .sort("bucket", *names)
        .with_row_index(_PLACE)
    )
    found = events.select(names).join(
        numbered, on=names, how="left", nulls_equal=True, maintain_order="left"
    )
    places, times = found[_PLACE].to_numpy(), events["event_time"].to_physical().to_numpy()
    # Stable, and by 16 bits at a time: NumPy counts numbers so short instead of comparing them.
    grouped = np.lexsort((places.astype(np.uint16), (places >> 16).astype(np.uint16)))
    if _ascend(places[grouped], times[grouped]):
        return Placed(found["bucket"], pl.Series(grouped), repeats=False)
    keys = events.select(rest).with_columns(found[_PLACE])
    order = keys.select(pl.arg_sort_by(_PLACE, *rest)).to_series()
    same = pl.all_horizontal(
        pl.col(name).eq_missing(pl.col(name).shift(1)) for name in (_PLACE, *rest)
    )
    # The first one has none before it, and its own number is never missing.
    return Placed(found["bucket"], order, bool(keys[order].select(same.any()).item()))


def _ascend(places: npt.NDArray[np.uint32], times: npt.NDArray[np.int64]) -> bool:
    """Tell whether each event is later than the one before, or of another place."""
    return bool(((places[1:] != places[:-1]) | (times[1:] > times[:-1])).all())


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


def _with_hint(rejects: pl.DataFrame, conflicts: pl.DataFrame) -> pl.DataFrame:
    """Say of conflicts that the clocks of a zone nobody named would explain, that they do."""
    if conflicts.is_empty():
        return rejects
    local = may_be_local(conflicts["event_time_text"], conflicts["event_time"])
    reason = pl.when(local).then(pl.lit(LOCAL_CONFLICT)).otherwise("reason")
    return rejects.with_columns(reason.alias("reason"))


def with_event_ids(events: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """Give an id to the events that came without one, derived from time and key."""
    without = events["event_id"].is_null()
    if not without.any():
        return events
    derived = derive_event_ids(events.filter(without), key)
    if without.all():
        return events.with_columns(derived)
    return events.with_columns(events["event_id"].scatter(without.arg_true(), derived))
