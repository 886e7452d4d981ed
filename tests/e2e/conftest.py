"""The platform as a user starts it: `anomaly up`, real processes, real files."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from anomaly_platform.platform import Platform
from anomaly_platform.settings import get_settings

ANOMALY = str(Path(sys.executable).with_name("anomaly"))


@dataclass
class RunningPlatform:
    """A platform that was started by `anomaly up`."""

    home: Path
    port: int
    process: subprocess.Popen[str]
    platform: Platform

    def landing(self, stream: str) -> Path:
        return Path(self.platform.landing.folder(stream))

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> float:
        """Wait until the condition holds; return how long it took."""
        begin = time.monotonic()
        while time.monotonic() - begin < seconds:
            if condition():
                return time.monotonic() - begin
            assert self.process.poll() is None, "anomaly up ended by itself"
            time.sleep(0.5)
        raise AssertionError(f"not within {seconds:.0f} s; logs: {self.logs()}")

    def logs(self) -> str:
        return "\n".join(
            f"== {log.name}\n{log.read_text(errors='replace')[-3000:]}"
            for log in sorted((self.home / "logs").glob("*.log"))
        )

    def child(self, name: str) -> psutil.Process:
        """Return the service whose command line has `name` in it."""
        for process in psutil.Process(self.process.pid).children():
            if any(name in part for part in process.cmdline()[:6]):
                return process
        raise AssertionError(f"no service {name}")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@contextlib.contextmanager
def start_platform(home: Path) -> Iterator[RunningPlatform]:
    """Start `anomaly up` in a home of its own, with whatever streams lie in it, and stop it."""
    port, api_port = _free_ports(2)
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("ANOMALY_", "DAGSTER_"))
    }
    environment["ANOMALY_HOME"] = str(home)
    environment["ANOMALY_API_PORT"] = str(api_port)
    process = subprocess.Popen(
        [ANOMALY, "up", "--no-mlflow", "--port", str(port)],
        env=environment,
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    platform = Platform(get_settings(home=home))
    running = RunningPlatform(home, port, process, platform)
    try:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if "Stop with Ctrl-C" in line:
                break
        else:
            raise AssertionError(f"anomaly up did not start: {''.join(said)}{running.logs()}")
        yield running
    finally:
        platform.close()
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(60) == 0
        finally:
            process.kill()
        assert not psutil.pid_exists(process.pid) or process.poll() is not None


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    with start_platform(tmp_path_factory.mktemp("home")) as platform:
        yield platform
