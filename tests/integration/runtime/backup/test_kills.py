"""Back-up and restore killed outright: what is left is nothing, refused by name, or whole."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from anomaly_platform.runtime.backup.manifest import read_manifest
from anomaly_platform.runtime.backup.unfinished import MARK
from anomaly_platform.settings import Settings
from anomaly_platform.storage.postgres.database import database_urls, ensure_databases

from .conftest import QUIETED, Homes, digests

pytestmark = pytest.mark.integration

ANOMALY = str(Path(sys.executable).with_name("anomaly"))
MOMENTS = 10

#: A line that is said, and seconds after it.
BACK_UPS = [("Landing", 0.2), ("Database application", 0.1), ("Lake", 0.05)]
RESTORES = [("Checking", 0.1), ("files of home", 0.5), ("Database application", 0.3)]


def command(settings: Settings, *arguments: str | Path) -> subprocess.Popen[str]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ANOMALY_", "DAGSTER_"))
    }
    return subprocess.Popen(
        [ANOMALY, *map(str, arguments)],
        env=environment
        | {
            "ANOMALY_HOME": str(settings.home),
            "ANOMALY_START_DATE": settings.start_date.isoformat(),
            "COLUMNS": "200",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(settings: Settings, *arguments: str | Path) -> tuple[int, str]:
    """Run a command to its end; return its exit code and what it said."""
    process = command(settings, *arguments)
    said, _ = process.communicate(timeout=600)
    return process.returncode, said


def kill_after(process: subprocess.Popen[str], line: str, seconds: float) -> None:
    """Kill a process some time after it has said something."""
    assert process.stdout is not None
    for said in process.stdout:
        if line in said:
            break
    time.sleep(seconds)
    process.kill()
    process.communicate()


def kill_at(process: subprocess.Popen[str], seconds: float) -> None:
    time.sleep(seconds)
    process.kill()
    process.communicate()


def is_whole_or_not_there(target: Path) -> bool:
    """Return whether there is a back-up, which then has everything."""
    if not target.exists():
        return False
    for one in read_manifest(target).files:
        assert (target / one.path).stat().st_size == one.size
    return True


def is_whole_or_refused(copy: Settings, tables: dict[str, str]) -> bool:
    """Return whether there is a home, which then has everything; half of one is refused."""
    if (copy.home / MARK).exists():
        code, said = finish(copy, "streams")
        assert code == 2
        assert f"{copy.home} is half a home" in said
        return False
    if not copy.home.exists() or not any(copy.home.iterdir()):
        return False
    holds(copy, tables)
    return True


def holds(copy: Settings, tables: dict[str, str]) -> None:
    ensure_databases(copy)
    there = digests(database_urls(copy).application)
    assert {name: one for name, one in there.items() if name not in QUIETED} == {
        name: one for name, one in tables.items() if name not in QUIETED
    }


def test_a_back_up_that_is_killed_leaves_none_and_the_next_one_is_whole(
    home: Settings, folder_of_homes: Path
) -> None:
    target = folder_of_homes / "killed"
    ended = 0
    for line, seconds in BACK_UPS:
        kill_after(command(home, "backup", target), line, seconds)
        if is_whole_or_not_there(target):
            ended += 1  # The machine was faster than the kill.
            shutil.rmtree(target)
    assert ended < len(BACK_UPS)
    code, said = finish(home, "backup", target)
    assert code == 0, said
    assert is_whole_or_not_there(target)
    assert not target.with_name("killed.partial").exists()


def test_a_restore_that_is_killed_leaves_what_is_refused_and_the_next_one_finishes(
    homes: Homes, backup: Path, tables: dict[str, str]
) -> None:
    copy = homes("killed-copy")
    for line, seconds in RESTORES:
        kill_after(command(copy, "restore", backup), line, seconds)
        assert not is_whole_or_refused(copy, tables)
    assert finish(copy, "restore", backup)[0] == 0
    holds(copy, tables)


@pytest.mark.stress
@pytest.mark.timeout(3600)
def test_back_ups_killed_at_ten_moments(home: Settings, folder_of_homes: Path) -> None:
    started = time.monotonic()
    assert finish(home, "backup", folder_of_homes / "timed")[0] == 0
    took = time.monotonic() - started
    for moment in range(MOMENTS):
        target = folder_of_homes / f"killed-{moment}"
        kill_at(command(home, "backup", target), took * (moment + 1) / (MOMENTS + 1))
        if not is_whole_or_not_there(target):
            assert finish(home, "backup", target)[0] == 0
            assert is_whole_or_not_there(target)


@pytest.mark.stress
@pytest.mark.timeout(3600)
def test_restores_killed_at_ten_moments(homes: Homes, backup: Path, tables: dict[str, str]) -> None:
    started = time.monotonic()
    assert finish(homes("timed-copy"), "restore", backup)[0] == 0
    took = time.monotonic() - started
    copy = homes("killed-often")
    for moment in range(MOMENTS):
        kill_at(command(copy, "restore", backup), took * (moment + 1) / (MOMENTS + 1))
        if is_whole_or_refused(copy, tables):
            copy = homes(f"killed-often-{moment}")
    assert finish(copy, "restore", backup)[0] == 0
    holds(copy, tables)
