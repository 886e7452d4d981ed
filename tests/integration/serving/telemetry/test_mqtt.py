"""Telemetry over a real broker: kept until committed, and once each."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from pydantic import SecretStr

from anomaly_platform.ingest.online.readings import Reading
from anomaly_platform.platform import Platform
from anomaly_platform.realtime.answers import Answer
from anomaly_platform.serving.telemetry.mqtt import Subscriber
from anomaly_platform.serving.telemetry.mqtt_messages import Message
from anomaly_platform.settings import Settings
from tests.builders.servers import Broker
from tests.builders.tables import count
from tests.builders.waiting import wait_until

pytestmark = pytest.mark.integration

START = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A real MQTT broker, not started yet, that remembers its sessions."""
    server = Broker(
        tmp_path,
        *("allow_anonymous true", "persistence true", f"persistence_location {tmp_path}/"),
        "max_queued_messages 0",
    )
    yield server
    server.end()


@pytest.fixture
def subscribe(
    settings: Settings, broker: Broker, tmp_path: Path
) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Start ``anomaly mqtt`` as a process of its own."""
    assert settings.database_url is not None
    environment = {
        **os.environ,
        "ANOMALY_HOME": str(settings.home),
        "ANOMALY_DATABASE_URL": settings.database_url.get_secret_value(),
        "ANOMALY_MQTT_URL": f"mqtt://127.0.0.1:{broker.port}",
        "ANOMALY_LOG_LEVEL": "INFO",
    }
    running: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        with (tmp_path / "subscriber.log").open("ab") as log:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    "from anomaly_platform.cli.main import main; main()",
                    "mqtt",
                ],
                env=environment,
                stdout=log,
                stderr=log,
            )
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.wait(20)


@pytest.fixture
def publish(broker: Broker) -> Iterator[Callable[[str, str], None]]:
    """Publish with QoS 1; return when the broker has it."""
    client = Client(CallbackAPIVersion.VERSION2)
    connected = False

    def send(topic: str, payload: str, **more: Any) -> None:
        nonlocal connected
        if not connected:
            client.connect("127.0.0.1", broker.port)
            client.loop_start()
            connected = True
        client.publish(f"insa/iiot/telemetry/{topic}", payload, qos=1, **more).wait_for_publish(20)

    yield send
    client.disconnect()
    client.loop_stop()


@pytest.fixture
def log(tmp_path: Path) -> Callable[[], str]:
    return (tmp_path / "subscriber.log").read_text


def probed(publish: Callable[..., None], platform: Platform) -> bool:
    """Publish until something arrives: before the session exists the broker keeps nothing."""
    publish("probe/m", "1")
    return count(platform.warehouse, "online_readings") > 0


def at(n: int) -> str:
    return (START + timedelta(seconds=n)).isoformat()


def test_killed_again_and_again_it_loses_and_doubles_nothing(
    platform: Platform,
    broker: Broker,
    subscribe: Callable[[], subprocess.Popen[bytes]],
    publish: Callable[..., None],
) -> None:
    """Half of the readings say no time: only their delivery tells them apart."""
    broker.start()
    sent = 0
    first = subscribe()
    publish("pump/temp", "1.0")
    sent += 1

    def some() -> bool:
        # Until the session exists the broker keeps nothing.
        publish("probe/temp", f'{{"value": 1, "timestamp": "{at(0)}"}}')
        return count(platform.warehouse, "online_readings") > 0

    wait_until(some)
    first.send_signal(signal.SIGKILL)
    first.wait(20)
    before = count(platform.warehouse, "online_readings")
    for n in range(120):
        publish("pump/temp", f'{{"value": {n}, "timestamp": "{at(n + 1)}"}}')
        publish("fan/temp", f"{n}.5")
    second = subscribe()
    wait_until(lambda: count(platform.warehouse, "online_readings") > before + 20)
    second.send_signal(signal.SIGKILL)
    second.wait(20)
    publish("pump/temp", f'{{"value": 120, "timestamp": "{at(121)}"}}')
    third = subscribe()
    wait_until(
        lambda: count(platform.warehouse, "online_readings", "event_time = '" + at(121) + "'") == 1
    )
    wait_until(lambda: count(platform.warehouse, "online_readings", "entity = 'fan'") >= 120)
    third.send_signal(signal.SIGTERM)
    assert third.wait(30) == 0
    assert count(platform.warehouse, "online_readings", "entity = 'fan'") == 120
    with platform.warehouse.transactions.begin() as connection:
        found = connection.execute(
            "SELECT value FROM online_readings WHERE entity = 'fan' ORDER BY value"
        ).fetchall()
    assert [row[0] for row in found] == [n + 0.5 for n in range(120)]
    stamped = "entity = 'pump' AND event_time > '2026-03-02 00:00:00+00' "
    within = stamped + "AND event_time < '2026-03-03'"
    assert count(platform.warehouse, "online_readings", within) == 121


def test_poison_goes_to_quarantine_and_does_not_come_back(
    platform: Platform,
    broker: Broker,
    subscribe: Callable[[], subprocess.Popen[bytes]],
    publish: Callable[..., None],
    log: Callable[[], str],
) -> None:
    broker.start()
    process = subscribe()
    wait_until(lambda: "connected to" in log())
    wait_until(lambda: probed(publish, platform))
    publish("pump/temp", "hot")
    publish("pump/temp", '{"value": 1, "\\ud800": 2}')
    publish("pump/temp", '{"value": 1, "timestamp": "2999-01-01T00:00:00Z"}')
    publish("pump/temp", f'{{"value": 5, "timestamp": "{at(0)}"}}')
    publish("pump/temp", f'{{"value": 6, "timestamp": "{at(0)}"}}')
    publish("old/temp", "4", retain=True)
    wait_until(lambda: count(platform.warehouse, "quarantine") == 4)
    wait_until(lambda: count(platform.warehouse, "online_readings", "entity = 'old'") == 1)
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    again = subscribe()
    wait_until(lambda: log().count("Listening") == 2)
    publish("pump/temp", f'{{"value": 7, "timestamp": "{at(9)}"}}')
    wait_until(lambda: count(platform.warehouse, "online_readings", "value = 7") == 1)
    assert again.poll() is None
    with platform.warehouse.transactions.begin() as connection:
        found = connection.execute(
            "SELECT reason, stage, row_number FROM quarantine ORDER BY reason"
        ).fetchall()
    assert [row[0] for row in found][1:] == [
        "in the future",
        "the payload has unknown members: \\ud800",
        "the payload is no JSON",
    ]
    assert {row[1:] for row in found} == {("online", 0)}
    # What the broker retains is delivered at every start, and is no new reading.
    assert count(platform.warehouse, "online_readings", "entity = 'old'") == 1


def test_what_nobody_has_foreseen_is_refused_and_stops_no_other(platform: Platform) -> None:
    class Ingestion:
        async def ingest(self, _stream: object, readings: Sequence[Reading], **_: object) -> object:
            if any(one.value == 13.0 for one in readings):
                raise ZeroDivisionError
            return [Answer("stored", None, "") for _ in readings]

    settings = platform.settings.model_copy(update={"mqtt_url": SecretStr("mqtt://localhost:1")})
    subscriber = Subscriber(Platform(settings), Ingestion())  # type: ignore[arg-type]
    messages = [
        Message(f"insa/iiot/telemetry/pump/m{n}", b"%d" % n, n, False, False, datetime.now(UTC))
        for n in (12, 13, 14)
    ]
    assert asyncio.run(subscriber._take_for_sure(messages, asyncio.Event()))
    assert (subscriber.stored, subscriber.quarantined) == (2, 1)
    with platform.warehouse.transactions.begin() as connection:
        found = connection.execute("SELECT reason, raw FROM quarantine").fetchall()
    assert [row[0] for row in found] == ["it cannot be taken in: ZeroDivisionError"]
    assert "pump/m13" in str(found[0][1])


def test_a_broker_that_goes_away_is_waited_for(
    platform: Platform,
    broker: Broker,
    subscribe: Callable[[], subprocess.Popen[bytes]],
    publish: Callable[..., None],
) -> None:
    broker.start()
    subscriber = subscribe()
    wait_until(lambda: probed(publish, platform))
    broker.end()
    broker.start()

    def pump_is_known() -> bool:
        # The publisher has to find the new broker as well.
        with contextlib.suppress(RuntimeError):
            publish("pump/m", "2")
        return count(platform.warehouse, "online_readings", "entity = 'pump'") > 0

    wait_until(pump_is_known)
    assert subscriber.poll() is None
