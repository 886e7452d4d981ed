"""Promotes, closes and deletes versions within a transaction of the caller's.

Belongs here: the rows that change together (``bundles``, ``ml_models``, ``champions``, its history
and the registry's mirror) and the announcement. Does not belong here: whether a version deserves
it.
"""

import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from anomaly_platform.registry.pending_updates import enqueue
from anomaly_platform.storage.postgres.transactions import Connection, columns_of, fetch_one, lock

CHAMPIONS_CHANNEL: Final = "champions"
"""PostgreSQL channel on which every promotion is announced, as JSON."""

AlsoWithin = Callable[[Connection], object]
"""Something to be done in the same transaction."""

Key = tuple[str, str, int]

_SERVABLE = ("challenger", "retired", "champion")


class PromotionError(ValueError):
    """A version cannot be put into service or taken out of it; the message says why."""


class ChampionMovedError(PromotionError):
    """Another version serves than the one that a challenger was compared with."""


@dataclass(frozen=True, slots=True)
class Champion:
    """The version in service of one detector of one stream."""

    stream: str
    detector: str
    version: int
    promoted_at: dt.datetime
    reason: str


def close(connection: Connection, key: Key, status: str, reason: str) -> bool:
    """End a training or a challenger; return whether there was one to end."""
    changed = connection.execute(
        "UPDATE bundles SET status = %s, reason = %s WHERE stream = %s AND detector = %s "
        "AND version = %s AND status IN ('training', 'challenger')",
        (status, reason, *key),
    ).rowcount
    if changed:
        enqueue(connection, key, "status")
    return bool(changed)


def delete(connection: Connection, key: Key, reason: str) -> None:
    """Take a version out of the running for good; what it has said keeps its author.

    Raises
    ------
    PromotionError
        When there is no such version, or it serves or is in training.
    """
    stream, detector, version = key
    lock(connection, "champion", stream, detector)
    status = _status_of(connection, key)
    if status == "champion":
        raise PromotionError(
            f"version {version} of {stream} {detector} serves and cannot be deleted; "
            "promote another one or roll back first"
        )
    if status == "training":
        raise PromotionError(
            f"version {version} of {stream} {detector} is being trained; cancel its run first"
        )
    if status == "deleted":
        return
    connection.execute(
        "UPDATE bundles SET status = 'deleted', reason = %s, path = coalesce(path, ''), "
        "digest = coalesce(digest, '') WHERE stream = %s AND detector = %s AND version = %s",
        (reason, *key),
    )
    connection.execute(
        "UPDATE ml_models SET status = 'deleted' "
        "WHERE stream = %s AND model_type = %s AND bundle_version = %s",
        key,
    )
    enqueue(connection, key, "status")


def previous(connection: Connection, stream: str, detector: str) -> int | None:
    """Return the version that served before the present one, if it can serve again.

    Going back takes a step back, so that rolling back twice goes back two versions and not forward
    again; and what somebody has gone back from is not what served before the next promotion.
    """
    rows = connection.execute(
        "SELECT h.version, coalesce(b.status, 'deleted') FROM champion_history h "
        "LEFT JOIN bundles b USING (stream, detector, version) "
        "WHERE h.stream = %s AND h.detector = %s ORDER BY h.id",
        (stream, detector),
    ).fetchall()
    status = {int(version): str(status) for version, status in rows}
    served = steps_taken([int(version) for version, _ in rows], status)
    return next((one for one in reversed(served[:-1]) if status[one] == "retired"), None)


def steps_taken(history: Sequence[int], status: Mapping[int, str]) -> list[int]:
    """Return the way to the present version, steps that were taken back left out.

    Parameters
    ----------
    history
        Every version that entered service, in order.
    status
        Of each of them now. A step back passes over versions that cannot serve any more.

    Examples
    --------
    >>> steps_taken([1, 2, 1, 3], {1: "retired", 2: "retired", 3: "champion"})
    [1, 3]
    """
    taken: list[int] = []
    for version in history:
        before = len(taken) - 2
        while before >= 0 and taken[before] != version and status[taken[before]] == "deleted":
            before -= 1
        if before >= 0 and taken[before] == version:
            del taken[before + 1 :]
        else:
            taken.append(version)
    return taken


def promote(connection: Connection, key: Key, reason: str, *, overrule: bool = False) -> None:
    """Put a version into service; see ``Bundles.promote_set``."""
    stream, detector, version = key
    lock(connection, "champion", stream, detector)
    status = _status_of(connection, key)
    if status not in (*_SERVABLE, *(("rejected",) if overrule else ())):
        raise PromotionError(
            f"version {version} of {stream} {detector} cannot serve: it is {status}"
        )
    current = champion_of(connection, stream, detector)
    if current is not None and current.version == version:
        return
    _change_statuses(connection, key)
    connection.execute(
        "INSERT INTO champions (stream, detector, version, reason) "
        "VALUES (%s, %s, %s, %s) ON CONFLICT (stream, detector) DO UPDATE SET "
        "version = excluded.version, promoted_at = now(), reason = excluded.reason",
        (*key, reason),
    )
    connection.execute(
        "INSERT INTO champion_history (stream, detector, version, previous, reason) "
        "VALUES (%s, %s, %s, %s, %s)",
        (*key, None if current is None else current.version, reason),
    )
    for changed in (version, *(() if current is None else (current.version,))):
        enqueue(connection, (stream, detector, changed), "alias")
    connection.execute(
        "SELECT pg_notify(%s, %s)",
        (
            CHAMPIONS_CHANNEL,
            json.dumps({"stream": stream, "detector": detector, "version": version}),
        ),
    )


def _change_statuses(connection: Connection, key: Key) -> None:
    connection.execute(
        "UPDATE bundles SET status = 'retired' "
        "WHERE stream = %s AND detector = %s AND status = 'champion'",
        key[:2],
    )
    connection.execute(
        "UPDATE bundles SET status = 'champion', reason = NULL "
        "WHERE stream = %s AND detector = %s AND version = %s",
        key,
    )
    connection.execute(
        "UPDATE ml_models SET status = 'inactive' "
        "WHERE stream = %s AND model_type = %s AND status = 'active'",
        key[:2],
    )
    connection.execute(
        "UPDATE ml_models SET status = 'active' WHERE stream = %s AND model_type = %s "
        "AND bundle_version = %s AND status IN ('candidate', 'inactive')",
        key,
    )


def champion_of(connection: Connection, stream: str, detector: str) -> Champion | None:
    """Return the version in service, if there is one."""
    one = f"SELECT {columns_of(Champion)} FROM champions WHERE stream = %s AND detector = %s"  # noqa: S608
    return fetch_one(connection, Champion, one, (stream, detector))


def _status_of(connection: Connection, key: Key) -> str:
    found = connection.execute(
        "SELECT status FROM bundles "
        "WHERE stream = %s AND detector = %s AND version = %s FOR UPDATE",
        key,
    ).fetchone()
    if found is None:
        raise PromotionError(f"there is no version {key[2]} of {key[0]} {key[1]}")
    return str(found[0])
