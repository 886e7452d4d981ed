"""What follows from readings found unusual in real time: detections, and alerts."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final

from anomaly_platform.notifications.outbox import (
    Alert,
    Outbox,
    anomaly_fingerprint,
    anomaly_severity,
)
from anomaly_platform.storage.postgres.transactions import Connection
from anomaly_platform.storage.tables.online import StoredReading, insert_detections
from anomaly_platform.streams import MetricStream

ALERT_WITHIN: Final = dt.timedelta(hours=1)
"""Events older than this never alert: nobody can act on them any more."""

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class AnomalyAlerts:
    """Writes what follows from anomalies.

    Parameters
    ----------
    outbox : Outbox
        What people and other systems are to be told.
    detector : str
        What finds the anomalies.
    """

    def __init__(self, outbox: Outbox, detector: str) -> None:
        self._outbox = outbox
        self._detector = detector

    def raise_for(
        self,
        connection: Connection,
        stream: MetricStream,
        flagged: Sequence[StoredReading],
        now: dt.datetime,
    ) -> None:
        """Write the detections and alerts of readings, in the transaction that stores them."""
        with connection.pipeline():
            insert_detections(connection, stream.name, self._detector, flagged)
            for alert in anomaly_alerts(stream, flagged, now):
                self._outbox.raise_alert(connection, alert)


def anomaly_alerts(
    stream: MetricStream, flagged: Sequence[StoredReading], now: dt.datetime
) -> list[Alert]:
    """Return an alert per entity, of its most unusual reading that is young enough to act on."""
    worst: dict[str, StoredReading] = {}
    count: dict[str, int] = {}
    for one in flagged:
        if _time(one) < now - ALERT_WITHIN:
            continue
        count[one.entity] = count.get(one.entity, 0) + 1
        known = worst.get(one.entity)
        if known is None or (one.score or 0.0) > (known.score or 0.0):
            worst[one.entity] = one
    return [
        Alert(
            kind="anomaly",
            fingerprint=anomaly_fingerprint(stream.name, entity),
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
                "event_time": _time(one),
                "event_id": str(one.event_id),
                "bundle_version": one.bundle_version,
                "anomalies": count[entity],
            },
            occurrence=str(one.event_id),
        )
        for entity, one in sorted(worst.items())
    ]


def _time(one: StoredReading) -> dt.datetime:
    return _EPOCH + dt.timedelta(microseconds=one.event_time)
