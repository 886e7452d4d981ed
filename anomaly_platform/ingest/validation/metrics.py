"""From the raw rows of one day to its validated readings, for streams of metrics.

Here belongs what makes a reading valid. How every row is accounted for is in ``day``.
"""

from datetime import date, datetime, timedelta
from typing import Final

import polars as pl

from anomaly_platform.ingest.cells import (
    Cells,
    read_labels,
    read_metadata,
    read_names,
    read_numbers,
    read_uuids,
)
from anomaly_platform.ingest.event_days import FUTURE_ALLOWANCE
from anomaly_platform.ingest.validation.day import ValidatedDay, settle_day, time_reasons

METRIC_KEY: Final = ("entity", "metric", "event_time")

_TEXTS: Final = (
    "event_time_text",
    "entity",
    "metric",
    "value_text",
    "event_id_text",
    "metadata_text",
    "label_text",
)


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
    from anomaly_platform.ingest.validation.schemas import METRIC_EVENTS

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
    shown = rows.with_columns(value_text=pl.coalesce("value_said", "value_text"))
    return settle_day(
        shown,
        columns,
        key=METRIC_KEY,
        payload=("value", "label", "metadata"),
        texts=_TEXTS,
        schema=METRIC_EVENTS,
    )
