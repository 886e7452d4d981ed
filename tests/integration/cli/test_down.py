"""`anomaly down` ends what runs in a home, and a home has one `anomaly up`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from anomaly_platform.cli.services.running import AlreadyRunningError, only_platform_of
from anomaly_platform.storage.postgres.embedded import EmbeddedPostgres
from tests.builders.commands import invoke

pytestmark = pytest.mark.integration

#: Stands for `anomaly up`: it holds the home, uses its server, and ends when it is told to.
_STAND_IN = """
import signal, sys, time
from pathlib import Path
from anomaly_platform.cli.services.running import only_platform_of
from anomaly_platform.settings import get_settings
from anomaly_platform.storage.postgres.database import ensure_databases
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
if sys.argv[1] == "up":
    with only_platform_of(get_settings().home, "http://127.0.0.1:3000"):
        ensure_databases(get_settings())
        print("ready", flush=True)
        time.sleep(300)
ensure_databases(get_settings())
print("ready", flush=True)
time.sleep(300)
"""


def _stand_in(home: Path, what: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _STAND_IN, what],
        env={**os.environ, "ANOMALY_HOME": str(home)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_second_up_is_refused_by_name_and_down_ends_all(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANOMALY_HOME", str(folder))
    up, other = _stand_in(folder, "up"), _stand_in(folder, "other")
    with (
        pytest.raises(AlreadyRunningError, match=f"process {up.pid}.*http://127.0.0.1:3000"),
        only_platform_of(folder, ""),
    ):
        pass
    said = invoke("down")
    assert f"process {up.pid}" in said
    assert f"process {other.pid}" in said
    assert (up.wait(10), other.wait(10)) == (0, 0)
    assert not EmbeddedPostgres(folder).is_running()
    assert "Nothing ran." in invoke("down")
    with only_platform_of(folder, ""):
        pass


def test_a_command_that_reads_leaves_no_server(folder: Path) -> None:
    environment = {**os.environ, "ANOMALY_HOME": str(folder)}
    for arguments in (("db", "upgrade"), ("sql", "SELECT 1"), ("alerts", "list")):
        command = [sys.executable, "-m", "anomaly_platform", *arguments]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        assert not (folder / "postgres" / "postmaster.pid").exists(), arguments
