"""The supervisor against real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from anomaly_platform.cli.services import supervisor as module
from anomaly_platform.cli.services.supervisor import Service, Supervisor
from tests.builders.waiting import wait_until

WAITER = "import time; time.sleep(600)"


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def run_in_background(supervisor: Supervisor) -> threading.Thread:
    thread = threading.Thread(target=supervisor.run, args=(lambda: None,))
    thread.start()
    return thread


def test_restarts_what_was_killed_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FIRST_DELAY", 0.1)
    # A child of its own stands for the code server that Dagster's daemon starts.
    nested = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {WAITER!r}])\n"
        f"open({str(tmp_path / 'child')!r}, 'w').write(str(child.pid))\n"
        "time.sleep(600)\n"
    )
    said: list[str] = []
    service = Service("daemon", [sys.executable, "-c", nested], delay=0.1)
    supervisor = Supervisor([service], {}, tmp_path / "logs", said.append)
    thread = run_in_background(supervisor)
    try:
        wait_until(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text())
        first_child = int((tmp_path / "child").read_text())
        assert service.process is not None
        first = service.process.pid
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: service.process is not None and service.process.pid != first)
        wait_until(lambda: not alive(first_child))
        wait_until(lambda: (tmp_path / "child").read_text() not in {"", str(first_child)})
    finally:
        supervisor._request_stop()
        thread.join(30)
    assert any("daemon ended with -9" in line for line in said)
    # At once: what it used is stopped next, and only when nobody uses it.
    assert not alive(int((tmp_path / "child").read_text()))


def test_the_dead_whom_nobody_collects_are_not_waited_for(tmp_path: Path) -> None:
    # Its parent is this process's child, and goes on without asking after it.
    nested = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'pass'])\n"
        f"open({str(tmp_path / 'child')!r}, 'w').write(str(child.pid))\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", nested], start_new_session=True)
    try:
        wait_until(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text())
        child = psutil.Process(int((tmp_path / "child").read_text()))
        wait_until(lambda: child.status() == psutil.STATUS_ZOMBIE)
        assert module._has_group(parent)
        os.kill(parent.pid, signal.SIGKILL)
        wait_until(lambda: psutil.Process(parent.pid).status() == psutil.STATUS_ZOMBIE)
        assert not module._has_group(parent)
    finally:
        parent.kill()
        parent.wait()


def test_what_a_stop_makes_ready_is_done_while_the_services_end(tmp_path: Path) -> None:
    polite = (
        "import pathlib, signal, sys, time\n"
        f"there = pathlib.Path({str(tmp_path / 'ready')!r})\n"
        "def end(*_):\n"
        "    while not there.exists(): time.sleep(0.01)\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('up', flush=True)\n"
        "time.sleep(600)\n"
    )
    said: list[str] = []
    supervisor = Supervisor(
        [Service("web", [sys.executable, "-c", polite])],
        {},
        tmp_path / "logs",
        said.append,
        on_stop=(tmp_path / "ready").touch,
    )
    thread = run_in_background(supervisor)
    log = tmp_path / "logs" / "web.log"
    wait_until(lambda: log.exists() and "up" in log.read_text())
    supervisor._request_stop()
    thread.join(60)
    assert not thread.is_alive()
    assert len(said) == 1, "nothing had to be killed"


def test_children_see_the_environment_and_write_to_their_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", f"import os; print(os.environ['SEEN'], flush=True); {WAITER}"]
    supervisor = Supervisor(
        [Service("web", command)], {"SEEN": "yes"}, tmp_path / "logs", lambda _: None
    )
    thread = run_in_background(supervisor)
    log = tmp_path / "logs" / "web.log"
    wait_until(lambda: log.exists() and "yes" in log.read_text())
    supervisor._request_stop()
    thread.join(30)
    assert not thread.is_alive()


def test_what_does_not_stop_is_killed_together_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The polite one needs none, but its turn on a busy machine.
    monkeypatch.setattr(module, "_GRACE_SECONDS", 3.0)
    # As in a background job, of which services would inherit it.
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('deaf', flush=True); time.sleep(600)"
    )
    said: list[str] = []
    services = [Service(name, [sys.executable, "-c", deaf]) for name in ("one", "two")]
    services.append(Service("polite", [sys.executable, "-c", WAITER]))
    logs = tmp_path / "logs"
    supervisor = Supervisor(services, {}, logs, said.append)
    thread = run_in_background(supervisor)
    try:
        both = [logs / "one.log", logs / "two.log"]
        wait_until(lambda: all(log.exists() and log.read_text() for log in both))
        pids = [service.process.pid for service in services if service.process is not None]
    finally:
        supervisor._request_stop()
        thread.join(30)
        signal.signal(signal.SIGTERM, before)
    assert not thread.is_alive()
    assert said[0].startswith("Stopping one, two, polite;")
    assert said[1].startswith("one, two did not stop in time")
    wait_until(lambda: not any(alive(pid) for pid in pids))
