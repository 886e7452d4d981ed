"""Reads the evidence for retraining a stream's models, of one moment.

Belongs here: the queries behind ``streams.retraining.StreamEvidence``. Only series that anything
speaks for are read, so that a fleet of ten thousand costs what its drifted share costs.
"""

import datetime as dt
from collections import defaultdict
from typing import Any, Final

from anomaly_platform.ml.drift.days import DayChange
from anomaly_platform.storage.postgres.transactions import Connection, TableAccess
from anomaly_platform.streams.base import Stream
from anomaly_platform.streams.retraining import DriftedDay, SeriesEvidence, StreamEvidence
from anomaly_platform.streams.staleness import RESCORED_DAYS

#: Days whose labels are looked at for quality.
QUALITY_DAYS: Final = 7
#: A day is complete once the stream's newest event lies this far into it.
_DAY_ENDS: Final = dt.timedelta(hours=23)

_STREAM = """
WITH RECURSIVE lineage AS (
    SELECT b.version, b.parent, b.window_start, b.window_end FROM champions c
    JOIN bundles b ON b.stream = c.stream AND b.detector = c.detector AND b.version = c.version
    WHERE c.stream = %(stream)s AND c.detector = %(detector)s
    UNION ALL
    SELECT b.version, b.parent, b.window_start, b.window_end FROM lineage l
    JOIN bundles b ON b.stream = %(stream)s AND b.detector = %(detector)s AND b.version = l.parent
)
SELECT
    -- The watermark of what is scored: what is only ingested has been judged by nobody.
    (SELECT max(last_event) FROM series_days WHERE stream = %(stream)s),
    c.version,
    -- Of the last training of everything: one of a few series says nothing about the others.
    (SELECT window_end FROM lineage WHERE parent IS NULL),
    (SELECT max(event_watermark) FROM training_requests
     WHERE stream = %(stream)s AND entity IS NULL AND status <> 'cancelled'),
    (SELECT count(*) FROM ml_models WHERE stream = %(stream)s AND model_type = %(detector)s
     AND status = 'active'),
    b.metrics,
    -- A window may begin long before the first event.
    (SELECT extract(epoch FROM window_end - greatest(window_start, (
        SELECT min(first_event) FROM series WHERE stream = %(stream)s))) / 86400
     FROM lineage WHERE parent IS NULL)
FROM champions c
JOIN bundles b ON b.stream = c.stream AND b.detector = c.detector AND b.version = c.version
WHERE c.stream = %(stream)s AND c.detector = %(detector)s
"""

_SERIES = """
WITH serving AS (
    SELECT device_id AS entity, metric_name AS metric, training_samples, trained_at
    FROM ml_models
    WHERE stream = %(stream)s AND model_type = %(detector)s AND bundle_version = %(champion)s
    AND status = 'active'
), asked AS (
    SELECT entity, metric, max(event_watermark) AS event_watermark FROM training_requests
    WHERE stream = %(stream)s AND entity IS NOT NULL AND status <> 'cancelled'
    GROUP BY entity, metric
), labelled AS (
    SELECT f.entity, f.metric, count(*) AS labels FROM feedback_labels f
    JOIN serving m ON m.entity = f.entity AND m.metric = f.metric
    WHERE f.stream = %(stream)s AND f.created_at > m.trained_at GROUP BY f.entity, f.metric
), known AS (
    -- Of a series that changed its behaviour only what came since: more is never trained on.
    SELECT entity, metric, last_event, greatest(first_event, changed_at) AS first_event,
        CASE WHEN changed_at IS NULL THEN rows ELSE coalesce((
            SELECT sum(d.rows) FROM series_days d
            WHERE d.series_id = s.series_id AND d.first_event >= changed_at
        ), 0)::bigint END AS rows
    FROM series s
    WHERE stream = %(stream)s AND rows >= %(least)s AND last_event >= %(heard_since)s
), found AS (
    SELECT entity, metric FROM series_drift
    WHERE stream = %(stream)s AND day = %(last_day)s AND bundle_version = %(champion)s
    AND verdict IN ('drifted', 'severe')
)
SELECT s.entity, s.metric, s.rows, s.first_event, s.last_event, m.training_samples,
    coalesce(l.labels, 0), a.event_watermark, d.entity IS NOT NULL
FROM known s
LEFT JOIN serving m ON m.entity = s.entity AND m.metric = s.metric
LEFT JOIN asked a ON a.entity = s.entity AND (a.metric IS NULL OR a.metric = s.metric)
LEFT JOIN labelled l ON l.entity = s.entity AND l.metric = s.metric
LEFT JOIN found d ON d.entity = s.entity AND d.metric = s.metric
WHERE s.rows >= %(least)s
AND (m.entity IS NULL OR d.entity IS NOT NULL OR l.labels > 0
     OR (s.rows >= %(growth)s * m.training_samples
         AND s.last_event - s.first_event <= %(window)s))
ORDER BY s.entity, s.metric
"""

_DRIFT = """
SELECT d.entity, d.metric, d.day, d.verdict, d.psi, d.score_psi,
    d.change, coalesce(d.noise_ratio, 'NaN'), coalesce(d.swing_ratio, 'NaN')
FROM series_drift d
JOIN series_drift newest ON newest.stream = d.stream AND newest.entity = d.entity
    AND newest.metric = d.metric AND newest.day = %(last_day)s
    AND newest.verdict IN ('drifted', 'severe') AND newest.bundle_version = %(champion)s
WHERE d.stream = %(stream)s AND d.day > %(first_day)s AND d.day <= %(last_day)s
AND d.bundle_version = %(champion)s
ORDER BY d.entity, d.metric, d.day
"""

_QUALITY = """
SELECT sum(labelled.value), sum(anomalies.value),
    sum(anomalies.value * recall.value) FILTER (WHERE recall.value IS NOT NULL)
        / nullif(sum(anomalies.value) FILTER (WHERE recall.value IS NOT NULL), 0),
    sum(labelled.value * fpr.value) FILTER (WHERE fpr.value IS NOT NULL)
        / nullif(sum(labelled.value) FILTER (WHERE fpr.value IS NOT NULL), 0)
FROM monitoring_stats labelled
LEFT JOIN monitoring_stats recall ON recall.stream = labelled.stream AND recall.day = labelled.day
    AND recall.subject = 'day' AND recall.stat = %(recall)s
LEFT JOIN monitoring_stats anomalies ON anomalies.stream = labelled.stream
    AND anomalies.day = labelled.day
    AND anomalies.subject = 'day' AND anomalies.stat = 'labelled_anomalies'
LEFT JOIN monitoring_stats fpr ON fpr.stream = labelled.stream AND fpr.day = labelled.day
    AND fpr.subject = 'day' AND fpr.stat = 'false_positive_rate'
WHERE labelled.stream = %(stream)s AND labelled.subject = 'day' AND labelled.stat = 'labelled'
AND labelled.day > %(first_day)s AND labelled.day <= %(last_day)s
"""


class TrainingEvidence(TableAccess):
    """Reads what ``streams.retraining`` decides from."""

    def of(self, stream: Stream, *, min_training_samples: int) -> StreamEvidence:
        """Return what is known of a stream; empty where nothing serves."""
        detector = stream.scored_by
        key: dict[str, Any] = {"stream": stream.name, "detector": detector}
        with self._transactions.begin() as connection:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            row = connection.execute(_STREAM, key).fetchone()
            if row is None or row[0] is None:
                return StreamEvidence()
            newest, champion, window_end, asked, trained, metrics, trained_days = row
            last_day = last_complete_day(newest)
            policy = stream.retraining
            key |= {
                "champion": champion,
                "last_day": last_day,
                # As many days as a series of few readings may need to be trained on them alone.
                "first_day": last_day
                - max(policy.window, dt.timedelta(days=RESCORED_DAYS + policy.drift_days)),
                "least": min_training_samples,
                "growth": policy.growth,
                "window": policy.window,
                "heard_since": newest - policy.max_silence,
            }
            days = _drifted_days(connection, key)
            is_fleet = stream.has_series
            # An incident of a hundred readings is found by the first alarm; a scan is one event.
            key["recall"] = "event_recall" if is_fleet else "recall"
            quality = _quality(connection, key, last_day)
            series = _series(connection, key, days) if is_fleet else []
        return StreamEvidence(
            newest_event=newest,
            champion=champion,
            window_end=window_end,
            asked=asked,
            trained_series=int(trained),
            severe_series=sum(of[-1].verdict == "severe" for of in days.values()),
            labelled=quality[0],
            labelled_anomalies=quality[1],
            labelled_quality=quality[2],
            injected_quality=_injected(metrics),
            trained_days=None if trained_days is None else float(trained_days),
            days=() if is_fleet else next(iter(days.values()), ()),
            series=series,
        )


def last_complete_day(newest: dt.datetime) -> dt.date:
    """Return the newest UTC day that is over for a stream whose newest event is `newest`.

    Half a day has another distribution than a whole one: a morning is no drift.
    """
    day = newest.astimezone(dt.UTC).date()
    midnight = dt.datetime.combine(day, dt.time(), dt.UTC)
    return day if newest - midnight >= _DAY_ENDS else day - dt.timedelta(days=1)


def _drifted_days(
    connection: Connection, key: dict[str, Any]
) -> dict[tuple[str, str], list[DriftedDay]]:
    days: dict[tuple[str, str], list[DriftedDay]] = defaultdict(list)
    for entity, metric, day, verdict, psi, score, *change in connection.execute(_DRIFT, key):
        found = DriftedDay(day, verdict, psi, score, DayChange(*change))
        days[entity, metric].append(found)
    return days


def _series(
    connection: Connection, key: dict[str, Any], days: dict[tuple[str, str], list[DriftedDay]]
) -> list[SeriesEvidence]:
    return [
        SeriesEvidence(
            entity=entity,
            metric=metric,
            rows=rows,
            first_event=first,
            last_event=last,
            trained_rows=trained_rows,
            days=days.get((entity, metric), ()),
            new_labels=labels,
            asked=asked,
        )
        for entity, metric, rows, first, last, trained_rows, labels, asked, _ in connection.execute(
            _SERIES, key
        )
    ]


def _quality(
    connection: Connection, key: dict[str, Any], last_day: dt.date
) -> tuple[int, int, float | None]:
    """Return the labelled events of the last days, anomalies, and the balanced accuracy on them."""
    since = last_day - dt.timedelta(days=QUALITY_DAYS)
    found = connection.execute(_QUALITY, {**key, "first_day": since}).fetchall()
    ((labelled, anomalies, recall, false_positives),) = found
    numbers = int(labelled or 0), int(anomalies or 0)
    if not labelled or recall is None or false_positives is None:
        return *numbers, None
    return *numbers, (float(recall) + 1.0 - float(false_positives)) / 2


def _injected(metrics: dict[str, Any]) -> float | None:
    for name in ("balanced_accuracy_median", "auc_roc"):
        value = metrics.get(name)
        if isinstance(value, (int, float)):
            return float(value)
    return None
