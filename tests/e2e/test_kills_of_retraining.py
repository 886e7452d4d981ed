"""The story of retraining with processes killed at ten random points: a long trial.

It ends as if nothing had been killed: one promotion per version, one training for the change that
served, no message told twice, no row lost.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.builders.tables import requests_of

from .conftest import start_platform
from .test_models_look_after_themselves import CHANGE, DAYS, NAME, NOTICED, STREAM, Story, story

pytestmark = [pytest.mark.stress, pytest.mark.timeout(3600)]

KILLS = 10
SEED = 20260120


def of_dagster(up: psutil.Process) -> list[tuple[psutil.Process, str]]:
    """Return the living processes of Dagster with the beginning of their command lines."""
    found = []
    for process in up.children(recursive=True):
        # One that has just ended is none.
        with contextlib.suppress(psutil.Error):
            line = process.cmdline()
            if any("dagster" in part for part in line):
                found.append((process, " ".join(line[1:4])))
    return found


def test_the_story_ends_the_same_whatever_is_killed(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    killed: list[str] = []
    (tmp_path / "streams").mkdir()
    (tmp_path / "streams" / "hosts.yaml").write_text(STREAM)

    def kill_something(told: Story) -> None:
        """Kill the daemon, a code server or a step, whatever is there."""
        before = len(killed)
        while len(killed) == before:
            victims = of_dagster(psutil.Process(told.running.process.pid))
            with contextlib.suppress(psutil.Error, IndexError):
                victim, line = chance.choice(victims)
                victim.kill()
                killed.append(line)
            time.sleep(1)

    def wait_and_kill(told: Story, condition: Callable[[], bool], kills: int) -> None:
        for _ in range(kills):
            time.sleep(chance.uniform(5, 25))
            kill_something(told)
        told.running.wait_for(condition, 1500)

    with start_platform(tmp_path) as running:
        told = Story(running, story())
        told.drop(0, CHANGE - 1)
        wait_and_kill(told, lambda: told.scored(0, CHANGE - 1, told.champion() or -1), 3)
        told.drop(CHANGE, NOTICED - 1)
        before = told.champion()

        def served() -> bool:
            now = told.champion()
            return now != before and told.scored(CHANGE, NOTICED - 1, now or -1)

        wait_and_kill(told, served, 5)
        told.drop(NOTICED, DAYS - 1)
        wait_and_kill(told, lambda: told.scored(NOTICED, DAYS - 1, told.champion() or -1), 2)
        rate, versions = told.false_positive_rate(NOTICED, DAYS - 1)
        assert rate < 0.05
        assert versions == {told.champion()}
        assert len(killed) == KILLS, killed

        warehouse = running.platform.warehouse
        account = running.platform.account_of(told.stream)
        assert (account.missing, account.pending) == (0, 0)
        history = [one.version for one in warehouse.bundles.history(NAME, "isolation_forest")]
        assert len(history) == len(set(history)) == 2
        requests = warehouse.training_requests
        assert requests.waiting(NAME) == requests.running(NAME) == []
        promoted = [r for r in requests_of(warehouse, NAME) if "was promoted" in str(r.outcome)]
        assert [one.cause for one in promoted] == ["drift"]
        with warehouse.transactions.begin() as connection:
            twice = connection.execute(
                "SELECT fingerprint, state, created_at FROM notifications "
                "GROUP BY fingerprint, state, created_at HAVING count(*) > 1"
            ).fetchall()
        assert twice == []
