"""What ends everything of a home."""

from __future__ import annotations

import io
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

    noted = iter((12345, None))
    monkeypatch.setattr(running.os, "kill", gone)
    monkeypatch.setattr(running, "_platform_process", lambda _: next(noted))
    said = io.StringIO()
    running.end_everything(get_settings(home=tmp_path), Console(file=said))
    assert "Nothing runs any more" in said.getvalue()
