"""Readings of one minute each that are taken one by one, and what is kept of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import polars as pl

from anomaly_platform.ingest.online.readings import Reading
from anomaly_platform.ml.features.metrics.series_state import SeriesState
from anomaly_platform.ml.scoring.batch import FleetScorer
from anomaly_platform.ml.scoring.online import OnlineScorer
from anomaly_platform.platform import Platform
from anomaly_platform.realtime.answers import Answer
from anomaly_platform.realtime.append_path import Judge
from anomaly_platform.realtime.ingest import OnlineIngest
from anomaly_platform.storage.tables.online import StoredReading, by_natural_key
from anomaly_platform.streams import IIOT
from tests.builders.ingesting import take_in

START = datetime(2026, 3, 2, tzinfo=UTC)
NOW = START + timedelta(days=30)
JUDGE = Judge(
    None, OnlineScorer(FleetScorer.without_models(IIOT.features, alpha=0.001, threshold=0.7)), 0.7
)


def stored(platform: Platform, event_id: UUID) -> StoredReading:
    with platform.warehouse.transactions.begin() as connection:
        entity, metric, time = connection.execute(
            "SELECT entity, metric, (extract(epoch FROM event_time) * 1000000)::bigint "
            "FROM online_readings WHERE stream = 'iiot' AND event_id = %s",
            (event_id,),
        ).fetchall()[0]
        return by_natural_key(connection, "iiot", [(entity, metric, time)])[entity, metric, time]


def reading(
    minute: int,
    value: float = 1.0,
    device: str = "pump",
    *,
    event_id: UUID | None = None,
    has_time: bool = True,
) -> Reading:
    time = int((START + timedelta(minutes=5 * minute)).timestamp() * 1e6)
    return Reading(device, "temp", time, value, event_id, has_time=has_time)


def take(ingest: OnlineIngest, *readings: Reading, now: datetime = NOW) -> list[Answer]:
    return take_in(ingest, IIOT, readings, JUDGE, now=now)


def outcomes(answers: Sequence[Answer]) -> list[str]:
    return [answer.outcome for answer in answers]


def look_back(platform: Platform, device: str) -> SeriesState:
    return platform.series_states.look_back(IIOT, device, "temp")


def batch_scores(readings: Sequence[Reading]) -> pl.DataFrame:
    frame = pl.DataFrame(
        {
            "entity": [one.entity for one in readings],
            "metric": [one.metric for one in readings],
            "event_time": [one.time for one in readings],
            "value": [one.value for one in readings],
        },
    ).with_columns(pl.from_epoch("event_time", "us").dt.replace_time_zone("UTC"))
    features = IIOT.features.compute(frame.sort("entity", "metric", "event_time"))
    return FleetScorer.without_models(IIOT.features, alpha=0.001, threshold=0.7).score(features)
