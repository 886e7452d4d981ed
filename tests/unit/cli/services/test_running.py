"""What runs in a home, and what ends it all."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from anomaly_platform.cli.services import running
from anomaly_platform.settings import get_settings


def test_what_ends_by_itself_meanwhile_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    gone = psutil.Process(process.pid)
    process.wait()
    monkeypatch.setattr(running, "_users_of", lambda _: [gone])
    said = io.StringIO()
    running.end_everything(get_settings(home=tmp_path), Console(file=said))
    assert "Nothing runs any more" in said.getvalue()


def test_a_platform_that_ends_by_itself_meanwhile_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(pid: int, number: int) -> None:
        raise ProcessLookupError

    noted = iter((running.RunningPlatform(12345, frozenset()), None))
    monkeypatch.setattr(running.os, "kill", gone)
    monkeypatch.setattr(running, "platform_of", lambda _: next(noted))
    said = io.StringIO()
    running.end_everything(get_settings(home=tmp_path), Console(file=said))
    assert "Nothing runs any more" in said.getvalue()


def test_what_runs_in_a_home_is_known_with_its_ports_as_long_as_it_runs(tmp_path: Path) -> None:
    assert running.platform_of(tmp_path) is None
    with running.only_platform_of(tmp_path, "http://127.0.0.1:3000", [3000, 8000]):
        found = running.platform_of(tmp_path)
        assert found == running.RunningPlatform(os.getpid(), frozenset({3000, 8000}))
    assert running.platform_of(tmp_path) is None
