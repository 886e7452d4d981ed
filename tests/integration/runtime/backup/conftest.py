"""A small home with a trained model, an embedded database, and a history in Dagster and MLflow."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from rich.console import Console

from anomaly_platform.streams import EMS
from tests.builders.platforms import drop_into
from tests.builders.readings import START, readings

if TYPE_CHECKING:
    from anomaly_platform.settings import Settings

#: What a restore changes on purpose: messages are held back.
QUIETED = {"alerts", "notifications", "deliveries"}

Homes = Callable[[str], "Settings"]


def digests(url: str) -> dict[str, str]:
    """Return a digest of the rows of every table and view, all digits of every number included."""
    # The sum of a mean's numbers would depend on which of several processes adds them up first.
    options = "-c timezone=UTC -c max_parallel_workers_per_gather=0"
    with psycopg.connect(url, options=options) as connection:
        names = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
        ).fetchall()
        found = {}
        for (name,) in names:
            ((digest,),) = connection.execute(
                "SELECT md5(coalesce(string_agg(row, chr(10) ORDER BY row COLLATE \"C\"), '')) "
                f'FROM (SELECT t::text AS row FROM "{name}" t) rows'.encode()
            ).fetchall()
            found[name] = digest
    return found


@pytest.fixture(scope="session")
def folder_of_homes() -> Iterator[Path]:
    """A folder with a short name that the embedded server's user may pass through."""
    from anomaly_platform.storage.postgres.embedded import EmbeddedPostgres

    with tempfile.TemporaryDirectory(prefix="anomaly-bk-") as name:
        yield Path(name)
        for home in Path(name).iterdir():
            if (home / "postgres").exists():
                EmbeddedPostgres(home).stop()


@pytest.fixture(scope="session")
def homes(folder_of_homes: Path) -> Homes:
    """Return settings of a home by its name."""
    from anomaly_platform.settings import get_settings

    return lambda name: get_settings(home=folder_of_homes / name, start_date=START.date())


@pytest.fixture(scope="session")
def home(homes: Homes) -> Settings:
    """The home, whose server runs. One message waits, and one file."""
    from anomaly_platform.cli.runtime import open_runtime
    from anomaly_platform.cli.streams.run import run_stream
    from anomaly_platform.notifications.outbox import Alert
    from anomaly_platform.storage.postgres.database import ensure_databases

    before = dict(os.environ)
    settings = homes("origin")
    for name in ("streams", "reference/barcode"):
        (settings.home / name).mkdir(parents=True)
    (settings.home / "streams/boilers.yaml").write_text("name: boilers\nfrequency: 5m\n")
    (settings.home / "reference/barcode/note.csv").write_text("a\n1\n")
    with open_runtime(settings) as runtime:
        platform = runtime.platform
        drop = partial(drop_into, platform)
        drop(EMS, "a.csv", readings(EMS, "host-1", days=3))
        run_stream(runtime, EMS, Console(quiet=True), train=True)
        drained = platform.mlflow_mirror.drain()
        assert (drained.done > 0, drained.error) == (True, "")
        drop(EMS, "waiting.csv", readings(EMS, "host-2", days=1))
        with platform.warehouse.transactions.begin() as connection:
            alert = Alert("storage", "storage/disk", "disk", "warning", "The disk is full")
            message = platform.outbox.raise_alert(connection, alert)
            connection.execute(
                "INSERT INTO deliveries "
                "(notification_id, channel, seq, fingerprint, created_at, next_try_at) "
                "SELECT id, 'mail', seq, fingerprint, now(), now() FROM notifications "
                "WHERE id = %s",
                (message,),
            )
    os.environ.clear()
    os.environ.update(before)
    ensure_databases(settings)
    return settings


@pytest.fixture(scope="session")
def backup(home: Settings, folder_of_homes: Path) -> Path:
    """A back-up of the home that nobody changes."""
    from anomaly_platform.runtime.backup.taking import back_up

    target = folder_of_homes / "whole"
    back_up(home, target, lambda _: None)
    return target


@pytest.fixture(scope="session")
def tables(home: Settings) -> dict[str, str]:
    """Digests of the home's tables as every test finds them."""
    from anomaly_platform.storage.postgres.database import database_urls

    return digests(database_urls(home).application)


@pytest.fixture
def own_backup(backup: Path, tmp_path: Path) -> Path:
    """A copy of the back-up that a test may damage."""
    return Path(shutil.copytree(backup, tmp_path / "back-up"))
