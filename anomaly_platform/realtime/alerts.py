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
    readings: Sequence[StoredReading],
    now: dt.datetime,
) -> None:
    """Write the detections and alerts of anomalies and calls, in the transaction that stores them.

    As in the batch (``incidents.anomaly_alerts``), an anomaly that raises no alert keeps the
    entity's open.
    """
    news = [one for one in readings if time_of(one.event_time) >= now - NEWS_FOR]
    alerts = anomaly_alerts(stream, news)
    going_on = {_name(stream, one.entity) for one in news} - {one.fingerprint for one in alerts}
    with connection.pipeline():
        flagged = [one for one in readings if one.is_anomaly]
        insert_detections(connection, stream.name, stream.scored_by, flagged)
        for alert in alerts:
            outbox.raise_alert(connection, alert)
        outbox.renew_alerts(connection, going_on, now=now)


def _name(stream: MetricStream, entity: str) -> str:
    return fingerprint("anomaly", stream.name, entity)


def _raises(one: StoredReading) -> bool:
    """Return whether an anomaly or a call raises an alert."""
    if one.is_call or (one.is_call is None and one.is_anomaly):
        return True
    severe = anomaly_severity(one.score or 0.0, one.threshold) == "critical"
    return bool(one.is_anomaly) and severe


def anomaly_alerts(stream: MetricStream, news: Sequence[StoredReading]) -> list[Alert]:
    """Return an alert per entity, of its most unusual reading among those that raise one."""
    worst: dict[str, StoredReading] = {}
    count: dict[str, int] = {}
    for one in news:
        count[one.entity] = count.get(one.entity, 0) + 1
        if not _raises(one):
            continue
        known = worst.get(one.entity)
        if known is None or (one.score or 0.0) > (known.score or 0.0):
            worst[one.entity] = one
    return [
        Alert(
            kind="anomaly",
            fingerprint=_name(stream, entity),
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
