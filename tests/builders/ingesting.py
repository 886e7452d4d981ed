"""Readings taken in one by one, as the service's writer takes them in by column."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from anomaly_platform.ingest.online.reading_columns import ReadingColumns
from anomaly_platform.ingest.online.readings import Reading
from anomaly_platform.realtime.answers import Answer
from anomaly_platform.realtime.append_path import Judge
from anomaly_platform.realtime.ingest import OnlineIngest
from anomaly_platform.streams import MetricStream


def take_in(
    ingest: OnlineIngest,
    stream: MetricStream,
    readings: Sequence[Reading],
    judge: Judge,
    *,
    now: dt.datetime | None = None,
) -> list[Answer]:
    """Store, score and tell of readings; return what became of each."""
    if not readings:
        return []
    columns = ReadingColumns.of(readings)
    taken = ingest.ingest(stream, columns, judge, source="api", now=now)
    return taken if isinstance(taken, list) else taken.answers()
