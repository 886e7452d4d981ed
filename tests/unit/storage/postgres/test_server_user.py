"""Root hands the server to a user of its own, and opens no more than the way to its data."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from pathlib import Path

import pytest

from anomaly_platform.storage.postgres import server_user as module
from anomaly_platform.storage.postgres.server_user import open_program, open_way, server_user


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_an_ordinary_user_runs_the_server_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4321)
    user = server_user(tmp_path / "postgres")
    assert (user.uid, user.is_other) == (4321, False)
    assert user.process_arguments() == {}


def test_somebody_elses_data_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(PermissionError, match="belongs to another user"):
        server_user(tmp_path)


def test_root_lets_the_owner_of_the_data_run_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    os.chown(tmp_path, 4321, 4322)
    user = server_user(tmp_path)
    assert user.process_arguments() == {"user": 4321, "group": 4322, "extra_groups": []}


def test_root_takes_nobody_where_no_user_can_be_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(module, "SERVER_USER", "no-such-user-here")
    monkeypatch.setattr(subprocess, "run", refuse)
    user = server_user(tmp_path / "postgres")
    assert user.uid == pwd.getpwnam("nobody").pw_uid
    assert user.is_other


def test_the_way_is_opened_for_passing_only(tmp_path: Path) -> None:
    inner = tmp_path / "closed" / "open" / "data"
    inner.mkdir(parents=True, mode=0o700)
    (tmp_path / "closed").chmod(0o700)
    (tmp_path / "closed" / "open").chmod(0o755)
    open_way(inner)
    assert mode(tmp_path / "closed") == 0o701
    assert mode(tmp_path / "closed" / "open") == 0o755
    assert mode(inner) == 0o700, "the folder itself stays closed"


def test_an_installation_under_a_strict_umask_becomes_usable(tmp_path: Path) -> None:
    program = tmp_path / "pginstall" / "bin" / "postgres"
    program.parent.mkdir(parents=True, mode=0o700)
    program.touch(mode=0o700)
    data = program.parent / "data"
    data.touch(mode=0o600)
    open_program(tmp_path / "pginstall")
    assert mode(program) == 0o705
    assert mode(data) == 0o604
    assert mode(program.parent) == 0o705
