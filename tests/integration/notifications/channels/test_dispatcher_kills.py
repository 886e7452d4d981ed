"""A dispatcher that is killed again and again, and a receiver that is no better."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anomaly_platform.notifications.outbox import Alert, Outbox
from anomaly_platform.warehouse import Warehouse

pytestmark = [pytest.mark.integration, pytest.mark.stress, pytest.mark.timeout(900)]

KILLS = 20
MESSAGES = 2_000


class FlakyReceiver:
    """Takes two of three messages; the others it refuses for now, or takes and does not say so."""

    def __init__(self, receiver: Any, answer: Any) -> None:
        self.taken: list[dict[str, Any]] = []
        self._answer = answer
        self._chance = random.Random(7)
        self._lock = threading.Lock()
        receiver.behave = self.behave

    def behave(self, request: Any) -> Any:
        time.sleep(0.005)
        with self._lock:
            luck = self._chance.random()
            if luck < 0.2:
                return self._answer(503)
            self.taken.append(request.json())
            if luck < 0.33:
                # It has the message, and nobody learns of it.
                return self._answer(cut=True)
            return self._answer(204)

    def distinct(self) -> int:
        with self._lock:
            return len({message["id"] for message in self.taken})


def test_every_message_arrives_although_the_dispatcher_is_killed_twenty_times(
    tmp_path: Path, database_url: str, warehouse: Warehouse, receiver: Any, answer: Any
) -> None:
    flaky = FlakyReceiver(receiver, answer)
    chance = random.Random(42)
    began = time.monotonic()
    environment = {
        **os.environ,
        "ANOMALY_HOME": str(tmp_path),
        "ANOMALY_DATABASE_URL": database_url,
        "ANOMALY_WEBHOOK_URLS": receiver.url,
        "ANOMALY_WEBHOOK_ALLOW_PRIVATE": "true",
    }

    def start() -> subprocess.Popen[bytes]:
        program = "from anomaly_platform.cli.main import main; main()"
        return subprocess.Popen(
            [sys.executable, "-c", program, "dispatch"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def until(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 240
        while not condition():
            assert time.monotonic() < deadline, f"only {flaky.distinct()} messages arrived"
            time.sleep(0.02)

    batch = MESSAGES // KILLS
    for kill in range(KILLS):
        with warehouse.transactions.begin() as connection:
            Outbox().raise_alerts(
                connection,
                [
                    Alert("drift", f"drift/{kill}/{n}", "s", "warning", "t", "ems")
                    for n in range(batch)
                ],
            )
        dispatcher = start()
        try:
            goal = flaky.distinct() + chance.randint(1, batch)
            until(lambda goal=goal: flaky.distinct() >= goal)  # type: ignore[misc]
        finally:
            os.killpg(dispatcher.pid, signal.SIGKILL)
            dispatcher.wait()
    last = start()
    try:
        until(lambda: _waiting(warehouse) == 0)
    finally:
        os.killpg(last.pid, signal.SIGTERM)
        last.wait(30)

    times = Counter(message["id"] for message in flaky.taken)
    assert len(times) == MESSAGES
    contents = {
        message["id"]: {k: v for k, v in message.items() if k != "id"} for message in flaky.taken
    }
    assert all(
        {k: v for k, v in message.items() if k != "id"} == contents[message["id"]]
        for message in flaky.taken
    ), "a repeat is the same message"
    assert len({content["fingerprint"] for content in contents.values()}) == MESSAGES
    with warehouse.transactions.begin() as connection:
        states = connection.execute(
            "SELECT status, count(*) FROM deliveries GROUP BY status"
        ).fetchall()
    assert states == [("delivered", MESSAGES)]
    print(  # noqa: T201 - the figures for docs/measured/stress.md
        f"\n{MESSAGES} messages, {KILLS} kills: {len(receiver.requests)} requests, "
        f"{len(flaky.taken) - len(times)} repeats with the same id, 0 lost, "
        f"{time.monotonic() - began:.0f} s"
    )


def _waiting(warehouse: Warehouse) -> int:
    with warehouse.transactions.begin() as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM deliveries WHERE status = 'waiting') + "
            "(SELECT count(*) FROM notifications WHERE routed_at IS NULL)"
        ).fetchone()
    assert row is not None
    return int(row[0])
