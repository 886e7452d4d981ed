"""One message per fingerprint and cool-down, in the transaction of its cause; one at its end."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import psycopg
import pytest

from anomaly_platform.notifications.outbox import Alert, Outbox, Severity
from anomaly_platform.notifications.redaction import Redactor
from anomaly_platform.warehouse import Warehouse

pytestmark = pytest.mark.integration

NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)


def failed(severity: Severity = "warning", occurrence: str | None = None, **details: Any) -> Alert:
    return Alert(
        kind="run_failed",
        fingerprint="run_failed/ems/refresh",
        subject="refresh of ems",
        severity=severity,
        title="A run failed",
        stream="ems",
        details=details,
        occurrence=occurrence,
    )


def raise_at(warehouse: Warehouse, moment: dt.datetime, alert: Alert | None = None) -> UUID | None:
    with warehouse.transactions.begin() as connection:
        return Outbox(HOUR).raise_alert(connection, alert or failed(), now=moment)


def resolve_at(warehouse: Warehouse, moment: dt.datetime) -> UUID | None:
    with warehouse.transactions.begin() as connection:
        return Outbox(HOUR).resolve_alert(
            connection, "run_failed/ems/refresh", {"by": "the next run"}, now=moment
        )


def told(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    with warehouse.transactions.begin() as connection:
        return connection.execute(
            "SELECT state, severity, body -> 'occurrences' FROM notifications ORDER BY seq"
        ).fetchall()


def kept(warehouse: Warehouse) -> tuple[Any, ...]:
    with warehouse.transactions.begin() as connection:
        row = connection.execute("SELECT state, occurrences, told FROM alerts").fetchone()
    assert row is not None
    return row


def test_repeats_within_the_cool_down_are_counted_and_not_sent(warehouse: Warehouse) -> None:
    assert raise_at(warehouse, NOON) is not None
    for minutes in (1, 30, 59):
        assert raise_at(warehouse, NOON + minutes * dt.timedelta(minutes=1)) is None
    assert kept(warehouse) == ("open", 4, True)
    assert raise_at(warehouse, NOON + HOUR) is not None
    assert raise_at(warehouse, NOON + 1.5 * HOUR) is None
    assert told(warehouse) == [("firing", "warning", 1), ("firing", "warning", 5)]


def test_the_end_is_told_once_and_only_of_what_was_open(warehouse: Warehouse) -> None:
    assert resolve_at(warehouse, NOON) is None
    raise_at(warehouse, NOON)
    assert resolve_at(warehouse, NOON + 0.5 * HOUR) is not None
    assert resolve_at(warehouse, NOON + 0.6 * HOUR) is None
    assert [state for state, *_ in told(warehouse)] == ["firing", "resolved"]


def test_one_that_comes_back_after_the_cool_down_opens_anew(warehouse: Warehouse) -> None:
    raise_at(warehouse, NOON)
    resolve_at(warehouse, NOON + 0.5 * HOUR)
    assert raise_at(warehouse, NOON + 2 * HOUR) is not None
    assert kept(warehouse) == ("open", 1, True)
    assert [state for state, *_ in told(warehouse)] == ["firing", "resolved", "firing"]


def test_one_that_comes_back_within_it_is_told_at_its_end_if_still_open(
    warehouse: Warehouse,
) -> None:
    raise_at(warehouse, NOON)
    resolve_at(warehouse, NOON + 0.1 * HOUR)
    assert raise_at(warehouse, NOON + 0.2 * HOUR) is None
    assert kept(warehouse) == ("open", 1, False)

    def sweep(moment: dt.datetime) -> int:
        with warehouse.transactions.begin() as connection:
            row = connection.execute("SELECT tell_held_back_alerts(%s)", (moment,)).fetchone()
        assert row is not None
        return int(row[0])

    assert sweep(NOON + 0.9 * HOUR) == 0
    assert sweep(NOON + HOUR) == 1
    assert sweep(NOON + 3 * HOUR) == 0
    assert [state for state, *_ in told(warehouse)] == ["firing", "resolved", "firing"]


def test_nobody_hears_of_the_end_of_what_they_were_not_told(warehouse: Warehouse) -> None:
    raise_at(warehouse, NOON)
    resolve_at(warehouse, NOON + 0.1 * HOUR)
    raise_at(warehouse, NOON + 0.2 * HOUR)
    assert resolve_at(warehouse, NOON + 0.3 * HOUR) is None
    assert [state for state, *_ in told(warehouse)] == ["firing", "resolved"]


def test_a_graver_occurrence_does_not_wait(warehouse: Warehouse) -> None:
    raise_at(warehouse, NOON)
    assert raise_at(warehouse, NOON + 0.1 * HOUR, failed("critical")) is not None
    assert raise_at(warehouse, NOON + 0.2 * HOUR, failed("critical")) is None
    assert raise_at(warehouse, NOON + 0.3 * HOUR, failed("warning")) is None
    assert raise_at(warehouse, NOON + 0.4 * HOUR, failed("critical")) is None
    assert [severity for _, severity, _ in told(warehouse)] == ["warning", "critical"]


def test_the_same_occurrence_counts_once(warehouse: Warehouse) -> None:
    assert raise_at(warehouse, NOON, failed(occurrence="run 1")) is not None
    assert raise_at(warehouse, NOON + 2 * HOUR, failed(occurrence="run 1")) is None
    assert kept(warehouse) == ("open", 1, True)
    assert raise_at(warehouse, NOON + 2 * HOUR, failed(occurrence="run 2")) is not None


def test_an_event_has_no_end(warehouse: Warehouse) -> None:
    trained = Alert("model_trained", "model/ems/1", "ems", "info", "A model was trained", "ems")
    assert raise_at(warehouse, NOON, trained) is not None
    assert raise_at(warehouse, NOON, trained) is None
    assert kept(warehouse)[0] == "resolved"
    assert told(warehouse) == [("event", "info", 1)]


def test_an_alert_shares_the_fate_of_the_transaction(warehouse: Warehouse) -> None:
    def write_and_fail() -> None:
        with warehouse.transactions.begin() as connection:
            Outbox(HOUR).raise_alert(connection, failed())
            raise RuntimeError("after the alert")

    with pytest.raises(RuntimeError, match="after the alert"):
        write_and_fail()
    assert told(warehouse) == []
    assert raise_at(warehouse, NOON) is not None


def test_at_once_from_many_sides_is_one_message(warehouse: Warehouse) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: raise_at(warehouse, NOON), range(64)))
    assert sum(one is not None for one in made) == 1
    assert kept(warehouse) == ("open", 64, True)
    with ThreadPoolExecutor(8) as pool:
        ended = list(pool.map(lambda _: resolve_at(warehouse, NOON + HOUR), range(32)))
    assert sum(one is not None for one in ended) == 1
    assert len(told(warehouse)) == 2


def test_twice_in_one_transaction_is_one_message(warehouse: Warehouse) -> None:
    with warehouse.transactions.begin() as connection:
        made = [Outbox(HOUR).raise_alert(connection, failed()) for _ in range(3)]
    assert [one is not None for one in made] == [True, False, False]


def test_dispatchers_are_woken_by_the_commit(warehouse: Warehouse, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as listener:
        listener.execute("LISTEN notifications")
        raise_at(warehouse, NOON)
        assert len(list(listener.notifies(timeout=5, stop_after=1))) == 1


def test_whatever_it_is_told_can_be_stored_without_its_secrets(warehouse: Warehouse) -> None:
    hostile = {
        "nothing": float("nan"),
        "nul": "a\x00b",
        "half": "\ud800",
        "long": "x" * 100_000,
        "many": list(range(10_000)),
        "when": NOON,
        "error": "POST https://user:hunter2@example.com/hook refused; password=hunter3",
        "nested": [{"token": "known-secret"}],
    }
    with warehouse.transactions.begin() as connection:
        outbox = Outbox(HOUR, Redactor(["known-secret"]))
        assert outbox.raise_alert(connection, failed(**hostile)) is not None
        row = connection.execute("SELECT body::text FROM notifications").fetchone()
    assert row is not None
    assert len(row[0]) < 5_000
    assert not any(secret in row[0] for secret in ("hunter2", "hunter3", "known-secret"))
