"""While the platform runs its embedded server is started again, and written out when asked to."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from anomaly_platform.cli.services import revival as module
from anomaly_platform.cli.services.revival import Revival
from anomaly_platform.settings import get_settings
from anomaly_platform.storage.postgres.database import connect, ensure_databases, release_embedded
from anomaly_platform.storage.postgres.embedded import EmbeddedPostgres, EmbeddedPostgresError
from tests.builders.waiting import wait_until

pytestmark = pytest.mark.integration


def test_what_is_held_is_written_out_and_a_server_that_is_gone_is_no_error(folder: Path) -> None:
    settings = get_settings(home=folder)
    urls = ensure_databases(settings)
    with connect(urls.application, autocommit=True) as connection:
        connection.execute("CREATE TABLE written (n int)")
        asked = "SELECT redo_lsn > %s::pg_lsn FROM pg_control_checkpoint()"
        now = connection.execute("SELECT pg_current_wal_lsn()").fetchone()
        assert now is not None
        connection.execute("INSERT INTO written VALUES (1)")
        assert connection.execute(asked, now).fetchone() == (False,)
        Revival(settings, print).write_out()
        assert connection.execute(asked, now).fetchone() == (True,)
    release_embedded(folder)
    Revival(settings, print).write_out()


@dataclass
class Watched:
    """A server of this module's own, what looks after it, and what that says."""

    server: EmbeddedPostgres
    revival: Revival
    said: list[str] = field(default_factory=list)

    @property
    def postmaster(self) -> int:
        return int((self.server.data / "postmaster.pid").read_text().split()[0])


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="anomaly-pg-") as name:
        yield Path(name)
        release_embedded(Path(name))


@pytest.fixture
def watched(home: Path) -> Iterator[Watched]:
    said: list[str] = []
    one = Watched(EmbeddedPostgres(home), Revival(get_settings(home=home), said.append), said)
    one.revival.look()
    yield one
    one.revival.close()


def test_a_server_that_waits_for_its_users_to_leave_is_started_again(watched: Watched) -> None:
    old, server = watched.postmaster, watched.server
    with closing(connect(server.url("anomaly"), autocommit=True)) as user:
        os.kill(old, signal.SIGTERM)
        wait_until(lambda: not server.is_running())
        assert user.execute("SELECT 1").fetchone() == (1,)
        watched.revival.look()
    assert server.is_running()
    assert watched.postmaster != old


def test_a_server_on_its_way_down_is_waited_for_and_started_again(watched: Watched) -> None:
    old, server = watched.postmaster, watched.server
    with closing(connect(server.url("anomaly"))) as user:
        # One that does not hear keeps the server from its end.
        deaf = user.info.backend_pid
        os.kill(deaf, signal.SIGSTOP)
        hearing = subprocess.Popen(["sh", "-c", f"sleep 1; kill -CONT {deaf}"])
        os.kill(old, signal.SIGINT)
        wait_until(lambda: not server.is_running())
        watched.revival.look()
        hearing.wait()
    assert server.is_running()
    assert watched.postmaster != old
    assert not watched.said, "nothing failed"


def test_what_does_not_start_is_tried_again_before_it_is_given_up(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(module, "_MOST_TRIES", 2)
    configuration = watched.server.data / "postgresql.conf"
    right = configuration.read_text()

    def break_it() -> None:
        configuration.write_text(f"{right}\nmax_connections = many\n")
        watched.server.stop()

    break_it()
    watched.revival.look()
    assert "trying again in 0 s" in watched.said.pop()
    configuration.write_text(right)
    watched.revival.look()
    assert watched.server.is_running()
    break_it()
    watched.revival.look()
    with pytest.raises(EmbeddedPostgresError, match="max_connections"):
        watched.revival.look()
