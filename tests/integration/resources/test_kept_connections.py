"""Dagster's storage: one pool a process, dead connections replaced, ticks purged once an hour."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import psycopg
import pytest
from dagster._core.scheduler.instigation import TickStatus
from dagster._core.storage.schedules.schema import JobTickTable

from anomaly_platform.resources.instance_parts import HomeStorage
from anomaly_platform.resources.kept_connections import kept

pytestmark = pytest.mark.integration

DAY = 86_400.0
OLD = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - Dagster's column has no zone


@pytest.fixture
def url(empty_database_url: str) -> Iterator[str]:
    found = empty_database_url.replace("postgresql://", "postgresql+psycopg2://")
    yield found
    kept(found).engine.dispose()


def opened(url: str) -> int:
    """How many connections the server has seen of this database."""
    with psycopg.connect(url.replace("+psycopg2", "")) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid()"
        ).fetchone()
    assert row is not None
    return int(row[0])


def backends(storage: HomeStorage) -> list[int]:
    """The server's processes behind one question to each part."""
    found = []
    for part in (storage.run_storage, storage.schedule_storage):
        with part.connect() as connection:
            found.append(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
    with storage.event_log_storage.index_connection() as connection:
        found.append(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
    return found


def test_storages_made_one_after_the_other_share_one_connection(url: str) -> None:
    HomeStorage(url)
    seen = {pid for _ in range(5) for pid in backends(HomeStorage(url))}
    assert len(seen) == 1
    assert opened(url) == 1


def test_a_connection_that_the_server_closed_is_replaced(url: str) -> None:
    HomeStorage(url)
    (before,) = set(backends(HomeStorage(url)))
    with psycopg.connect(url.replace("+psycopg2", ""), autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", (before,))
    assert before not in backends(HomeStorage(url))


def test_tables_are_made_again_in_a_database_that_was_emptied(url: str) -> None:
    storage = HomeStorage(url)
    assert storage.run_storage.get_runs_count() == 0
    name = url.rpartition("/")[2].partition("?")[0]
    server = url.replace("+psycopg2", "").replace(f"/{name}?", "/postgres?")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
        connection.execute(f"CREATE DATABASE {name}".encode())
    HomeStorage(url)
    assert HomeStorage(url).run_storage.get_runs_count() == 0


def test_old_ticks_of_a_sensor_go_once_an_hour(url: str) -> None:
    schedules = HomeStorage(url).schedule_storage

    def add(status: TickStatus) -> None:
        with schedules.connect() as connection:
            row = {"job_origin_id": "o", "selector_id": "s", "tick_body": "{}", "type": "SENSOR"}
            connection.execute(
                JobTickTable.insert().values(status=status.value, timestamp=OLD, **row)
            )

    def left() -> int:
        with schedules.connect() as connection:
            return len(connection.execute(JobTickTable.select()).all())

    add(TickStatus.SKIPPED)
    add(TickStatus.SUCCESS)
    schedules.purge_ticks("o", "s", DAY, [TickStatus.SKIPPED])
    assert left() == 1
    add(TickStatus.SKIPPED)
    HomeStorage(url).schedule_storage.purge_ticks("o", "s", DAY, [TickStatus.SKIPPED])
    assert left() == 2
    schedules.purge_ticks("o", "s", DAY, [TickStatus.SUCCESS])
    assert left() == 1
    kept(url).purged.clear()
    schedules.purge_ticks("o", "s", DAY, [TickStatus.SKIPPED])
    assert left() == 0
