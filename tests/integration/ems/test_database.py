"""The EMS's own database offers the same as its HTTP interface."""

from __future__ import annotations

import asyncio
import datetime as dt

import psycopg
import pytest

from anomaly_platform.ems.database import EmsDatabase
from anomaly_platform.ems.records import (
    EmsError,
    EmsGarbage,
    NewAlert,
    NewEvent,
    NewMetric,
)
from anomaly_platform.settings.types import ems_names

pytestmark = pytest.mark.integration

NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)

TABLES = """
CREATE TABLE assets (id text PRIMARY KEY, name text, type text, status text);
CREATE TABLE metrics (id uuid PRIMARY KEY, "assetId" text, "metricName" text,
                      value double precision, timestamp timestamptz);
CREATE TABLE events (id uuid PRIMARY KEY, "assetId" text, type text, severity text,
                     message text, timestamp timestamptz, metadata jsonb);
CREATE TABLE alerts (id uuid PRIMARY KEY, "assetId" text, title text, severity text,
                     message text, timestamp timestamptz, metadata jsonb);
INSERT INTO assets VALUES ('host-1', 'Host 1', 'server', 'up');
"""


@pytest.fixture
def ems_url(empty_database_url: str) -> str:
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute(TABLES.encode())
    return empty_database_url


def test_everything_it_offers_and_a_key_twice_is_one_row(ems_url: str) -> None:
    metric = NewMetric(asset_id="host-1", metric_name="cpu", value=2.5, timestamp=NOON)
    event = NewEvent(
        asset_id="host-1", type="anomaly", severity="warning", message="m", timestamp=NOON,
        metadata={"score": 0.9},
    )  # fmt: skip
    alert = NewAlert(asset_id="host-1", title="t", severity="critical", message="m", timestamp=NOON)

    async def story() -> None:
        async with EmsDatabase.open(ems_url) as ems:
            assert await ems.health() == "ok"
            assert [one.id for one in await ems.assets()] == ["host-1"]
            assert (await ems.asset("host-1")) == (await ems.assets())[0]
            assert await ems.asset("host-2") is None
            for _ in range(2):
                await ems.create_metric(metric, key="one")
                await ems.create_metrics([metric, metric], key="many")
                await ems.create_event(event, key="event")
                await ems.create_alert(alert, key="alert")
            read = await ems.metrics(since=NOON, until=NOON + HOUR, metric_name="cpu")
            assert len(read) == 3
            assert len(await ems.raw_metrics(since=NOON, until=NOON + HOUR)) == 3
            assert await ems.metrics(since=NOON - HOUR, until=NOON) == []
            (found,) = await ems.events(since=NOON, until=NOON + HOUR)
            assert found.metadata == {"score": 0.9}

    asyncio.run(story())


def test_tables_that_are_called_otherwise(empty_database_url: str) -> None:
    names = ems_names(
        "assets=net.hosts, assets.id=ip, assets.status=online, assets.type=,"
        "metrics=samples, metrics.id=, metrics.assetId=host, metrics.metricName=what,"
        "metrics.timestamp=taken, events=log, events.id=no, events.type="
    )
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute(
            b"""
            CREATE SCHEMA net;
            CREATE TABLE net.hosts (ip inet PRIMARY KEY, name text, online boolean);
            CREATE TABLE samples (host inet, what text, value double precision, taken timestamptz);
            CREATE TABLE log (no uuid PRIMARY KEY, "assetId" inet, severity text, message text,
                              timestamp timestamptz, metadata jsonb);
            INSERT INTO net.hosts VALUES ('10.0.0.5', 'core', true), ('10.0.0.6', 'edge', false);
            INSERT INTO samples VALUES ('10.0.0.5', 'cpu', 2.5, '2026-03-01 12:30Z'),
                                       ('10.0.0.6', 'cpu', 3.5, '2026-03-01 12:30Z');
            """
        )
    event = NewEvent(
        asset_id="10.0.0.5", type="anomaly", severity="warning", message="m", timestamp=NOON
    )

    async def story() -> None:
        async with EmsDatabase.open(empty_database_url, names) as ems:
            assert [(one.id, one.status, one.type) for one in await ems.assets()] == [
                ("10.0.0.5", "online", None),
                ("10.0.0.6", "not online", None),
            ]
            assert (await ems.asset("10.0.0.5")) == (await ems.assets())[0]
            (one,) = await ems.metrics(since=NOON, until=NOON + HOUR, asset_id="10.0.0.6")
            assert (one.asset_id, one.metric_name, one.value) == ("10.0.0.6", "cpu", 3.5)
            assert len(await ems.raw_metrics(since=NOON, until=NOON + HOUR)) == 2
            for _ in range(2):
                await ems.create_event(event, key="once")

    asyncio.run(story())
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("SELECT count(*) FROM log").fetchone() == (1,)


def test_errors_name_what_is_wrong_and_no_password(ems_url: str) -> None:
    with psycopg.connect(ems_url, autocommit=True) as connection:
        connection.execute("INSERT INTO metrics VALUES (gen_random_uuid(), NULL, 'm', 1, now())")
        connection.execute("DROP TABLE events")

    async def read() -> None:
        async with EmsDatabase.open(ems_url) as ems:
            with pytest.raises(EmsGarbage, match="assetId"):
                await ems.metrics(since=NOON, until=dt.datetime.now(dt.UTC) + HOUR)
            with pytest.raises(EmsError, match='events: relation "events" does not exist'):
                await ems.events(since=NOON, until=NOON + HOUR)

    asyncio.run(read())

    async def reach() -> None:
        async with EmsDatabase.open("postgresql://me:hunter2@127.0.0.1:1/ems"):
            pass

    with pytest.raises(EmsError, match="cannot be reached") as caught:
        asyncio.run(reach())
    assert "hunter2" not in str(caught.value)
