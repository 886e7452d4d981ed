"""The embedded server starts by itself, survives what it has to, and is stopped by the last."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from anomaly_platform.storage.postgres.embedded import EmbeddedPostgres, EmbeddedPostgresError

pytestmark = pytest.mark.integration

_STARTER = """
import sys
from pathlib import Path
from anomaly_platform.storage.postgres.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]))
server.ensure_running()
print(server.data.joinpath("postmaster.pid").read_text().split()[0], flush=True)
if sys.argv[2] == "stay":
    sys.stdin.read()
"""


@pytest.fixture
def server(folder: Path) -> Iterator[EmbeddedPostgres]:
    one = EmbeddedPostgres(folder / "home", options={"fsync": "off"})
    yield one
    one.stop()


def start_elsewhere(server: EmbeddedPostgres, how: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _STARTER, str(server.home), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def postmaster(server: EmbeddedPostgres) -> int:
    return int((server.data / "postmaster.pid").read_text().split()[0])


def answer(server: EmbeddedPostgres) -> int:
    with psycopg.connect(server.url("postgres")) as connection:
        row = connection.execute("SELECT 6 * 7").fetchone()
    assert row is not None
    return int(row[0])


def test_it_starts_once_and_stops(server: EmbeddedPostgres) -> None:
    assert not server.is_running()
    server.ensure_running()
    first = postmaster(server)
    server.ensure_running()
    assert postmaster(server) == first
    assert answer(server) == 42
    with psycopg.connect(server.url("postgres")) as connection:
        shown = {
            name: connection.execute(f"SHOW {name}").fetchone()
            for name in ("max_connections", "fsync", "listen_addresses", "server_encoding")
        }
    assert int(shown["max_connections"][0]) >= 200  # type: ignore[index]
    assert shown["fsync"] == ("off",)
    assert shown["listen_addresses"] == ("",)
    assert shown["server_encoding"] == ("UTF8",)
    server.stop()
    assert not server.is_running()
    server.stop()


def test_only_its_own_user_gets_in(server: EmbeddedPostgres) -> None:
    server.ensure_running()
    assert stat.S_IMODE(server.data.stat().st_mode) == 0o700
    assert stat.S_IMODE(server.log_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(server.home.stat().st_mode) & 0o066 == 0, "passing is all others may do"
    if os.geteuid() == 0:
        assert server.data.stat().st_uid != 0


def test_processes_that_ask_at_once_get_the_same_server(server: EmbeddedPostgres) -> None:
    starters = [start_elsewhere(server, "leave") for _ in range(3)]
    pids = {starter.communicate(timeout=120)[0].strip() for starter in starters}
    assert len(pids) == 1
    assert pids == {str(postmaster(server))}


def test_it_outlives_its_starter_and_the_last_user_stops_it(server: EmbeddedPostgres) -> None:
    starter = start_elsewhere(server, "stay")
    assert starter.stdout is not None
    starter.stdout.readline()
    server.ensure_running()
    assert not server.stop_if_unused(), "the other process still uses it"
    assert answer(server) == 42
    starter.kill()
    starter.wait()
    assert answer(server) == 42
    server.ensure_running()
    assert server.stop_if_unused()
    assert not server.is_running()


def test_a_killed_server_recovers_with_what_was_committed(folder: Path) -> None:
    server = EmbeddedPostgres(folder / "home")
    server.ensure_running()
    try:
        with psycopg.connect(server.url("postgres")) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
        # A child that is busy goes on for a while after the postmaster is gone.
        busy = psycopg.connect(server.url("postgres"))
        busy.pgconn.send_query(b"SELECT pg_sleep(60)")
        os.kill(postmaster(server), signal.SIGKILL)
        server.ensure_running()
        busy.close()
        with psycopg.connect(server.url("postgres")) as connection:
            assert connection.execute("SELECT n FROM kept").fetchone() == (1,)
    finally:
        server.stop()


@pytest.mark.parametrize("content", ["", "rubbish\n", "{own}\n/elsewhere\n", "999999999\n"])
def test_a_stale_process_id_does_not_hinder(server: EmbeddedPostgres, content: str) -> None:
    server.ensure_running()
    server.stop()
    # The number may belong to any other program by now, such as this one.
    (server.data / "postmaster.pid").write_text(content.format(own=os.getpid()))
    server.ensure_running()
    assert answer(server) == 42


def test_a_half_made_data_folder_is_made_anew(server: EmbeddedPostgres) -> None:
    leftover = server.home / "postgres.new-killed"
    leftover.mkdir(parents=True)
    (leftover / "PG_VERSION").write_text("18\n")
    server.ensure_running()
    assert not leftover.exists()
    assert answer(server) == 42


@pytest.mark.parametrize("name", ["x" * 150, 'it\'s, $HOME "quoted" ü%41'])
def test_paths_that_a_socket_cannot_have(folder: Path, name: str) -> None:
    server = EmbeddedPostgres(folder / name, options={"fsync": "off"})
    server.ensure_running()
    try:
        assert answer(server) == 42
        found = server.socket_folder.stat()
        assert stat.S_IMODE(found.st_mode) == 0o700
        assert found.st_uid == server.data.stat().st_uid
    finally:
        server.stop()
    assert not (server.socket_folder.exists() and server.socket_folder != server.data)


def test_where_no_socket_has_a_place_the_error_says_what_to_shorten(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = folder / ("t" * 90)
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    server = EmbeddedPostgres(folder / ("x" * 150))
    with pytest.raises(EmbeddedPostgresError, match=r"10[37] bytes") as told:
        server.ensure_running()
    for said in (str(server.data), str(temporary), "shorter ANOMALY_HOME or TMPDIR"):
        assert said in str(told.value)
    assert not server.data.exists()


def test_a_socket_folder_of_somebody_else_is_not_used(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a folder of somebody else")
    server = EmbeddedPostgres(folder / ("x" * 150))
    server.socket_folder.mkdir()
    os.chown(server.socket_folder, 12345, 12345)
    try:
        with pytest.raises(EmbeddedPostgresError, match="belongs to somebody else"):
            server.ensure_running()
    finally:
        server.socket_folder.rmdir()
        server.stop()


def test_a_server_that_cannot_start_says_why(server: EmbeddedPostgres) -> None:
    server.ensure_running()
    server.stop()
    broken = EmbeddedPostgres(server.home, options={"max_connections": "many"})
    with pytest.raises(EmbeddedPostgresError, match="max_connections"):
        broken.ensure_running()


def test_it_waits_for_one_that_is_still_on_its_way_up(server: EmbeddedPostgres) -> None:
    server.ensure_running()
    os.kill(postmaster(server), signal.SIGSTOP)
    resumed = subprocess.Popen(["sh", "-c", f"sleep 1; kill -CONT {postmaster(server)}"])
    began = time.monotonic()
    server.ensure_running()
    assert answer(server) == 42
    assert time.monotonic() >= began
    resumed.wait()
