"""Every message arrives at least once, in order, on each channel by itself."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
from collections import Counter
from typing import Any

import pytest
from structlog.testing import capture_logs

from anomaly_platform.notifications.deliveries import MOST_REFUSALS
from anomaly_platform.notifications.dispatcher import Dispatcher, open_dispatcher
from anomaly_platform.notifications.outbox import Alert
from anomaly_platform.settings import Settings, get_settings
from anomaly_platform.warehouse import Warehouse
from tests.builders.alerts import deliver_due as drain

pytestmark = pytest.mark.integration


def alert(name: str = "refresh", severity: Any = "warning", **details: Any) -> Alert:
    return Alert(
        "run_failed", f"run_failed/ems/{name}", name, severity, f"{name} failed", "ems", details
    )


def webhooks(*urls: str, **more: Any) -> Settings:
    return get_settings(webhook_urls=" ".join(urls), webhook_allow_private=True, **more)


def test_a_message_arrives_once_on_every_channel(
    play: Any, say: Any, new_receiver: Any, deliveries: Any
) -> None:
    one, two = new_receiver(), new_receiver()
    say(alert(detail="x"))
    done = play(webhooks(one.url, two.url), drain)
    assert done == {"delivered": 2, "failed": 0, "refused": 0}
    for receiver in (one, two):
        (request,) = receiver.requests
        message = request.json()
        assert message["state"] == "firing"
        assert message["details"] == {"detail": "x"}
        assert request.headers["idempotency-key"] == message["id"]
    assert one.requests[0].json() == two.requests[0].json()
    assert [d["status"] for d in deliveries()] == ["delivered", "delivered"]
    assert not play(webhooks(one.url, two.url), drain)


def test_nothing_is_lost_while_the_receiver_is_down_for_an_hour(
    play: Any, say: Any, receiver: Any, clock: Any, deliveries: Any, answer: Any
) -> None:
    """The clock is moved, nobody sleeps."""
    say(*(alert(f"run-{n}") for n in range(20)))
    receiver.behave = lambda _: answer(503)
    back = clock() + dt.timedelta(hours=1)
    tries: list[dt.datetime] = []

    async def story(dispatcher: Dispatcher) -> None:
        while clock() < back:
            tried = await drain(dispatcher)
            if tried["failed"]:
                tries.append(clock())
            due = min(d["next_try_at"] for d in deliveries())
            assert clock() < due <= clock() + dt.timedelta(minutes=5)
            clock.now = max(due, clock() + dt.timedelta(minutes=1))
        assert {d["status"] for d in deliveries()} == {"waiting"}
        assert len({request.json()["id"] for request in receiver.requests}) == 20
        receiver.behave = lambda _: answer(200)
        receiver.requests.clear()
        # Back-off is bounded: five minutes later everything is there.
        clock.advance(minutes=5)
        assert (await drain(dispatcher))["delivered"] == 20

    play(webhooks(receiver.url), story)
    assert len({request.json()["id"] for request in receiver.requests}) == 20
    assert len(receiver.requests) == 20
    # It gave the receiver rest: 20 messages with 2, 4, 8 … s between tries, and 5 min at most.
    assert all(8 <= d["attempts"] <= 40 for d in deliveries())


def test_a_refusal_is_given_up_after_some_tries_and_can_be_seen(
    play: Any, say: Any, receiver: Any, clock: Any, deliveries: Any, answer: Any
) -> None:
    say(alert())
    receiver.behave = lambda _: answer(422, b"field severity: unknown value")

    async def story(dispatcher: Dispatcher) -> None:
        for _ in range(20):
            await drain(dispatcher)
            clock.advance(minutes=5)

    play(webhooks(receiver.url), story)
    assert len(receiver.requests) == MOST_REFUSALS
    (delivery,) = deliveries()
    assert delivery["status"] == "abandoned"
    assert delivery["last_error"] == "HTTP 422: field severity: unknown value"


def test_the_end_waits_for_the_beginning(
    play: Any, say: Any, receiver: Any, clock: Any, answer: Any
) -> None:
    say(alert("one"), alert("other"))
    say(resolve="run_failed/ems/one")
    answers = {"one": 503}
    receiver.behave = lambda request: answer(answers.get(request.json()["subject"], 200))

    async def story(dispatcher: Dispatcher) -> None:
        await drain(dispatcher)
        assert sorted(r.json()["subject"] for r in receiver.requests) == ["one", "other"]
        answers.clear()
        receiver.requests.clear()
        clock.advance(minutes=5)
        await drain(dispatcher)

    play(webhooks(receiver.url), story)
    assert [r.json()["state"] for r in receiver.requests] == ["firing", "resolved"]


def test_a_receiver_that_asks_to_wait_is_heard(
    play: Any, say: Any, receiver: Any, clock: Any, deliveries: Any, answer: Any
) -> None:
    say(alert())
    receiver.behave = lambda _: answer(429, headers={"retry-after": "1200"})
    play(webhooks(receiver.url), drain)
    (delivery,) = deliveries()
    assert delivery["next_try_at"] >= clock() + dt.timedelta(minutes=20)
    assert delivery["refusals"] == 0


def test_a_receiver_that_hangs_does_not_stop_the_others(
    database_url: str, say: Any, new_receiver: Any, deliveries: Any, answer: Any
) -> None:
    """The whole dispatcher runs; the hanging one never answers while the test lasts."""
    good, bad = new_receiver(), new_receiver()
    bad.behave = lambda _: answer(hang=True)
    arrived = threading.Event()
    good.behave = lambda _: (
        arrived.set() if len(good.requests) == 50 else None,
        answer(200),
    )[1]

    async def story() -> None:
        async with open_dispatcher(webhooks(bad.url, good.url), database_url) as dispatcher:
            dispatcher.grace_s = 1
            stop = asyncio.Event()
            running = asyncio.create_task(dispatcher.run(stop))
            for first in (0, 25):
                await asyncio.to_thread(say, *(alert(f"run-{first + n}") for n in range(25)))
            assert await asyncio.to_thread(arrived.wait, 60)
            stop.set()
            await running

    asyncio.run(story())
    # Messages of the channel that hangs still wait.
    waiting = [d for d in deliveries() if d["status"] == "waiting"]
    assert len(waiting) == 50


def test_several_dispatchers_share_the_work_and_send_nothing_twice(
    database_url: str, say: Any, receiver: Any, warehouse: Warehouse, answer: Any
) -> None:
    say(*(alert(f"run-{n}") for n in range(120)))
    done = asyncio.Event()

    async def story() -> None:
        loop = asyncio.get_running_loop()

        def behave(_: Any) -> Any:
            if len(receiver.requests) >= 120:
                loop.call_soon_threadsafe(done.set)
            return answer(204)

        receiver.behave = behave

        async def one() -> None:
            async with open_dispatcher(webhooks(receiver.url), database_url) as dispatcher:
                await dispatcher.run(done)

        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(one())

    asyncio.run(story())
    ids = Counter(request.json()["id"] for request in receiver.requests)
    assert len(ids) == 120
    assert set(ids.values()) == {1}


def test_messages_wait_a_day_for_a_channel(play: Any, say: Any, receiver: Any, clock: Any) -> None:
    say(alert("old"))
    clock.advance(hours=25)
    say(alert("new"))
    assert not play(get_settings(), drain)
    play(webhooks(receiver.url), drain)
    assert [request.json()["subject"] for request in receiver.requests] == ["new"]


def test_messages_outlast_a_dispatcher_that_is_away_for_days(
    play: Any, say: Any, receiver: Any, clock: Any
) -> None:
    say(alert())
    clock.advance(days=3)
    play(webhooks(receiver.url), drain)
    assert len(receiver.requests) == 1


def test_what_waits_for_a_channel_that_is_gone_is_given_up_visibly(
    play: Any, say: Any, new_receiver: Any, clock: Any, deliveries: Any, answer: Any
) -> None:
    gone, other = new_receiver(), new_receiver()
    say(alert())
    gone.behave = lambda _: answer(503)
    play(webhooks(gone.url), drain)
    play(webhooks(other.url), Dispatcher.tidy)
    assert deliveries()[0]["status"] == "waiting"
    clock.advance(hours=25)
    play(webhooks(other.url), Dispatcher.tidy)
    (delivery,) = deliveries()
    assert (delivery["status"], "configured" in delivery["last_error"]) == ("abandoned", True)


def test_what_is_long_over_is_forgotten_and_what_waits_or_is_open_is_not(
    play: Any, say: Any, receiver: Any, clock: Any, warehouse: Warehouse, answer: Any
) -> None:
    say(alert("over"), alert("open"), alert("unsent"))
    say(resolve="run_failed/ems/over")
    receiver.behave = lambda request: answer(503 if request.json()["subject"] == "unsent" else 200)
    play(webhooks(receiver.url), drain)
    clock.advance(days=91)
    play(webhooks(receiver.url), Dispatcher.tidy)
    with warehouse.transactions.begin() as connection:
        kept = connection.execute("SELECT subject FROM alerts ORDER BY 1").fetchall()
        messages = connection.execute("SELECT subject FROM notifications").fetchall()
    assert kept == [("open",), ("unsent",)]
    assert messages == [("unsent",)]


def test_one_that_came_back_within_its_cool_down_is_told_at_its_end(
    play: Any, say: Any, receiver: Any, clock: Any
) -> None:
    say(alert())
    say(resolve="run_failed/ems/refresh")
    say(alert())
    play(webhooks(receiver.url), drain)
    clock.advance(hours=1)
    play(webhooks(receiver.url), drain)
    assert [r.json()["state"] for r in receiver.requests] == ["firing", "resolved", "firing"]


def test_routes_decide_who_gets_what(play: Any, say: Any, receiver: Any, deliveries: Any) -> None:
    say(alert("mild"), alert("grave", "critical"))
    settings = webhooks(receiver.url, alert_routes="webhook=critical:run_failed,quality")
    play(settings, drain)
    assert [request.json()["subject"] for request in receiver.requests] == ["grave"]
    assert len(deliveries()) == 1


def test_no_secret_is_kept_or_logged(
    play: Any,
    say: Any,
    receiver: Any,
    warehouse: Warehouse,
    answer: Any,
) -> None:
    """A token in the URL, one in the receiver's answer, one in an exception's text."""
    token = "T0123456789SECRET"
    receiver.behave = lambda request: answer(400, f"bad request to {request.path}".encode())
    say(alert(error=f"cannot reach https://me:{token}@host/x, token={token}"))
    settings = webhooks(
        f"{receiver.url}/hooks/{token}",
        f"http://user:{token}@127.0.0.1:1/{token}",
        webhook_secret=token,
    )
    with capture_logs() as logged:
        play(settings, drain)
    with warehouse.transactions.begin() as connection:
        kept = [
            str(connection.execute(f"SELECT * FROM {table}".encode()).fetchall())
            for table in ("alerts", "notifications", "deliveries")
        ]
    assert "HTTP 400: bad request to" in kept[2]
    assert [one["event"] for one in logged] == ["delivery failed"] * 2
    assert token not in "".join([*kept, str(logged), str(receiver.requests[0].json())])
