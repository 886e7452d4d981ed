"""Another user of the machine can neither read a home nor hold anything up in it."""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from anomaly_platform.storage.own_files import tighten
from anomaly_platform.storage.postgres.embedded import EmbeddedPostgres

pytestmark = pytest.mark.integration

ANOMALY = str(Path(sys.executable).with_name("anomaly"))
#: Tries to read and to lock each path that is given, as the user `nobody`; prints what worked.
INTRUDER = """
import fcntl, json, os, sys
worked = []
for path in json.load(sys.stdin):
    try:
        names = os.listdir(path) if os.path.isdir(path) else None
        if names is None:
            descriptor = os.open(path, os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        worked.append(path)
    except (PermissionError, FileNotFoundError):
        pass
    try:
        os.close(os.open(os.path.join(path, "planted"), os.O_CREAT | os.O_WRONLY))
        worked.append(path + "/planted")
    except (PermissionError, FileNotFoundError, NotADirectoryError):
        pass
json.dump(worked, sys.stdout)
"""
#: The interpreter of this environment may lie where another user cannot pass.
PYTHON = "/usr/bin/python3"


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A home with data, made by the command itself under the most generous umask."""
    with tempfile.TemporaryDirectory(prefix="anomaly-home-") as name:
        # Only the home may keep others out.
        Path(name).chmod(0o755)
        home = Path(name) / "home"
        environment = {**os.environ, "ANOMALY_HOME": str(home)}
        for command in (
            f"simulate iiot --out {name}/sim --days 2 --entities 1",
            f"import iiot {name}/sim/iiot-2026-01-01.csv",
            "run iiot --no-train",
            f"keys create gateway --out {home}/key",
        ):
            done = subprocess.run(
                [ANOMALY, *command.split()], env=environment, umask=0, capture_output=True,
                text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr
        yield home
        EmbeddedPostgres(home).stop()


def everything(folder: Path) -> list[Path]:
    return [folder, *(path for path in folder.rglob("*") if not path.is_symlink())]


def test_every_file_and_folder_is_of_one_user(home: Path) -> None:
    found = everything(home)
    assert {"lake", "landing", "dagster", "postgres"} <= {path.name for path in home.iterdir()}
    assert any(path.suffix == ".parquet" for path in found)
    assert any(path.name.endswith(".lock") for path in found)
    # PostgreSQL's own folder is closed, whatever is in it.
    open_ones = [
        f"{stat.S_IMODE(path.stat().st_mode):o} {path.relative_to(home)}"
        for path in found
        if path.stat().st_mode & 0o077 and not path.is_relative_to(home / "postgres")
    ]
    assert open_ones == []
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "postgres").stat().st_mode) == 0o700


def test_root_gives_the_home_to_the_user_of_its_database(home: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root runs the database as somebody else")
    server = EmbeddedPostgres(home)
    server.ensure_running()
    assert home.stat().st_uid == (home / "postgres").stat().st_uid != 0
    assert (home / "postgres.lock").stat().st_uid == 0
    assert server.is_running()


def test_another_user_can_neither_read_nor_lock(home: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    nobody = pwd.getpwnam("nobody")
    assert (home / "postgres").stat().st_uid != nobody.pw_uid
    paths = [str(path) for path in everything(home)]
    done = subprocess.run(
        [PYTHON, "-c", INTRUDER], input=json.dumps(paths), user=nobody.pw_uid,
        group=nobody.pw_gid, extra_groups=[], cwd="/", capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == []
    # The intruder is no straw man: what is open to it, it takes.
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).chmod(0o644)
        done = subprocess.run(
            [PYTHON, "-c", INTRUDER], input=json.dumps([file.name]), user=nobody.pw_uid,
            group=nobody.pw_gid, extra_groups=[], cwd="/", capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        assert json.loads(done.stdout) == [file.name]


def test_an_older_home_is_tightened(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "lake/day").mkdir(parents=True)
    (home / "postgres").mkdir()
    outside = tmp_path / "outside"
    outside.touch(mode=0o644)
    for path in (home / "postgres.lock", home / "lake/day/rows.parquet", home / "postgres/file"):
        path.touch()
    (home / "link").symlink_to(outside)
    for path in everything(home):
        path.chmod(0o777 if path.is_dir() else 0o666)
    outside.chmod(0o644)
    tighten(home, without="postgres")
    modes = {
        str(path.relative_to(home)): f"{stat.S_IMODE(path.stat().st_mode):o}"
        for path in everything(home)
    }
    assert modes == {
        ".": "700", "lake": "700", "lake/day": "700", "postgres": "777", "postgres/file": "666",
        "postgres.lock": "600", "lake/day/rows.parquet": "600",
    }  # fmt: skip
    assert stat.S_IMODE(outside.stat().st_mode) == 0o644


def test_a_lock_that_was_open_to_others_is_closed_when_it_is_taken(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    lock = home / "postgres.lock"
    lock.touch()
    lock.chmod(0o666)
    with EmbeddedPostgres(home)._locked(), lock.open("rb") as other:
        assert stat.S_IMODE(lock.stat().st_mode) == 0o600
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)


def test_a_key_in_a_file_is_its_owners_and_replaces_none(home: Path) -> None:
    key = home / "key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_text()
    assert before.startswith("anomaly_")
    assert before.endswith("\n")
    done = subprocess.run(
        [ANOMALY, "keys", "create", "second", "--out", str(key)],
        env={**os.environ, "ANOMALY_HOME": str(home)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "is there already" in done.stderr
    assert key.read_text() == before
    listed = subprocess.run(
        [ANOMALY, "keys", "list"],
        env={**os.environ, "ANOMALY_HOME": str(home)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "second" not in listed.stdout, "no key was made that nobody has"
