"""Queue of deliveries: a row per message and channel, with the outcome of each attempt.

Belongs here: the statements of the dispatchers over ``notifications`` and ``deliveries``. Any
number of dispatchers may run: a delivery is locked for as long as somebody works on it, and the
lock goes with a process that is killed. Does not belong here: sending (``channels``), nor when to
(``dispatcher``).
"""

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any, Final, LiteralString

import psycopg
from psycopg.rows import dict_row

from anomaly_platform.notifications.channels.base import Notification

AsyncConnection = psycopg.AsyncConnection[Any]

MOST_REFUSALS: Final = 5
"""Refusals after which a delivery is given up."""

GIVE_UP_AFTER: Final = dt.timedelta(days=7)
"""Age at which a delivery is given up, whatever its receiver says."""

KEEP_FOR: Final = dt.timedelta(days=90)
"""How long messages and alerts that are over are kept; longer than any cool-down."""

_ROUTE_AT_ONCE: Final = 500
#: Messages from before anybody was there to hear them: nobody wants yesterday's alarms.
_STALE_AFTER: Final = dt.timedelta(days=1)

_COLUMNS: Final = (
    "n.id, n.fingerprint, n.kind, n.stream, n.subject, n.severity, n.state, n.title, n.body, "
    "n.created_at"
)


async def release_held_back(connection: AsyncConnection, now: dt.datetime) -> None:
    """Write the messages of alerts whose cool-down has ended while they were open again."""
    await connection.execute("SELECT tell_held_back_alerts(%s)", (now,))


async def route(
    connection: AsyncConnection,
    channels_for: Callable[[Notification], Sequence[str]],
    now: dt.datetime,
) -> int:
    """Write a delivery for each new message and channel that gets it; return how many messages.

    Parameters
    ----------
    connection : AsyncConnection
        In a transaction.
    channels_for : callable
        Names the channels that get a message.
    now : datetime
    """
    # One at a time, so that no message is routed before an earlier one of its alert.
    statement = "SELECT pg_try_advisory_xact_lock(hashtextextended('notifications', 0))"
    if not await _value(connection, statement):
        return 0
    rows = await _fetch(
        connection,
        f"SELECT {_COLUMNS}, n.seq FROM notifications n WHERE n.routed_at IS NULL "  # noqa: S608
        "ORDER BY n.seq LIMIT %(most)s",
        {"most": _ROUTE_AT_ONCE},
    )
    made: list[tuple[Any, ...]] = []
    for one in rows:
        notification = _notification(one)
        made.extend(
            (notification.id, channel, one["seq"], notification.fingerprint, now, now)
            for channel in channels_for(notification)
        )
    if made:
        await connection.cursor().executemany(
            "INSERT INTO deliveries "
            "(notification_id, channel, seq, fingerprint, created_at, next_try_at) "
            "VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            made,
        )
    await connection.execute(
        "UPDATE notifications SET routed_at = %s WHERE id = ANY(%s)",
        (now, [one["id"] for one in rows]),
    )
    return len(rows)


async def drop_stale(connection: AsyncConnection, now: dt.datetime) -> None:
    """Let go of messages for which there was no channel for a day."""
    await connection.execute(
        "UPDATE notifications SET routed_at = %s WHERE routed_at IS NULL AND created_at < %s",
        (now, now - _STALE_AFTER),
    )


async def claim(
    connection: AsyncConnection, channel: str, most: int, now: dt.datetime
) -> list[Notification]:
    """Lock due deliveries of a channel until the transaction ends; return their messages.

    A message waits for earlier ones of the same alert, so that nobody hears of an end before its
    beginning.
    """
    rows = await _fetch(
        connection,
        f"SELECT {_COLUMNS} FROM deliveries d JOIN notifications n ON n.id = d.notification_id "  # noqa: S608
        "WHERE d.channel = %(channel)s AND d.status = 'waiting' AND d.next_try_at <= %(now)s "
        "AND NOT EXISTS (SELECT 1 FROM deliveries e WHERE e.channel = d.channel "
        "AND e.fingerprint = d.fingerprint AND e.status = 'waiting' AND e.seq < d.seq) "
        "ORDER BY d.next_try_at, d.seq LIMIT %(most)s FOR UPDATE OF d SKIP LOCKED",
        {"channel": channel, "now": now, "most": most},
    )
    return [_notification(row) for row in rows]


async def next_due(connection: AsyncConnection, channel: str) -> dt.datetime | None:
    """Return when the channel's next delivery is due, None where none waits."""
    due: dt.datetime | None = await _value(
        connection,
        "SELECT min(next_try_at) FROM deliveries WHERE channel = %s AND status = 'waiting'",
        (channel,),
    )
    return due


async def settle_delivered(
    connection: AsyncConnection, channel: str, ids: Sequence[Any], now: dt.datetime
) -> None:
    """Record that messages have arrived."""
    await connection.execute(
        "UPDATE deliveries SET status = 'delivered', attempts = attempts + 1, "
        "last_error = NULL, finished_at = %s WHERE channel = %s AND notification_id = ANY(%s)",
        (now, channel, list(ids)),
    )


async def settle_failed(
    connection: AsyncConnection,
    channel: str,
    notification: Notification,
    *,
    error: str,
    refused: bool,
    delay: Callable[[int], dt.timedelta],
    now: dt.datetime,
) -> bool:
    """Record a try that failed; return whether the delivery is given up.

    Parameters
    ----------
    error : str
        Without any secret.
    refused : bool
        Whether the receiver does not want it; after :data:`MOST_REFUSALS` it is given up.
    delay : callable
        From the number of tries to the time until the next one.
    """
    key = (channel, notification.id)
    cursor = await connection.execute(
        "UPDATE deliveries SET attempts = attempts + 1, refusals = refusals + %s, "
        "last_error = %s WHERE channel = %s AND notification_id = %s "
        "RETURNING attempts, refusals, created_at",
        (int(refused), error, *key),
    )
    row = await cursor.fetchone()
    if row is None:
        # Pruned while it was being sent.
        return True
    attempts, refusals, created_at = row
    given_up = refusals >= MOST_REFUSALS or now - created_at >= GIVE_UP_AFTER
    await connection.execute(
        "UPDATE deliveries SET status = %s, next_try_at = %s, finished_at = %s "
        "WHERE channel = %s AND notification_id = %s",
        (
            "abandoned" if given_up else "waiting",
            now + delay(attempts),
            now if given_up else None,
            *key,
        ),
    )
    return bool(given_up)


async def prune(connection: AsyncConnection, now: dt.datetime) -> None:
    """Remove messages and alerts that are over for :data:`KEEP_FOR`."""
    before = now - KEEP_FOR
    await connection.execute(
        "DELETE FROM notifications n WHERE n.created_at < %s AND n.routed_at IS NOT NULL "
        "AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.notification_id = n.id "
        "AND d.status = 'waiting')",
        (before,),
    )
    await connection.execute(
        "DELETE FROM alerts WHERE state = 'resolved' AND last_seen_at < %s", (before,)
    )


async def give_up_orphans(
    connection: AsyncConnection, channels: Sequence[str], now: dt.datetime
) -> None:
    """Give up what has waited a day for channels that are not in the settings any more."""
    await connection.execute(
        "UPDATE deliveries SET status = 'abandoned', finished_at = %(now)s, "
        "last_error = 'no channel of this name is configured any more' "
        "WHERE status = 'waiting' AND NOT channel = ANY(%(channels)s) "
        "AND created_at < %(before)s",
        {"now": now, "channels": list(channels), "before": now - _STALE_AFTER},
    )


async def _value(
    connection: AsyncConnection, query: LiteralString, values: tuple[Any, ...] = ()
) -> Any:
    """Return the one value of a query that always has one row."""
    cursor = await connection.execute(query, values)
    ((value,),) = await cursor.fetchall()
    return value


async def _fetch(
    connection: AsyncConnection, query: str, values: dict[str, Any]
) -> list[dict[str, Any]]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query.encode(), values)
        return await cursor.fetchall()


def _notification(row: dict[str, Any]) -> Notification:
    body = row["body"]
    return Notification(
        **{name: value for name, value in row.items() if name not in ("body", "seq")},
        occurrences=int(body.get("occurrences", 1)),
        since=body.get("since"),
        details=dict(body.get("details") or {}),
    )
