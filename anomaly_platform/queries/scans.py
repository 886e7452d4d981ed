"""Scans that have been scored, by their codes."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from anomaly_platform.storage.postgres.transactions import Connection, fetch_all


@dataclass(frozen=True, slots=True)
class EarlierScan:
    """A scored scan, as far as features look back on it."""

    epc_code: str
    event_time: dt.datetime
    event_id: str
    location_id: str | None
    business_step: str | None
    event_type: str | None


def earlier_scans(
    connection: Connection,
    stream: str,
    spans: Sequence[tuple[str, dt.datetime, dt.datetime]],
    *,
    limit: int,
) -> list[EarlierScan]:
    """Return the newest scored scans of each code, at most `limit` of each.

    Parameters
    ----------
    spans : sequence of (str, datetime, datetime)
        Each code, with the time after which and the time up to which its scans are wanted.
    """
    codes, lower, upper = ([span[i] for span in spans] for i in range(3))
    return fetch_all(
        connection,
        EarlierScan,
        "SELECT s.* FROM unnest(%s::text[], %s::timestamptz[], %s::timestamptz[]) "
        "k(code, lower, upper) CROSS JOIN LATERAL (SELECT epc_code, event_time, event_id, "
        "location_id, business_step, event_type FROM scored_scans b WHERE b.stream = %s "
        "AND b.epc_code = k.code "
        "AND b.event_time > k.lower AND b.event_time <= k.upper "
        "ORDER BY b.event_time DESC LIMIT %s) s",
        (codes, lower, upper, stream, limit),
    )


def scored_state(connection: Connection, stream: str) -> str:
    """Return a text that changes whenever a day of the stream is scored."""
    found = connection.execute(
        "SELECT concat_ws(' ', count(*), sum(rows), max(written_at)) "
        "FROM scored_days WHERE stream = %s",
        (stream,),
    ).fetchone()
    return "" if found is None else str(found[0])


def scan_exists(connection: Connection, stream: str, code: str, time: dt.datetime) -> bool:
    """Return whether a scan of that code and time has been scored."""
    found = connection.execute(
        "SELECT FROM scored_scans WHERE stream = %s AND epc_code = %s AND event_time = %s LIMIT 1",
        (stream, code, time),
    ).fetchone()
    return found is not None
