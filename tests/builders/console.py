"""Rows for the console, written straight into the tables, and a log-in."""

from __future__ import annotations

import datetime as dt
import json
import re
import uuid
from collections.abc import Sequence
from typing import Any

from starlette.testclient import TestClient

from anomaly_platform.platform import Platform

DAY = dt.datetime(2026, 11, 27, tzinfo=dt.UTC)
MARKUP = """<img src=x onerror="window.hacked=1">'"><script>window.hacked=2</script>"""
"""What somebody may call a thing, in the hope that a page takes it for its own."""


def add_readings(
    platform: Platform,
    entity: str,
    metric: str,
    values: Sequence[float | None],
    *,
    stream: str = "iiot",
    start: dt.datetime = DAY,
    step: dt.timedelta = dt.timedelta(minutes=5),
    flagged: Sequence[int] = (),
    causes: Sequence[str] | None = None,
    reason: str | None = None,
) -> list[dt.datetime]:
    """Store scored readings of one series, some of them flagged; return their times."""
    times = [start + n * step for n in range(len(values))]
    with platform.warehouse.transactions.begin() as connection:
        with (
            connection.cursor() as cursor,
            cursor.copy(
                "COPY scored_metrics (stream, day, entity, metric, event_time, event_id, value, "
                "score, is_anomaly, threshold, status, causes, reason, detector, bundle_version) "
                "FROM STDIN"
            ) as copy,
        ):
            for n, (time, value) in enumerate(zip(times, values, strict=True)):
                is_flagged = n in flagged
                copy.write_row(
                    (
                        *(stream, time.date(), entity, metric, time, str(uuid.uuid4()), value),
                        *(0.9 if is_flagged else 0.2, is_flagged, 0.7, "trained"),
                        json.dumps(list(causes)) if is_flagged and causes else None,
                        *(reason if is_flagged else None, "isolation_forest", 1),
                    )
                )
        ((series,),) = connection.execute(
            "INSERT INTO series (stream, entity, metric, first_event, last_event, rows) "
            "VALUES (%s, %s, %s, %s, %s, %s) RETURNING series_id",
            (stream, entity, metric, times[0], times[-1], len(times)),
        ).fetchall()
        connection.execute(
            "INSERT INTO series_days (series_id, day, stream, rows, first_event, last_event) "
            "SELECT %s, t::date, %s, count(*), min(t), max(t) "
            "FROM unnest(%s::timestamptz[]) t GROUP BY t::date",
            (series, stream, times),
        )
    return times


def add_scan(platform: Platform, code: str, time: dt.datetime = DAY, **columns: Any) -> None:
    """Store a flagged scan."""
    row: dict[str, Any] = {
        "stream": "barcode",
        "day": time.date(),
        "epc_code": code,
        "event_time": time,
        "event_id": str(uuid.uuid4()),
        "final_confidence": 95.0,
        "is_anomaly": True,
        "severity": "HIGH",
        "detector": "fusion",
        "location_interpolated": False,
        **dict.fromkeys(("business_step_inferred", "event_type_missing", "epc_malformed"), False),
        **{f"{rule}_score": 0.0 for rule in ("epc_fake", "epc_dup", "loc_err", "evt_order_err")},
        "jump_score": 95.0,
        **columns,
    }
    names = ", ".join(row)
    marks = ", ".join(["%s"] * len(row))
    with platform.warehouse.transactions.begin() as connection:
        connection.execute(
            f"INSERT INTO scored_scans ({names}) VALUES ({marks})".encode(), tuple(row.values())
        )
        connection.execute(
            "INSERT INTO scored_days (stream, day, watermark, detector, rows, anomalies) "
            "VALUES ('barcode', %s, 1, 'fusion', 1, 1) ON CONFLICT DO NOTHING",
            (time.date(),),
        )


def add_version(
    platform: Platform,
    version: int,
    *,
    detector: str = "isolation_forest",
    stream: str = "iiot",
    reason: str = "passed its gates",
    serves: bool = True,
) -> None:
    """Store a trained version, in service or not."""
    with platform.warehouse.transactions.begin() as connection:
        connection.execute(
            "INSERT INTO bundles (stream, detector, version, status, path, digest, trained_at, "
            "window_start, window_end, metrics, gates, reason) VALUES (%s, %s, %s, %s, 'p', 'd', "
            "%s, %s, %s, %s, %s, %s)",
            (
                *(stream, detector, version, "champion" if serves else "challenger"),
                *(DAY, DAY - dt.timedelta(days=28), DAY, json.dumps({"auc_roc": 0.9})),
                json.dumps([{"gate": reason, "value": 0.9, "bound": 0.8, "passed": True}]),
                reason,
            ),
        )
        if serves:
            connection.execute(
                "WITH served AS (INSERT INTO champion_history (stream, detector, version, reason) "
                "VALUES (%(s)s, %(d)s, %(v)s, %(r)s)) "
                "INSERT INTO champions (stream, detector, version, reason) "
                "VALUES (%(s)s, %(d)s, %(v)s, %(r)s)",
                {"s": stream, "d": detector, "v": version, "r": reason},
            )


def refuse_row(platform: Platform, *, source: str, reason: str, stream: str = "iiot") -> None:
    """Store a row of a file that was refused just now."""
    platform.warehouse.transactions.execute(
        "INSERT INTO quarantine (stream, digest, row_number, stage, source, field, reason, raw) "
        "VALUES (%s, %s, 1, 'raw_events', %s, 'value', %s, %s)",
        (stream, uuid.uuid4().hex, source, reason, json.dumps({"value": reason})),
    )


def log_in(client: TestClient, key: str) -> None:
    """Log in as a browser does."""
    client.headers.pop("Authorization", None)
    answer = client.post("/console/log-in", data={"key": key}, follow_redirects=False)
    assert answer.status_code == 303, answer.text


def token_of(client: TestClient, path: str = "/console") -> str:
    """Return what forms of the session carry."""
    found = re.search(r'name="token" value="([^"]+)"', client.get(path).text)
    assert found
    return found[1]
