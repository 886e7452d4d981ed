"""MQTT through a real broker."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import unquote, urlsplit

import aiomqtt
import pytest

from anomaly_platform.notifications.dispatcher import Dispatcher
from anomaly_platform.notifications.outbox import Alert
from anomaly_platform.settings import get_settings
from tests.builders.alerts import anomaly_of, deliver_due

pytestmark = pytest.mark.integration


def model(kind: Any) -> Alert:
    return Alert(kind, f"{kind}/iiot/1", "iiot", "info", "A model", "iiot", {"version": 1})


def test_anomalies_and_models_go_to_their_topics(play: Any, say: Any, broker: str) -> None:
    parts = urlsplit(broker)

    async def story(dispatcher: Dispatcher) -> list[Any]:
        async with aiomqtt.Client(
            parts.hostname or "", parts.port or 0, username=parts.username,
            password=unquote(parts.password or ""),
        ) as client:  # fmt: skip
            await client.subscribe("insa/iiot/#", qos=1)
            await deliver_due(dispatcher)
            async with asyncio.timeout(20):
                got = []
                async for message in client.messages:
                    got.append((str(message.topic), message.qos, json.loads(message.payload)))
                    if len(got) == 5:
                        return got
        raise AssertionError("the broker hung up")

    say(
        anomaly_of("pump-1"),
        anomaly_of("line/3 #+"),
        model("model_trained"),
        model("model_retrained"),
    )
    say(Alert("anomaly", "anomalies/iiot", "30 more", "warning", "30 more are unusual", "iiot"))
    # This one is not for MQTT unless somebody routes it there.
    say(Alert("run_failed", "run_failed/x", "x", "critical", "A run failed"))
    got = play(get_settings(mqtt_url=broker), story)
    by_topic = {topic: payload for topic, _, payload in got}
    assert set(by_topic) == {
        "insa/iiot/ml/anomaly/pump-1",
        "insa/iiot/ml/anomaly/line%2F3 %23%2B",
        "insa/iiot/ml/model/trained",
        "insa/iiot/ml/model/retrained",
        "insa/iiot/ml/alert/anomaly",
    }
    assert {qos for _, qos, _ in got} == {1}
    assert by_topic["insa/iiot/ml/anomaly/pump-1"]["details"]["score"] == 0.9
    assert len({payload["id"] for payload in by_topic.values()}) == 5


def test_a_broker_that_refuses_or_is_gone_is_tried_again(
    play: Any, say: Any, broker: str, deliveries: Any
) -> None:
    say(anomaly_of("pump-1"))
    play(get_settings(mqtt_url=broker.replace("p%40ss", "hunter2")), deliver_due)
    play(get_settings(mqtt_url="mqtt://127.0.0.1:1"), deliver_due)
    assert [d["status"] for d in deliveries()] == ["waiting"]
    assert "hunter2" not in str(deliveries())
