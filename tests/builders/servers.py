"""Servers of others, really running: a test may stop them, freeze them and start them again."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from .waiting import free_port, is_open, wait_until


def _program(name: str, package: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        pytest.skip(f"needs {name}: install the Debian package {package}")
    return found


class _Server:
    """A process that listens on a port of its own, which stays the same from start to start."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def _command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(lambda: is_open(self.port), 20)

    def stop(self) -> None:
        """Kill it, as a machine that fails does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def end(self) -> None:
        """Let it end in its own time, so that it can store what it keeps."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None


class RedisServer(_Server):
    """Redis without anything on disk."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._redis = _program("redis-server", "redis-server")
        self._folder = folder
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def _command(self) -> list[str]:
        return [
            *(self._redis, "--port", str(self.port), "--bind", "127.0.0.1"),
            *("--save", "", "--appendonly", "no", "--dir", str(self._folder)),
        ]

    def freeze(self) -> None:
        """Have it accept connections and answer nothing, as a machine that swaps does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


class Broker(_Server):
    """An MQTT broker that anybody may use, unless the lines of its configuration say otherwise."""

    def __init__(self, folder: Path, *lines: str) -> None:
        super().__init__()
        self._mosquitto = _program("mosquitto", "mosquitto")
        self._config = folder / "mosquitto.conf"
        lines = lines or ("allow_anonymous true",)
        listener = f"listener {self.port} 127.0.0.1"
        self._config.write_text("\n".join((listener, "user root", *lines, "")))

    def _command(self) -> list[str]:
        return [self._mosquitto, "-c", str(self._config)]
