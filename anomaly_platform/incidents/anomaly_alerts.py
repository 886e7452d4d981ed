"""Raises and ends the alerts of a day's scores, in the transaction that replaces the day.

Belongs here: which rows of a replaced day are news. A row is news when it is younger than an hour
and was not stored before: what is scored again, and what is too old to act on, alerts nobody.
Calls raise alerts, which stay rare while a host drifts, and so do severe anomalies. Other anomalies
keep an open alert open. One alert speaks for an entity; it ends when its readings were ordinary for
an hour.
"""

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from psycopg import sql
from psycopg.rows import dict_row

from anomaly_platform.notifications.outbox import (
    NEWS_FOR,
    SEVERE_FROM,
    Alert,
    Outbox,
    anomaly_severity,
    fingerprint,
)
from anomaly_platform.storage.postgres.transactions import Connection

MOST_ENTITIES: Final = 50
"""Entities that get an alert of their own from one day's replacement; one speaks for the rest."""

_MOST_CAUSES: Final = 5


@dataclass(frozen=True, slots=True)
class AlertedRows:
    """The scored rows of a kind of stream, as alerts read them.

    Attributes
    ----------
    entity : str
        Column that names the entity.
    key : tuple of str
        SQL expressions of the natural key, none of them null.
    flagged : str
        SQL condition of a row that counts as an anomaly; it keeps an open alert open.
    raises : str
        SQL condition of a row that raises an alert; not null where `flagged` is true.
    told : str
        SQL list of what an alert tells: entity, event_time, event_id, score, threshold and more.
    worst : str
        SQL order within an entity, the worst row first.
    """

    entity: str
    key: tuple[str, ...]
    flagged: str
    raises: str
    told: str
    worst: str


_METRIC_ANOMALY: Final = "coalesce(s.entity_is_anomaly, s.is_anomaly)"

#: As `anomaly_severity` says it, in the same steps.
_METRIC_SEVERE: Final = (
    "coalesce((coalesce(s.entity_score, s.score, 0) - s.threshold) / nullif(1 - s.threshold, 0) "
    f">= {SEVERE_FROM}::float8, true)"
)

METRIC_ROWS: Final = AlertedRows(
    entity="entity",
    key=("s.entity", "s.metric", "s.event_time"),
    flagged=_METRIC_ANOMALY,
    raises=(
        f"(coalesce(s.entity_is_call, s.is_call, {_METRIC_ANOMALY}) "
        f"OR {_METRIC_ANOMALY} AND {_METRIC_SEVERE})"
    ),
    told=(
        "s.entity, s.metric, s.value, s.event_time, s.event_id::text, s.threshold, "
        "coalesce(s.entity_score, s.score) AS score, s.entity_score IS NOT NULL AS as_a_whole, "
        "s.causes, s.reason, s.expected_low, s.expected_high, s.deviation, s.direction, "
        "s.lasting, s.lasted_s, s.explanation, s.bundle_version"
    ),
    # Where a value in a new range is why the entity is told of, its row has the reason.
    worst=(
        "coalesce(s.entity_score, s.score) DESC NULLS LAST, s.reason IS NULL, "
        "s.score DESC NULLS LAST, s.event_time DESC, s.metric"
    ),
)
"""Scores of metrics; where the entity as a whole has a score, that one decides.

Of rows without a call (stored before there were calls, or judged without a p-value) every anomaly
raises.
"""


SCAN_ROWS: Final = AlertedRows(
    entity="epc_code",
    key=(
        "s.epc_code",
        "s.event_time",
        "coalesce(s.location_id, '')",
        "coalesce(s.business_step, '')",
        "coalesce(s.event_type, '')",
    ),
    flagged="s.is_anomaly",
    raises="s.is_anomaly",
    told=(
        "s.epc_code AS entity, s.event_time, s.event_id, s.place AS place, s.place_name, "
        "s.final_confidence / 100 AS score, 0.5::float8 AS threshold, s.explanation, "
        "s.bundle_version"
    ),
    worst="s.final_confidence DESC, s.event_time DESC",
)
"""Scores of scans, per code."""


@dataclass(slots=True)
class DayAlerts:
    """Raises and ends the alerts of one day's replacement.

    Parameters
    ----------
    outbox : Outbox
    stream, title : str
        The stream's name, and as people call it.
    day : date
    rows : AlertedRows
    now : datetime
        The present; the clock's by default.
    """

    outbox: Outbox
    stream: str
    title: str
    day: dt.date
    rows: AlertedRows
    now: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))

    @property
    def _is_news(self) -> bool:
        return self.day >= (self.now - NEWS_FOR).date()

    @property
    def _table(self) -> sql.Identifier:
        return sql.Identifier(f"scored_{self.stream}")

    @property
    def _many(self) -> str:
        """The fingerprint of the alert that speaks for a flood's rest."""
        return fingerprint("anomalies", self.stream)

    def _name(self, entity: str) -> str:
        """Return the fingerprint of an entity's alert."""
        return fingerprint("anomaly", self.stream, entity)

    @property
    def _span(self) -> dict[str, Any]:
        return {"day": self.day, "since": self.now - NEWS_FOR}

    def before(self, connection: Connection) -> None:
        """Remember which young rows are stored, before they are replaced."""
        if not self._is_news:
            return
        connection.execute(
            sql.SQL(
                "CREATE TEMPORARY TABLE known_rows ON COMMIT DROP AS SELECT {key} FROM {table} s "
                "WHERE s.day = %(day)s AND s.event_time >= %(since)s"
            ).format(
                key=sql.SQL(", ").join(
                    sql.SQL("{} AS {}").format(sql.SQL(one), sql.Identifier(f"key_{place}"))
                    for place, one in enumerate(self.rows.key)
                ),
                table=self._table,
            ),
            self._span,
        )
        connection.execute("ANALYZE known_rows")

    def after(self, connection: Connection) -> int:
        """Raise alerts for rows that are new, end those that are over; return how many it wrote."""
        if not self._is_news:
            return 0
        news = self._news(connection)
        connection.execute("DROP TABLE known_rows")
        alerts = self._alerts([row for row in news if row["raises"]])
        made = len(self.outbox.raise_alerts(connection, alerts))
        going_on = [self._name(row["entity"]) for row in news if not row["raises"]]
        self.outbox.renew_alerts(connection, going_on, now=self.now)
        for name in self._over(connection):
            ended = {"reason": "its readings were ordinary for an hour"}
            made += self.outbox.resolve_alert(connection, name, ended, now=self.now) is not None
        return made

    def _news(self, connection: Connection) -> list[dict[str, Any]]:
        """Return of each entity with news its worst row that raises, else its worst anomaly."""
        rows = self.rows
        same = sql.SQL(" AND ").join(
            sql.SQL("k.{} = {}").format(sql.Identifier(f"key_{place}"), sql.SQL(one))
            for place, one in enumerate(rows.key)
        )
        query = sql.SQL(
            "SELECT * FROM (SELECT DISTINCT ON (s.{entity}) {told}, {raises} AS raises, "
            "count(*) OVER (PARTITION BY s.{entity}) AS anomalies FROM {table} s "
            "WHERE s.day = %(day)s AND s.event_time >= %(since)s AND ({flagged} OR {raises}) "
            "AND NOT EXISTS (SELECT 1 FROM known_rows k WHERE {same}) "
            "ORDER BY s.{entity}, {raises} DESC, {worst}) news "
            "ORDER BY score DESC NULLS LAST, entity"
        ).format(
            entity=sql.Identifier(rows.entity),
            told=sql.SQL(rows.told),
            table=self._table,
            flagged=sql.SQL(rows.flagged),
            raises=sql.SQL(rows.raises),
            worst=sql.SQL(rows.worst),
            same=same,
        )
        with connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, self._span).fetchall()

    def _alerts(self, found: list[dict[str, Any]]) -> Iterator[Alert]:
        for row in found[:MOST_ENTITIES]:
            yield self._alert(row)
        if len(found) > MOST_ENTITIES:
            yield self._for_the_rest(found[MOST_ENTITIES:])

    def _alert(self, row: dict[str, Any]) -> Alert:
        entity, score = row["entity"], row["score"] or 0.0
        causes = row.get("causes")
        if isinstance(causes, str):
            causes = json.loads(causes)
        if causes:
            row["causes"] = causes[:_MOST_CAUSES]
        about = f"{row['metric']} of {entity}" if row.get("as_a_whole") is False else str(entity)
        return Alert(
            kind="anomaly",
            fingerprint=self._name(entity),
            subject=entity,
            severity=anomaly_severity(score, row["threshold"]),
            title=f"{self.title}: {about} is unusual",
            stream=self.stream,
            details={
                name: value for name, value in row.items() if value is not None and name != "raises"
            },
            occurrence=row["event_id"],
        )

    def _for_the_rest(self, rows: list[dict[str, Any]]) -> Alert:
        worst = rows[0]
        return Alert(
            kind="anomaly",
            fingerprint=self._many,
            subject=f"{len(rows)} more",
            severity=anomaly_severity(worst["score"] or 0.0, worst["threshold"]),
            title=f"{self.title}: {len(rows)} more are unusual",
            stream=self.stream,
            details={"entities": len(rows), "for_example": [row["entity"] for row in rows[:20]]},
        )

    def _over(self, connection: Connection) -> list[str]:
        """Return the alerts of entities with young rows, all of them ordinary for an hour.

        One that speaks for many is over when there were no floods for so long.
        """
        found = connection.execute(
            sql.SQL(
                "SELECT a.fingerprint FROM alerts a WHERE a.kind = 'anomaly' "
                "AND a.stream = %(stream)s AND a.state = 'open' AND a.last_seen_at < %(since)s "
                "AND (a.fingerprint = %(many)s "
                "OR (SELECT bool_and({flagged} IS NOT TRUE) AND bool_or({flagged} IS FALSE) "
                "FROM {table} s WHERE s.{entity} = a.subject AND s.day = %(day)s "
                "AND s.event_time >= %(since)s)) ORDER BY a.fingerprint"
            ).format(
                table=self._table,
                entity=sql.Identifier(self.rows.entity),
                flagged=sql.SQL(f"({self.rows.flagged})"),
            ),
            {**self._span, "stream": self.stream, "many": self._many},
        ).fetchall()
        return [str(row[0]) for row in found]
