"""`anomaly alerts` and `anomaly dispatch` as a person uses them."""

from __future__ import annotations

from typing import Any

import pytest

from anomaly_platform.notifications.outbox import Alert, Outbox
from anomaly_platform.warehouse import Warehouse
from tests.builders.commands import invoke

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("own_platform")]

DISK = Alert("storage", "storage/lake", "lake", "critical", "The disk is full", "ems", {"gb": 0.1})


@pytest.fixture
def raised(warehouse: Warehouse) -> Warehouse:
    with warehouse.transactions.begin() as connection:
        Outbox().raise_alert(connection, DISK)
    return warehouse


def test_what_cannot_be_delivered_is_seen_and_tried_again(
    raised: Warehouse, receiver: Any, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANOMALY_WEBHOOK_URLS", receiver.url)
    monkeypatch.setenv("ANOMALY_WEBHOOK_ALLOW_PRIVATE", "true")
    receiver.behave = lambda _: answer(404, b"no such hook")
    assert "0 delivered, 1 failed" in invoke("dispatch", "--once")
    with raised.transactions.begin() as connection:
        connection.execute("UPDATE deliveries SET status = 'abandoned'")
    listed = invoke("alerts", "list")
    assert "storage/lake" in listed
    assert "critical" in listed
    shown = invoke("alerts", "show", "storage/lake")
    assert "HTTP 404: no such hook" in shown
    assert '"gb": 0.1' in shown
    receiver.behave = lambda _: answer(200)
    assert "0 deliveries are due now" in invoke("alerts", "retry", "--channel", "nobody")
    assert "1 deliveries are due now" in invoke("alerts", "retry", "storage/lake")
    assert "1 delivered, 0 failed" in invoke("dispatch", "--once")
    assert "delivered" in invoke("alerts", "show", "storage/lake")


def test_resolving_tells_those_who_heard(raised: Warehouse) -> None:
    assert "Resolved." in invoke("alerts", "resolve", "storage/lake", "--note", "cleaned up")
    with raised.transactions.begin() as connection:
        row = connection.execute(
            "SELECT body -> 'details' ->> 'note' FROM notifications WHERE state = 'resolved'"
        ).fetchone()
    assert row == ("cleaned up",)
    assert "storage/lake" not in invoke("alerts", "list")
    assert "storage/lake" in invoke("alerts", "list", "--all")
    assert "no alert" in invoke("alerts", "resolve", "storage/lake", code=2)
    assert "no alert" in invoke("alerts", "show", "nothing", code=2)


def test_a_mistake_in_the_routes_is_told(
    raised: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anomaly_platform.settings import SettingsError

    monkeypatch.setenv("ANOMALY_ALERT_ROUTES", "pager=critical")
    with pytest.raises(SettingsError, match="ANOMALY_ALERT_ROUTES"):
        invoke("dispatch", "--once")


def test_anomalies_of_the_past_explain_why_nothing_is_wrong(warehouse: Warehouse) -> None:
    assert invoke("alerts", "list").strip() == "Nothing is wrong."
    with warehouse.transactions.begin() as connection:
        connection.execute(
            """
            INSERT INTO anomaly_detections (id, stream, device_id, metric_name, "timestamp", day,
                                            is_anomaly, source, event_id, threshold)
            VALUES (gen_random_uuid(), 'iiot', 'press-1', 'load', now() - interval '2 days',
                    current_date - 2, true, 'batch', gen_random_uuid(), 0.7)
            """
        )
    said = invoke("alerts", "list")
    assert said.startswith("Nothing is wrong.")
    assert "older than an hour" in said
    assert invoke("alerts", "list", "--stream", "ems").strip() == "Nothing is wrong."
