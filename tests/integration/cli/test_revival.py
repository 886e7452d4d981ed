"""The embedded server writes out what it holds when it is asked to; without one nothing happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from anomaly_platform.cli.services.revival import Revival
from anomaly_platform.settings import get_settings
from anomaly_platform.storage.postgres.database import connect, ensure_databases, release_embedded

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
        Revival(settings).write_out()
        assert connection.execute(asked, now).fetchone() == (True,)
    release_embedded(folder)
    Revival(settings).write_out()
