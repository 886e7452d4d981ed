"""Fixtures that every test may use: settings of its own, and a PostgreSQL that is really there.

One embedded server serves the whole session, all of its workers included; every test that asks
for a database gets a fresh copy of a migrated template.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import psycopg
import pytest

# The package is imported inside the fixtures: a worker reads this file before coverage begins, and
# what is imported by then counts as never run.
if TYPE_CHECKING:
    from anomaly_platform.settings import Settings
    from anomaly_platform.storage.postgres.embedded import EmbeddedPostgres
    from anomaly_platform.warehouse import Warehouse

_TEMPLATE = "template_migrated"
#: Time limits of the scan detectors that a busy machine keeps, too.
PATIENT = "rules=30,lstm=30,svm=30,habits=30"

# No time is stable on a busy machine: a slow example is no failing one. Where a change is let in or
# not (CI), examples are the same every time; elsewhere each run looks for new ones.
hypothesis.settings.register_profile(
    "suite",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("suite")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's environment and .env out of every test."""
    from anomaly_platform.settings import Settings

    for name in os.environ:
        if name.startswith("ANOMALY_"):
            monkeypatch.delenv(name)
    monkeypatch.setitem(Settings.model_config, "env_file", None)


@pytest.fixture(scope="session")
def postgres_server(
    tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> Iterator[EmbeddedPostgres]:
    """One server for the session; it gives up durability, which no test on it asks for."""
    from anomaly_platform.storage.postgres.embedded import EmbeddedPostgres

    if worker_id == "master":
        home = Path(tempfile.mkdtemp(prefix="anomaly-tests-"))
    else:
        # Workers of one session share the parent of their temporary folders.
        name = re.sub(r"\W", "", str(tmp_path_factory.getbasetemp().parent))[-40:]
        home = Path(tempfile.gettempdir()) / f"anomaly-tests-{name}"
        home.mkdir(exist_ok=True)
    server = EmbeddedPostgres(
        home, options={"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
    )
    server.ensure_running()
    yield server
    # The last worker to go turns off the light.
    if server.stop_if_unused():
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated_template(postgres_server: EmbeddedPostgres) -> str:
    """Name of a database with the current schema and nothing in it."""
    from anomaly_platform.settings import get_settings
    from anomaly_platform.storage.postgres.database import upgrade

    with (postgres_server.home / "template.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
            there = connection.execute(
                "SELECT 1 FROM pg_database WHERE datname = %s", (_TEMPLATE,)
            ).fetchone()
            if there is None:
                making = f"{_TEMPLATE}_{uuid.uuid4().hex[:8]}"
                url = postgres_server.url(making)
                upgrade(
                    get_settings(
                        home=postgres_server.home, database_url=url, dagster_database=making
                    )
                )
                connection.execute(f"ALTER DATABASE {making} RENAME TO {_TEMPLATE}")
    return _TEMPLATE


@contextlib.contextmanager
def copy_of(server: EmbeddedPostgres, template: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        # Where nothing is durable anyway, copying files is ten times faster than logging pages.
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        try:
            yield server.url(name)
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(postgres_server: EmbeddedPostgres, migrated_template: str) -> Iterator[str]:
    """URL of a migrated, empty database of the test's own."""
    with copy_of(postgres_server, migrated_template) as url:
        yield url


@pytest.fixture(scope="module")
def module_database_url(postgres_server: EmbeddedPostgres, migrated_template: str) -> Iterator[str]:
    """URL of a migrated, empty database that the tests of a module share."""
    with copy_of(postgres_server, migrated_template) as url:
        yield url


@pytest.fixture(scope="session")
def session_database_url(
    postgres_server: EmbeddedPostgres, migrated_template: str
) -> Iterator[str]:
    """URL of a migrated, empty database that the tests of one session's worker share."""
    with copy_of(postgres_server, migrated_template) as url:
        yield url


@pytest.fixture
def empty_database_url(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """URL of a database of the test's own without any schema."""
    with copy_of(postgres_server, "template0") as url:
        yield url


@pytest.fixture
def warehouse(database_url: str) -> Iterator[Warehouse]:
    """The tables, empty."""
    from anomaly_platform.warehouse import Warehouse

    with contextlib.closing(Warehouse(database_url)) as opened:
        yield opened


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """Settings with a home of the test's own and a migrated, empty database."""
    from anomaly_platform.settings import get_settings

    return get_settings(home=tmp_path, database_url=database_url, scan_time_limits=PATIENT)


@pytest.fixture
def local_settings(tmp_path: Path) -> Settings:
    """Settings with a home of the test's own, for tests that need no database."""
    from anomaly_platform.settings import get_settings

    return get_settings(home=tmp_path)
