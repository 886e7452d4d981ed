"""The process from which the API's workers are forked counts nothing and ends after them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from anomaly_platform.serving.metrics.folder import DIRECTORY_VARIABLE
from tests.builders.waiting import wait_until

PROGRAM = """
import os, signal
import anomaly_platform.serving.fork_source
print(signal.getsignal(signal.SIGTERM).name, flush=True)
if os.fork() == 0:
    print(signal.getsignal(signal.SIGTERM).name, flush=True)
    os._exit(0)
os.wait()
"""
SERVICE = """
import sys, time
from uvicorn import Config
from anomaly_platform.cli.services.workers import PatientProcess, fork_workers
if __name__ == "__main__":
    if sys.argv[1] == "forked":
        fork_workers("anomaly_platform.serving.fork_source")
    PatientProcess(Config("served:app", lifespan="off", log_config=None), []).start()
    time.sleep(600)
"""
SERVED = """
import os
print(os.getpid(), flush=True)
async def app(scope, receive, send): ...
"""
FORKED = """
import sys
from uvicorn import _subprocess
from anomaly_platform.cli.services.workers import fork_workers
fork_workers(*sys.argv[1:])
worker = _subprocess.spawn.Process(target=print, args=("served",))
worker.start()
worker.join()
print(_subprocess.spawn.get_start_method(), worker.exitcode)
"""


def test_it_is_no_worker_in_the_metrics_and_a_signal_to_all_leaves_it_alone(tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, DIRECTORY_VARIABLE: str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert told.stdout.split() == ["SIG_IGN", "SIG_DFL"]
    assert list(tmp_path.glob("counter_*.db"))
    # A worker's gauge for Redis would be 0 there.
    assert not list(tmp_path.glob("gauge_live*.db"))


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells a process of its parent's end"
)
@pytest.mark.parametrize("start", ["forked", "anew"])
def test_a_worker_ends_with_its_service(tmp_path: Path, start: str) -> None:
    (tmp_path / "service.py").write_text(SERVICE)
    (tmp_path / "served.py").write_text(SERVED)
    command = [sys.executable, str(tmp_path / "service.py"), start]
    service = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert service.stdout is not None
    worker = psutil.Process(int(service.stdout.readline()))
    parent = worker.parent()
    assert parent is not None
    ends = [worker]
    if start == "forked":
        assert parent.ppid() == service.pid
        ends.append(parent)
    else:
        assert parent.pid == service.pid
    service.kill()
    service.wait()
    service.stdout.close()
    try:
        for process in ends:
            wait_until(lambda one=process: not one.is_running() or one.status() == "zombie", 20)
    finally:
        for process in ends:
            if process.is_running():
                process.kill()


def started(*imported: str, **environment: str) -> tuple[list[str], str]:
    """Return how a worker was started, and what was logged, of an API that forks its workers."""
    told = subprocess.run(
        [sys.executable, "-c", FORKED, *imported],
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return told.stdout.split(), told.stderr


def test_workers_are_started_anew_where_none_can_be_forked(tmp_path: Path) -> None:
    assert started("json") == (["served", "forkserver", "0"], "")
    anew = ["served", "spawn", "0"]
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    assert started("json", TMPDIR=str(deep)) == (
        anew,
        "Workers share no memory, without a process to fork them from: AF_UNIX path too long\n",
    )
    outcome, said = started("json", "no_such_module")
    assert outcome == anew
    assert "could not import json and no_such_module" in said
    (tmp_path / "broken.py").write_text("raise ValueError")
    outcome, said = started("broken", PYTHONPATH=str(tmp_path))
    assert outcome == anew
    assert "Workers share no memory" in said
