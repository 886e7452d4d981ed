"""What the pipeline's state is called, from its heartbeats, runs and what waits."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from anomaly_platform.platform import Platform
from anomaly_platform.queries.dagster_runs import Beat, LastRun
from anomaly_platform.serving.health.pipeline import (
    STALE_AFTER_S,
    WAITED_TOO_LONG_S,
    PipelineHealth,
    judge,
)
from anomaly_platform.settings import get_settings
from anomaly_platform.storage.postgres.database import DatabaseUrls

NOW = 1_000_000.0
ALIVE = [Beat("SENSOR", NOW - 20, False), Beat("SCHEDULER", NOW - 5, False)]
GOOD = LastRun("iiot refresh", True, NOW - 60)
BAD = LastRun("ems refresh", False, NOW - 90)


@pytest.mark.parametrize(
    ("beats", "runs", "waiting", "status", "said"),
    [
        ([], [], {}, "off", "no daemon"),
        ([], [], {"file": NOW - 5}, "degraded", "no daemon"),
        ([], [], {"reading": 5.0}, "degraded", "no daemon"),
        (ALIVE, [], {}, "ok", "no run has ended"),
        (ALIVE, [GOOD], {}, "ok", "iiot refresh"),
        (ALIVE, [GOOD, BAD], {}, "degraded", "ems refresh failed"),
        (ALIVE, [GOOD], {"file": NOW - WAITED_TOO_LONG_S - 1}, "degraded", "30 min"),
        (ALIVE, [GOOD], {"reading": WAITED_TOO_LONG_S + 1}, "degraded", "reading"),
        (ALIVE, [GOOD], {"reading": 90.0}, "ok", "daemon runs"),
        ([Beat("SENSOR", NOW - 20, True)], [GOOD], {}, "degraded", "errors"),
        (
            [*ALIVE, Beat("QUEUED_RUN_COORDINATOR", NOW - STALE_AFTER_S - 1, False)],
            [GOOD],
            {},
            "degraded",
            "queued_run_coordinator",
        ),
    ],
)
def test_what_is_said(
    beats: list[Beat], runs: list[LastRun], waiting: dict[str, Any], status: str, said: str
) -> None:
    part, _ = judge(beats, runs, **{"file": None, "reading": None, **waiting}, now=NOW)
    assert part.status == status
    assert said in part.detail
    assert (part.fix is not None) == (status == "degraded")


def test_the_part_that_is_silent_for_longest_counts() -> None:
    _, figures = judge(ALIVE, [GOOD, BAD], file=NOW - 7, reading=None, now=NOW)
    assert figures.daemon_heartbeat_seconds == 20
    assert figures.oldest_file_seconds == 7
    assert figures.last_run == "iiot refresh"
    assert figures.failing == ["ems refresh"]


def test_of_a_database_that_does_not_answer_nothing_is_claimed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Nobody listens there.
    url = "postgresql://nobody@127.0.0.1:1/nothing"
    platform = Platform(get_settings(home=tmp_path))
    monkeypatch.setitem(vars(platform), "urls", DatabaseUrls(url, url, url))
    part, figures = asyncio.run(PipelineHealth(platform).ask({}))
    assert (part.status, part.detail) == ("down", "not known while the database does not answer")
    assert figures.last_run is None
