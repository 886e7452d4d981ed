"""The client of EMS Core against a real HTTP server that fails, is slow and returns garbage."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from anomaly_platform.ems.core import EmsCore
from anomaly_platform.ems.records import (
    EmsError,
    EmsGarbage,
    EmsRefused,
    NewAlert,
    NewEvent,
    NewMetric,
)

pytestmark = pytest.mark.integration

NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
READING = {"assetId": "host-1", "metricName": "cpu", "value": 1.5, "timestamp": NOON.isoformat()}


@pytest.fixture
def ask(fake_ems: Any) -> Callable[[Callable[[EmsCore], Awaitable[Any]]], Any]:
    """Do something with a client that does not wait between tries; remembers the waits."""
    fake_ems.waits = []

    async def note(seconds: float) -> None:
        fake_ems.waits.append(seconds)

    def run(what: Callable[[EmsCore], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            headers = {"authorization": f"Bearer {fake_ems.token}"} if fake_ems.token else {}
            async with httpx.AsyncClient(
                base_url=fake_ems.url, headers=headers, timeout=0.5
            ) as client:
                return await what(EmsCore(client, sleep=note))

        return asyncio.run(main())

    return run


def test_everything_it_offers(fake_ems: Any, ask: Any) -> None:
    fake_ems.token = "right"
    metric = NewMetric(asset_id="host-1", metric_name="cpu", value=2.5, timestamp=NOON)
    event = NewEvent(
        asset_id="host-1", type="anomaly", severity="warning", message="m", timestamp=NOON
    )
    alert = NewAlert(asset_id="host-1", title="t", severity="critical", message="m", timestamp=NOON)

    async def story(ems: EmsCore) -> None:
        assert await ems.health() == "ok"
        assert [one.name for one in await ems.assets()] == ["Host 1"]
        found = await ems.asset("host-1")
        assert found is not None
        assert found.type == "server"
        assert await ems.asset("no such/host") is None
        assert (await ems.create_metric(metric, key="k1")).id == "1"
        assert await ems.create_metrics([metric] * 3, key="k2") == 3
        read = await ems.metrics(since=NOON, until=NOON + HOUR, asset_id="host-1")
        assert [one.value for one in read] == [2.5] * 4
        assert await ems.metrics(since=NOON + HOUR, until=NOON + 2 * HOUR) == []
        assert (await ems.create_event(event, key="k3")).id == "1"
        assert (await ems.create_alert(alert, key="k4")).id == "1"
        assert [one.type for one in await ems.events(since=NOON, until=NOON + HOUR)] == ["anomaly"]

    ask(story)
    assert fake_ems.events[0]["assetId"] == "host-1"


def test_a_repeat_with_the_same_key_stores_once(fake_ems: Any, ask: Any, answer: Any) -> None:
    """The first answer is lost on its way: the client asks again."""
    event = NewEvent(asset_id="h", type="anomaly", severity="info", message="m", timestamp=NOON)
    real = fake_ems.behave
    lost = []

    def lose_the_first(request: Any) -> Any:
        said = real(request)
        if not lost:
            lost.append(said)
            return answer(cut=True)
        return said

    fake_ems.behave = lose_the_first
    ask(lambda ems: ems.create_event(event, key="one"))
    assert len(fake_ems.requests) == 2
    assert len(fake_ems.events) == 1


@pytest.mark.parametrize(
    "fault",
    [{"status": 500}, {"status": 503}, {"status": 429}, {"cut": True}, {"hang": True}],
    ids=str,
)
def test_faults_that_pass_are_waited_out(
    fake_ems: Any, ask: Any, answer: Any, fault: dict[str, Any]
) -> None:
    fake_ems.faults = [answer(**fault)] * (1 if "hang" in fault else 3)
    assert len(ask(lambda ems: ems.assets())) == 1
    waits = fake_ems.waits
    assert len(waits) == len(fake_ems.requests) - 1
    assert all(0.1 <= wait <= 4 for wait in waits)
    assert waits == sorted(waits), "each wait is longer than the one before"


def test_faults_that_last_end_in_a_clear_error(fake_ems: Any, ask: Any, answer: Any) -> None:
    fake_ems.faults = [answer(502)] * 10
    with pytest.raises(EmsError, match=r"GET assets: HTTP 502 \(tried 4 times\)"):
        ask(lambda ems: ems.assets())


def test_a_wait_that_is_asked_for_is_kept(fake_ems: Any, ask: Any, answer: Any) -> None:
    fake_ems.faults = [answer(429, headers={"retry-after": "3"})]
    ask(lambda ems: ems.assets())
    assert fake_ems.waits == [3.0]


def test_a_refusal_is_not_repeated(fake_ems: Any, ask: Any, answer: Any) -> None:
    fake_ems.faults = [answer(403, b"not yours")]
    with pytest.raises(EmsRefused, match="HTTP 403: not yours"):
        ask(lambda ems: ems.assets())
    assert len(fake_ems.requests) == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>", "GET metrics: the answer is no JSON"),
        (b'{"data": 5}', "GET metrics: the answer is no list"),
        (b"[" * 100_000, "GET metrics: the answer is no JSON"),
        ([{**READING, "value": "a lot"}], r"GET metrics: \[0\].value: input should be"),
        ([READING, {**READING, "value": None}], r"GET metrics: \[1\].value: "),
        (b'[{"assetId":"a","metricName":"m","value":NaN,"timestamp":"2026-03-01T12:00:00Z"}]',
         r"\[0\].value: input should be a finite number"),
        ([{**READING, "timestamp": "yesterday"}], r"\[0\].timestamp: "),
        ([{**READING, "timestamp": "2026-03-01T12:00:00"}], r"\[0\].timestamp: .*timezone"),
        ([{"value": 1}], r"\[0\].assetId: field required"),
        ([7], r"\[0\].the answer: "),
    ],
)  # fmt: skip
def test_garbage_is_named(fake_ems: Any, ask: Any, answer: Any, body: Any, said: str) -> None:
    fake_ems.faults = [answer(200, body)]
    with pytest.raises(EmsGarbage, match=said):
        ask(lambda ems: ems.metrics(since=NOON, until=NOON + HOUR))


def test_pages_are_put_together(fake_ems: Any, ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anomaly_platform.ems.core.PAGE", 10)
    fake_ems.metrics = [{"id": str(n), **READING} for n in range(25)]
    read = ask(lambda ems: ems.metrics(since=NOON, until=NOON + HOUR))
    assert [one.id for one in read] == [str(n) for n in range(25)]
    assert len(fake_ems.requests) == 3


def test_a_server_without_pages_is_not_asked_for_ever(
    fake_ems: Any, ask: Any, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomaly_platform.ems.core.PAGE", 10)
    rows = [{"id": str(n), **READING} for n in range(25)]
    fake_ems.behave = lambda _: answer(200, rows)
    assert len(ask(lambda ems: ems.metrics(since=NOON, until=NOON + HOUR))) == 25


def test_a_token_is_in_no_error(fake_ems: Any) -> None:
    async def story() -> None:
        async with EmsCore.open(fake_ems.url, "wrong-token-value") as ems:
            await ems.assets()

    fake_ems.token = "right"
    with pytest.raises(EmsRefused, match="HTTP 401") as caught:
        asyncio.run(story())
    assert "wrong-token-value" not in str(caught.value)
