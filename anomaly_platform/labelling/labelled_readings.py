"""Finds labels whose readings are not there.

Belongs here: looking labels' readings up in the day files and among the online readings. Labels of
readings that are not there (yet) are stored all the same; this only tells which they are.
"""

import datetime as dt
from collections.abc import Sequence

import polars as pl

from anomaly_platform.ingest.bucketing import bucket
from anomaly_platform.labelling.labels import NewLabel
from anomaly_platform.ml.times import microseconds_of
from anomaly_platform.storage.lake.lake import Lake
from anomaly_platform.storage.postgres.transactions import Transactions
from anomaly_platform.storage.tables.online import by_natural_key
from anomaly_platform.storage.tables.partitions import Partitions
from anomaly_platform.streams import Stream


def labels_without_reading(
    transactions: Transactions, lake: Lake, stream: Stream, labels: Sequence[NewLabel]
) -> list[NewLabel]:
    """Return the labels whose readings the stream does not have, in their order."""
    by_day: dict[dt.date, list[NewLabel]] = {}
    for label in labels:
        by_day.setdefault(label.event_time.astimezone(dt.UTC).date(), []).append(label)
    partitions = Partitions(transactions)
    lacking = {
        id(label)
        for day, members in by_day.items()
        for label in _not_in_file(partitions, lake, stream, day, members)
    }
    rest = [label for label in labels if id(label) in lacking]
    if not rest or not stream.has_series:
        return rest
    keys = [(label.entity, label.metric, microseconds_of(label.event_time)) for label in rest]
    with transactions.begin() as connection:
        online = by_natural_key(connection, stream.name, keys)
    return [label for label, key in zip(rest, keys, strict=True) if key not in online]


def _not_in_file(
    partitions: Partitions, lake: Lake, stream: Stream, day: dt.date, labels: Sequence[NewLabel]
) -> list[NewLabel]:
    source = partitions.get(stream.name, "validated_events", day.isoformat())
    if source is None:
        return list(labels)
    names = ["entity", "metric"] if stream.has_series else ["epc_code"]
    buckets = [bucket(label.entity) for label in labels]
    wanted = pl.DataFrame(
        {
            names[0]: [label.entity for label in labels],
            "metric": [label.metric for label in labels],
            "event_time": [label.event_time.astimezone(dt.UTC) for label in labels],
        },
        schema_overrides={"event_time": pl.Datetime("us", "UTC")},
    ).select(*names, "event_time")
    rows = lake.read(
        source.path,
        columns=wanted.columns,
        between={"bucket": (min(buckets), max(buckets))},
    )
    found = set(wanted.join(rows, on=wanted.columns, how="semi").rows())
    return [label for label, key in zip(labels, wanted.rows(), strict=True) if key not in found]
