"""Reads alerts and their deliveries for operators, and retries deliveries.

Belongs here: reading ``alerts``, ``notifications`` and ``deliveries``, and asking for a delivery
anew. Does not belong here: raising and resolving (``notifications.outbox``), and
delivering (``notifications.dispatcher``).
"""

import datetime as dt
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from anomaly_platform.storage.postgres.transactions import Connection, TableAccess


@dataclass(frozen=True, slots=True)
class AlertRow:
    """An alert as it stands.

    Attributes
    ----------
    occurrences : int
        Since it opened.
    undelivered : int
        Deliveries of its messages that still wait or were given up.
    """

    fingerprint: str
    kind: str
    stream: str | None
    subject: str
    severity: str
    title: str
    state: str
    occurrences: int
    opened_at: dt.datetime
    last_seen_at: dt.datetime
    resolved_at: dt.datetime | None
    details: dict[str, Any]
    undelivered: int


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One message on one channel.

    Attributes
    ----------
    status : str
        ``waiting``, ``delivered`` or ``abandoned``; ``not routed`` where no channel took it.
    """

    notification_id: UUID
    state: str
    created_at: dt.datetime
    channel: str | None
    status: str
    attempts: int
    next_try_at: dt.datetime | None
    last_error: str | None


_ALERTS = (
    "SELECT a.fingerprint, a.kind, a.stream, a.subject, a.severity, a.title, a.state, "
    "a.occurrences, a.opened_at, a.last_seen_at, a.resolved_at, a.details, "
    "(SELECT count(*) FROM deliveries d WHERE d.fingerprint = a.fingerprint "
    "AND d.status <> 'delivered') AS undelivered FROM alerts a "
)


class AlertLog(TableAccess):
    """Reads what was raised and told."""

    def alerts(
        self, *, only_open: bool = True, stream: str | None = None, most: int = 100
    ) -> list[AlertRow]:
        """Return alerts, the one seen last first.

        Parameters
        ----------
        only_open : bool
            Leave out what is over.
        stream : str or None
            Only this stream's.
        most : int
            At most so many.
        """
        return self._transactions.rows(
            AlertRow,
            _ALERTS + "WHERE (a.state = 'open' OR NOT %s) AND (%s::text IS NULL "
            "OR a.stream = %s) ORDER BY a.last_seen_at DESC, a.fingerprint LIMIT %s",
            (only_open, stream, stream, most),
        )

    def alert(self, fingerprint: str) -> AlertRow | None:
        """Return one alert, if there is one of this fingerprint."""
        return self._transactions.row(
            AlertRow, _ALERTS + "WHERE a.fingerprint = %s", (fingerprint,)
        )

    def deliveries(self, fingerprint: str) -> list[DeliveryRow]:
        """Return where an alert's messages went, the newest first, fifty at most."""
        return self._transactions.rows(
            DeliveryRow,
            "SELECT n.id AS notification_id, n.state, n.created_at, d.channel, "
            "coalesce(d.status, 'not routed') AS status, coalesce(d.attempts, 0) AS attempts, "
            "d.next_try_at, d.last_error FROM notifications n "
            "LEFT JOIN deliveries d ON d.notification_id = n.id WHERE n.fingerprint = %s "
            "ORDER BY n.seq DESC, d.channel LIMIT 50",
            (fingerprint,),
        )

    def retry(self, *, fingerprint: str | None = None, channel: str | None = None) -> int:
        """Have deliveries that wait or were given up tried at once; return how many.

        Parameters
        ----------
        fingerprint, channel : str or None
            Only those of this alert, or of this channel.
        """
        with self._transactions.begin() as connection:
            retried = connection.execute(
                "UPDATE deliveries SET status = 'waiting', refusals = 0, next_try_at = now(), "
                "created_at = now(), finished_at = NULL WHERE status <> 'delivered' "
                "AND (%(fingerprint)s::text IS NULL OR fingerprint = %(fingerprint)s) "
                "AND (%(channel)s::text IS NULL OR channel = %(channel)s)",
                {"fingerprint": fingerprint, "channel": channel},
            ).rowcount
            connection.execute("SELECT pg_notify('notifications', '')")
        return retried

    def give_up(self, reason: str) -> int:
        """Let every message go that has not left; return how many :meth:`retry` would send.

        An alert whose cool-down holds its message back counts as told: it is seen in the list, and
        heard of when it occurs again.
        """
        with self._transactions.begin() as connection:
            connection.execute("UPDATE notifications SET routed_at = now() WHERE routed_at IS NULL")
            connection.execute("UPDATE alerts SET told = true WHERE state = 'open' AND NOT told")
            return connection.execute(
                "UPDATE deliveries SET status = 'abandoned', last_error = %s, finished_at = now() "
                "WHERE status = 'waiting'",
                (reason,),
            ).rowcount


def is_open(
    connection: Connection, fingerprint: str, *, at_least: dt.timedelta = dt.timedelta(0)
) -> bool:
    """Return whether an alert is open, and has been for some time."""
    row = connection.execute(
        "SELECT FROM alerts WHERE fingerprint = %s AND state = 'open' AND opened_at <= now() - %s",
        (fingerprint, at_least),
    ).fetchone()
    return row is not None
