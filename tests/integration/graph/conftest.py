"""The whole graph over a database and a lake of the test's own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from rich.console import Console

from anomaly_platform.cli.runtime import Runtime
from anomaly_platform.cli.streams.run import run_stream
from anomaly_platform.settings import Settings, get_settings
from anomaly_platform.storage.tables.progress import Account
from anomaly_platform.streams import Stream
from tests.builders.platforms import Drop, Keep, Kept, Restore, Run, drop_into, open_runtime

if TYPE_CHECKING:
    from anomaly_platform.storage.postgres.embedded import EmbeddedPostgres

#: All data here are younger. Dagster goes through every day from the first one, at every step.
FIRST_DAY = date(2026, 1, 1)


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """Settings with a home of the test's own, an empty database, and a short calendar."""
    return get_settings(home=tmp_path, database_url=database_url, start_date=FIRST_DAY)


@pytest.fixture
def runtime(settings: Settings) -> Iterator[Runtime]:
    with open_runtime(settings) as opened:
        yield opened


@pytest.fixture(scope="module")
def keep(tmp_path_factory: pytest.TempPathFactory, module_database_url: str) -> Keep:
    """Do some work once for a module: what comes of it is copied for each test, see `restore`."""

    def work_on(
        fill: Callable[[Runtime, Drop], None], streams: Sequence[Stream] | None = None
    ) -> Kept:
        home = tmp_path_factory.mktemp("kept")
        settings = get_settings(home=home, database_url=module_database_url, start_date=FIRST_DAY)
        with open_runtime(settings, streams) as runtime:
            fill(runtime, partial(drop_into, runtime.platform))
        return Kept(home, module_database_url)

    return work_on


@pytest.fixture
def restore(postgres_server: EmbeddedPostgres) -> Restore:
    """Give a platform that has not been used yet a copy of what was kept."""

    def copy_into(settings: Settings, kept: Kept) -> None:
        assert settings.database_url is not None
        url = settings.database_url.get_secret_value()
        name, template = (conninfo_to_dict(one)["dbname"] for one in (url, kept.database_url))
        with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        shutil.copytree(kept.home, settings.home, dirs_exist_ok=True)

    return copy_into


@pytest.fixture
def served(runtime: Runtime, settings: Settings, restore: Restore, trained: Kept) -> Runtime:
    """Give a test a copy of what the module has trained."""
    restore(settings, trained)
    return runtime


@pytest.fixture
def drop(runtime: Runtime) -> Drop:
    """Put a file into landing, as a user would."""
    return partial(drop_into, runtime.platform)


@pytest.fixture
def run(runtime: Runtime) -> Run:
    """Do what `anomaly run` does, and hold it to its account."""

    def bring_up_to_date(stream: Stream) -> Account:
        account = run_stream(runtime, stream, Console(quiet=True))
        assert account.missing == 0
        assert account.pending == 0
        return account

    return bring_up_to_date
