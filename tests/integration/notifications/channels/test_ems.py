"""Anomalies of the stream ems become events of EMS Core, the severe ones alerts too, once each."""

from __future__ import annotations

from typing import Any

import pytest

from anomaly_platform.notifications.outbox import Alert, fingerprint
from anomaly_platform.settings import Settings, get_settings
from tests.builders.alerts import anomaly_of, deliver_due

pytestmark = pytest.mark.integration


def settings(fake_ems: Any, **more: Any) -> Settings:
    return get_settings(ems_core_url=fake_ems.url, ems_push=True, **more)


def test_events_for_all_and_alerts_for_the_severe(play: Any, say: Any, fake_ems: Any) -> None:
    say(
        anomaly_of("h1", "warning", "ems"),
        anomaly_of("h2", "critical", "ems"),
        anomaly_of("pump", "critical"),
    )
    say(Alert("anomaly", "anomalies/ems", "30 more", "critical", "30 more are unusual", "ems"))
    say(Alert("run_failed", "run_failed/ems", "ems", "critical", "A run failed", "ems"))
    play(settings(fake_ems), deliver_due)
    assert sorted(event["assetId"] for event in fake_ems.events) == ["h1", "h2"]
    assert [alert["assetId"] for alert in fake_ems.alerts] == ["h2"]
    assert fake_ems.events[0]["metadata"]["score"] == 0.9
    say(resolve=fingerprint("anomaly", "ems", "h2"))
    play(settings(fake_ems), deliver_due)
    assert [event["type"] for event in fake_ems.events][-1] == "anomaly_resolved"
    assert len(fake_ems.alerts) == 1


def test_alerts_can_be_left_to_people(play: Any, say: Any, fake_ems: Any) -> None:
    say(anomaly_of("h2", "critical", "ems"))
    play(settings(fake_ems, auto_create_alerts=False), deliver_due)
    assert (len(fake_ems.events), len(fake_ems.alerts)) == (1, 0)


def test_a_repeat_creates_nothing_twice(
    play: Any, say: Any, fake_ems: Any, clock: Any, deliveries: Any, answer: Any
) -> None:
    """The event is stored and the alert fails: the repeat sends the event's key again."""
    real = fake_ems.behave
    broken = [True]

    def behave(request: Any) -> Any:
        if request.parts == ["alerts"] and broken[0]:
            return answer(422, {"message": "not today"})
        return real(request)

    fake_ems.behave = behave
    say(anomaly_of("h2", "critical", "ems"))
    play(settings(fake_ems), deliver_due)
    assert (len(fake_ems.events), len(fake_ems.alerts)) == (1, 0)
    broken[0] = False
    clock.advance(minutes=1)
    play(settings(fake_ems), deliver_due)
    assert (len(fake_ems.events), len(fake_ems.alerts)) == (1, 1)
    assert deliveries()[0]["status"] == "delivered"
    keys = [r.headers["idempotency-key"] for r in fake_ems.requests]
    assert keys[0] == keys[2]
    assert keys[1] == keys[3] == f"{keys[0]}-alert"


@pytest.mark.parametrize(
    "body", [{"id": "1"}, {"nothing": "of use"}, {"id": {}}, [], b"", b"created"], ids=str
)
def test_whatever_a_server_says_with_201_the_event_is_there(
    play: Any, say: Any, fake_ems: Any, deliveries: Any, answer: Any, body: Any
) -> None:
    fake_ems.behave = lambda _: answer(201, body)
    say(anomaly_of("h1", "critical", "ems"))
    play(settings(fake_ems), deliver_due)
    assert [delivery["status"] for delivery in deliveries()] == ["delivered"]
    assert [one.parts for one in fake_ems.requests] == [["events"], ["alerts"]]


def test_it_is_off_unless_the_ems_is_used_and_its_address_is_set() -> None:
    where = {"ems_core_url": "http://ems.example:3100"}
    assert not get_settings(**where).pushes_to_ems
    assert get_settings(ems_pull=True, **where).pushes_to_ems
    assert not get_settings(ems_pull=True, ems_push=False, **where).pushes_to_ems
    assert not get_settings(ems_pull=True).pushes_to_ems
