"""What follows from readings found unusual in real time: detections, and alerts."""

import datetime as dt
from collections.abc import Sequence

from anomaly_platform.ml.times import time_of
from anomaly_platform.notifications.outbox import (
    NEWS_FOR,
    Alert,
    Outbox,
    anomaly_severity,
    fingerprint,
)
from anomaly_platform.storage.postgres.transactions import Connection
from anomaly_platform.storage.tables.online import StoredReading, insert_detections
from anomaly_platform.streams import MetricStream


def raise_for(
    connection: Connection,
    outbox: Outbox,
    stream: MetricStream,
    flagged: Sequence[StoredReading],
    now: dt.datetime,
) -> None:
    """Write the detections and alerts of readings, in the transaction that stores them."""
    with connection.pipeline():
        insert_detections(connection, stream.name, stream.scored_by, flagged)
        for alert in anomaly_alerts(stream, flagged, now):
            outbox.raise_alert(connection, alert)


def anomaly_alerts(
    stream: MetricStream, flagged: Sequence[StoredReading], now: dt.datetime
) -> list[Alert]:
    """Return an alert per entity, of its most unusual reading that is young enough to act on."""
    worst: dict[str, StoredReading] = {}
    count: dict[str, int] = {}
    for one in flagged:
        if time_of(one.event_time) < now - NEWS_FOR:
            continue
        count[one.entity] = count.get(one.entity, 0) + 1
        known = worst.get(one.entity)
        if known is None or (one.score or 0.0) > (known.score or 0.0):
            worst[one.entity] = one
    return [
        Alert(
            kind="anomaly",
            fingerprint=fingerprint("anomaly", stream.name, entity),
            subject=entity,
            severity=anomaly_severity(one.score or 0.0, one.threshold),
            title=f"{stream.title}: {one.metric} of {entity} is unusual ({one.value:g})",
            stream=stream.name,
            details={
                "entity": entity,
                "metric": one.metric,
                "value": one.value,
                "score": one.score,
                "threshold": one.threshold,
                "reason": one.reason,
                **({} if one.explanation is None else one.explanation.plain()),
                "event_time": time_of(one.event_time),
                "event_id": str(one.event_id),
                "bundle_version": one.bundle_version,
                "anomalies": count[entity],
            },
            occurrence=str(one.event_id),
        )
        for entity, one in sorted(worst.items())
    ]
