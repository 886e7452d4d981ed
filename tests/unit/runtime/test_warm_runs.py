"""The processes of runs come from one that has imported what they need."""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import os
import sys
import time
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import psutil
import pytest

from anomaly_platform.runtime import warm_runs
from anomaly_platform.runtime.warm_runs import PRELOADED, RUN_ENDED, WarmRuns


def tell_parent(queue: Any) -> None:
    queue.put(os.getppid())


def tell_and_stay(queue: Any) -> None:
    tell_parent(queue)
    time.sleep(600)


def fail(_queue: Any) -> None:
    sys.exit(3)


@pytest.fixture
def warm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WarmRuns]:
    monkeypatch.setenv("ANOMALY_HOME", str(tmp_path))
    (tmp_path / "dagster").mkdir()
    # What is imported beforehand takes seconds, and changes nothing of the rest.
    monkeypatch.setattr(warm_runs, "PRELOADED", ())
    warm = WarmRuns(kept_s=3_600)
    yield warm
    warm.end()


def test_what_is_imported_beforehand_is_there() -> None:
    # The fork server keeps silent about modules that it does not find.
    assert [name for name in PRELOADED if importlib.util.find_spec(name) is None] == []


def test_runs_come_from_one_server_that_ends_when_none_is_left(
    warm: WarmRuns, tmp_path: Path
) -> None:
    parents = set()
    for _ in range(2):
        queue = warm.Queue()
        process = warm.Process(tell_parent, [queue])
        process.start()
        parents.add(queue.get(timeout=60))
        process.join(60)
        assert process.exitcode == 0
    (server,) = parents
    assert server != os.getpid()
    assert (tmp_path / RUN_ENDED).exists()
    warm.end()
    assert not psutil.pid_exists(server)
    warm.warm_up()
    assert forkserver._forkserver._forkserver_pid not in (None, server)  # type: ignore[attr-defined]


def test_a_run_under_way_keeps_its_server(warm: WarmRuns) -> None:
    process = warm.Process(time.sleep, [600])
    process.start()
    warm.end()
    server = psutil.Process(forkserver._forkserver._forkserver_pid)  # type: ignore[attr-defined]
    assert process.is_alive()
    process.kill()
    process.join(60)
    warm.end()
    assert not server.is_running()


def test_runs_that_have_ended_hold_no_files(warm: WarmRuns) -> None:
    def run_once() -> None:
        queue = warm.Queue()
        process = warm.Process(tell_parent, [queue])
        process.start()
        queue.get(timeout=60)
        process.join(60)

    def files() -> int:
        gc.collect()
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    for _ in range(3):
        run_once()
    before = files()
    for _ in range(10):
        run_once()
    assert files() <= before + 2


def test_runs_can_be_forked_once_a_first_process_was(warm: WarmRuns) -> None:
    assert warm.is_ready()


def test_where_none_can_be_forked_it_is_said_in_time(
    warm: WarmRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_to_start() -> None:
        raise OSError("no place for a socket")

    monkeypatch.setattr(forkserver, "ensure_running", fail_to_start)
    assert not warm.is_ready()
    monkeypatch.setattr(forkserver, "ensure_running", lambda: time.sleep(5))
    assert not warm.is_ready(patience_s=0.05)


def test_a_run_does_not_outlive_its_server(warm: WarmRuns) -> None:
    queue = warm.Queue()
    process = warm.Process(tell_and_stay, [queue])
    process.start()
    run = psutil.Process(process.pid)
    queue.get(timeout=60)
    psutil.Process(forkserver._forkserver._forkserver_pid).kill()  # type: ignore[attr-defined]
    with contextlib.suppress(psutil.NoSuchProcess):
        run.wait(30)
    assert not run.is_running() or run.status() == psutil.STATUS_ZOMBIE


def test_a_run_that_fails_tells_its_end_as_well(warm: WarmRuns, tmp_path: Path) -> None:
    process = warm.Process(fail, [None])
    process.start()
    process.join(60)
    assert process.exitcode == 3
    assert (tmp_path / RUN_ENDED).exists()


def test_no_other_process_starts_runs_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["anomaly", "up"])
    warm_runs.start_runs_warm()
    warm_runs.warm_up()
    assert warm_runs._ours == []
