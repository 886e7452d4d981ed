"""A real broker with the very files of `deploy/`, attacked by whoever may only send."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from pydantic import SecretStr

from anomaly_platform.platform import Platform
from anomaly_platform.serving.telemetry.ingest import open_ingestion
from anomaly_platform.serving.telemetry.mqtt import Subscriber
from anomaly_platform.serving.telemetry.mqtt_messages import Message
from anomaly_platform.settings import Settings
from anomaly_platform.warehouse import Warehouse
from tests.builders.servers import Broker
from tests.builders.tables import count
from tests.builders.waiting import free_port, wait_until

pytestmark = pytest.mark.integration

DEPLOY = Path(__file__).parents[3] / "deploy/mosquitto"
PASSWORDS = {"platform": "p-secret", "publisher": "d-secret", "listener": "l-secret"}
TELEMETRY = "insa/iiot/telemetry/press-1/temperature"
MANY = 200


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The broker's folders as the containers have them."""
    if shutil.which("mosquitto_passwd") is None:
        pytest.skip("needs mosquitto; install the Debian package mosquitto")
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "data").mkdir()
    shutil.copy(DEPLOY / "acl", tmp_path / "acl")
    (tmp_path / "acl").chmod(0o600)
    passwords = tmp_path / "data/passwords"
    for number, (user, password) in enumerate(PASSWORDS.items()):
        options = ["-b"] if number else ["-b", "-c"]
        subprocess.run(["mosquitto_passwd", *options, passwords, user, password], check=True)
    return tmp_path


@pytest.fixture
def broker(folder: Path) -> Iterator[Broker]:
    """Mosquitto with `deploy/mosquitto/mosquitto.conf`, its paths moved."""
    text = (DEPLOY / "mosquitto.conf").read_text()
    text = text.replace("/mosquitto/config/", f"{folder}/").replace(
        "/mosquitto/data/", f"{folder}/data/"
    )
    lines = [line for line in text.splitlines() if not line.startswith(("listener", "log_dest"))]
    server = Broker(folder, *lines)
    server.start()
    yield server
    server.end()


class Attacker:
    """A client that remembers what it was told and what was refused to it."""

    def __init__(self, broker: Broker, user: str | None, password: str = "", **will: Any) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.refused: list[str] = []
        self.connected: list[bool] = []
        self.granted: list[bool] = []
        self.client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        if user is not None:
            self.client.username_pw_set(user, password or PASSWORDS[user])
        if will:
            self.client.will_set(**will)
        self.client.on_connect = lambda *a: self.connected.append(not a[3].is_failure)
        self.client.on_message = lambda _c, _d, m: self.heard.append((m.topic, m.payload))
        self.client.on_subscribe = lambda _c, _d, _m, reasons, _p: self.granted.extend(
            not one.is_failure for one in reasons
        )
        self.client.on_publish = lambda _c, _d, _m, reason, _p: (
            self.refused.append(str(reason)) if reason.is_failure else None
        )
        self.client.connect("127.0.0.1", broker.port)
        self.client.loop_start()
        wait_until(lambda: bool(self.connected), 20)

    def send(self, topic: str, payload: bytes = b"1", **options: Any) -> bool:
        """Publish with quality 1; return whether the broker took it."""
        before = len(self.refused)
        self.client.publish(topic, payload, qos=1, **options).wait_for_publish(20)
        wait_until(lambda: True)
        return len(self.refused) == before

    def end(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@contextlib.contextmanager
def attacking(
    broker: Broker, user: str | None, password: str = "", **will: Any
) -> Iterator[Attacker]:
    one = Attacker(broker, user, password, **will)
    try:
        yield one
    finally:
        one.end()


@pytest.mark.parametrize(("user", "password"), [(None, ""), ("platform", "wrong"), ("root", "x")])
def test_nobody_gets_in_without_a_password(broker: Broker, user: str, password: str) -> None:
    with attacking(broker, user, password) as one:
        assert one.connected[0] is False


EVERYTHING = ("#", "+/+/#", "insa/#", "insa/iiot/telemetry/#", "insa/iiot/ml/#", "$SYS/#",
              "$SYS/broker/clients/+", "$share/mine/insa/iiot/telemetry/+/+")  # fmt: skip


def test_who_may_send_hears_nothing_and_only_sends_telemetry(broker: Broker) -> None:
    with attacking(broker, "publisher") as one, attacking(broker, "platform") as platform:
        one.client.subscribe([(topic, _options()) for topic in EVERYTHING])
        platform.client.subscribe("insa/iiot/telemetry/+/+", qos=1)
        wait_until(lambda: len(one.granted) == len(EVERYTHING) and platform.granted, 20)
        assert platform.granted == [True]
        for topic in ("insa/iiot/ml/anomaly/press-1", "insa/iiot/ml/model/trained", "other/topic",
                      "$SYS/broker/uptime", "insa/iiot/other/telemetry"):  # fmt: skip
            assert not one.send(topic), topic
        assert platform.send("insa/iiot/ml/anomaly/press-1", b"{}")
        assert not platform.send(TELEMETRY), "the platform makes up no readings"
        assert one.send(TELEMETRY, b"21.5")
        wait_until(lambda: bool(platform.heard), 20)
        assert platform.heard == [(TELEMETRY, b"21.5")]
        assert one.heard == []


def _options() -> Any:
    from paho.mqtt.subscribeoptions import SubscribeOptions

    return SubscribeOptions(qos=1)


def test_who_is_told_hears_of_anomalies_and_sends_nothing(broker: Broker) -> None:
    with attacking(broker, "listener") as one, attacking(broker, "platform") as platform:
        one.client.subscribe([(topic, _options()) for topic in EVERYTHING])
        wait_until(lambda: len(one.granted) == len(EVERYTHING), 20)
        assert not one.send("insa/iiot/ml/anomaly/press-1", b"fake")
        assert not one.send(TELEMETRY)
        with attacking(broker, "publisher") as device:
            assert device.send(TELEMETRY)
        assert platform.send("insa/iiot/ml/anomaly/press-1", b"{}")
        wait_until(lambda: bool(one.heard), 20)
        assert {topic for topic, _ in one.heard} == {"insa/iiot/ml/anomaly/press-1"}


def test_a_last_will_reaches_only_where_its_owner_may_send(broker: Broker) -> None:
    with attacking(broker, "listener") as ear:
        ear.client.subscribe("insa/iiot/ml/#", qos=1)
        wait_until(lambda: bool(ear.granted), 20)
        one = Attacker(
            broker, "publisher", topic="insa/iiot/ml/anomaly/press-1", payload=b"fake", qos=1
        )
        # Without a word of farewell the broker speaks the will.
        one.client._sock_close()
        one.client.loop_stop()
        with attacking(broker, "platform") as platform:
            assert platform.send("insa/iiot/ml/anomaly/press-2", b"{}")
        wait_until(lambda: bool(ear.heard), 20)
        assert [topic for topic, _ in ear.heard] == ["insa/iiot/ml/anomaly/press-2"]


def test_nothing_is_retained_and_nothing_large_is_taken(broker: Broker) -> None:
    for payload, options in ((b"1", {"retain": True}), (b"1" * (2 << 20), {})):
        one = Attacker(broker, "publisher")
        gone: list[bool] = []
        one.client.on_disconnect = lambda *_, gone=gone: gone.append(True)
        with contextlib.suppress(ValueError, RuntimeError):
            one.client.publish(TELEMETRY, payload, qos=1, **options)
        wait_until(lambda gone=gone: bool(gone), 20)
        one.end()
    with attacking(broker, "platform") as late:
        late.client.subscribe("insa/iiot/telemetry/#", qos=1)
        # Until then the broker has nobody to hand a message to.
        wait_until(lambda: bool(late.granted), 20)
        with attacking(broker, "publisher") as device:
            assert device.send(TELEMETRY, b"2")
        wait_until(lambda: bool(late.heard), 20)
        assert late.heard == [(TELEMETRY, b"2")]


def test_a_port_that_leaves_the_machine_speaks_tls(folder: Path) -> None:
    certs = folder / "certs"
    certs.mkdir()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-keyout", certs / "server.key", "-out", certs / "server.crt", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    port = free_port()
    text = (DEPLOY / "tls.conf").read_text().replace("/mosquitto/config/", f"{folder}/")
    (folder / "conf.d/tls.conf").write_text(text.replace("8883", f"{port} 127.0.0.1"))
    text = (DEPLOY / "mosquitto.conf").read_text()
    text = text.replace("/mosquitto/config/", f"{folder}/").replace(
        "/mosquitto/data/", f"{folder}/data/"
    )
    lines = [line for line in text.splitlines() if not line.startswith(("listener", "log_dest"))]
    server = Broker(folder, *lines)
    server.start()
    try:
        taken: list[bool] = []
        client = Client(CallbackAPIVersion.VERSION2)
        client.username_pw_set("publisher", PASSWORDS["publisher"])
        client.tls_set_context(ssl.create_default_context(cafile=certs / "server.crt"))
        client.on_connect = lambda *a: taken.append(not a[3].is_failure)
        client.connect("localhost", port)
        client.loop_start()
        wait_until(lambda: bool(taken), 20)
        client.disconnect()
        client.loop_stop()
        assert taken == [True]
        plain = Client(CallbackAPIVersion.VERSION2)
        plain.username_pw_set("publisher", PASSWORDS["publisher"])
        plain.on_connect = lambda *a: taken.append(True)
        plain.connect("localhost", port)
        plain.loop_start()
        closed = threading.Event()
        plain.on_disconnect = lambda *_: closed.set()
        assert closed.wait(20)
        plain.loop_stop()
        assert len(taken) == 1, "a password went over the line in the clear"
    finally:
        server.end()


#: Payloads and topics that a device that was taken over may send.
MALFORMED: list[tuple[str, bytes]] = [
    (TELEMETRY, payload)
    for payload in (
        b"", b"\x00" * 100, b"\xff\xfe\xfd", b"NaN", b"Infinity", b"-1e999", b"1" * 5000,
        b"[" * 100_000, b'{"a":' * 50_000, b"[]", b"{}", b"null", b"true", b'"21.5"',
        json.dumps([{"value": 1}] * 1001).encode(), b'{"value": 1, "value": 2}',
        b'{"value": 1, "__proto__": {}}', b'{"value": 1, "timestamp": "9999-99-99"}',
        b'{"value": 1, "event_id": "\' OR 1=1 --"}', b'{"value": 1, "metadata": "x"}',
        b'{"value": 1, "metadata": {"x": "\\ud800"}}', b'{"value": 1, "\\u0000": 1}',
        b'{"value": 1, "timestamp": "1970-01-01T00:00:00Z"}', b"1" * 1_000_000,
    )
] + [
    (f"insa/iiot/telemetry/{device}/{metric}", b"1")
    for device, metric in (
        ("", ""), ("d" * 60_000, "m"), ("%00", "m"), ("%ff%fe", "m"), ("..%2f..%2fetc", "passwd"),
        ("'; DROP TABLE series; --", "m"), ("\u202edevice", "m"), ("a%0ab", "m"), ("$SYS", "m"),
    )
]  # fmt: skip


def test_what_a_hostile_device_sends_stops_no_reading(
    settings: Settings, warehouse: Warehouse, broker: Broker
) -> None:
    mine = settings.model_copy(
        update={
            "mqtt_url": SecretStr(
                f"mqtt://platform:{PASSWORDS['platform']}@127.0.0.1:{broker.port}"
            )
        }
    )
    attacked = Platform(mine)
    only = "entity = 'press-9' AND value = 21.5"

    async def listen() -> Subscriber:
        stop = asyncio.Event()
        async with open_ingestion(attacked) as ingestion:
            subscriber = Subscriber(attacked, ingestion)
            running = asyncio.create_task(subscriber.run(stop))
            await asyncio.to_thread(attack, lambda: subscriber.stored)
            stop.set()
            await running
            return subscriber

    def attack(stored: Any) -> None:
        with attacking(broker, "publisher") as one:
            good = "insa/iiot/telemetry/press-9/temperature"
            # Until somebody listens.
            wait_until(lambda: one.send(good, b"20") and stored() > 0, 60)
            for topic, payload in MALFORMED:
                one.client.publish(topic, payload, qos=1)
            sent = json.dumps({"value": 21.5, "timestamp": "2026-03-02T00:00:00Z"}).encode()
            assert one.send(good, sent)
            wait_until(lambda: count(warehouse, "online_readings", only) == 1, 60)

    subscriber = asyncio.run(listen())
    attacked.close()
    # The rest says a reading, of a device with an odd name.
    assert subscriber.quarantined >= len(MALFORMED) // 2
    assert subscriber.quarantined + subscriber.stored >= len(MALFORMED)
    assert count(warehouse, "quarantine") > 0


def test_a_flood_of_quality_0_is_bounded(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomaly_platform.serving.telemetry.mqtt.MOST_WAITING_BYTES", 10_000)
    attacked = Platform(settings.model_copy(update={"mqtt_url": SecretStr("mqtt://127.0.0.1:1")}))
    subscriber = Subscriber(attacked, None)  # type: ignore[arg-type]
    now = datetime.now(UTC)
    for number in range(MANY):
        subscriber._arrived(Message(TELEMETRY, b"1" * 100, 0, False, False, now))
        subscriber._arrived(Message(TELEMETRY, b"2", number + 1, False, False, now))
    attacked.close()
    kept = [subscriber._messages.get_nowait() for _ in range(subscriber._messages.qsize())]
    assert sum(message.mid > 0 for message in kept) == MANY, "what is acknowledged is kept"
    assert subscriber.dropped > 0
    assert sum(len(m.payload) + len(m.topic) for m in kept if m.mid == 0) <= 10_000
