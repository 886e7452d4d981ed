"""Which writer readings go to, and what becomes of requests that it writes together."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from anomaly_platform.ingest.identity import derived_ids
from anomaly_platform.ingest.online.reading_columns import ReadingColumns
from anomaly_platform.ingest.online.readings import Reading
from anomaly_platform.ml.scoring.online import OnlineScorer
from anomaly_platform.platform import Platform
from anomaly_platform.realtime.answers import StoredColumns
from anomaly_platform.registry.bundle_index import BundleIndex
from anomaly_platform.serving.champions.models import ModelStore
from anomaly_platform.serving.routes.telemetry import REPLY
from anomaly_platform.serving.telemetry.ingest import Ingestion, Telling, open_ingestion
from anomaly_platform.streams import IIOT

pytestmark = pytest.mark.integration

START = datetime(2026, 3, 2, tzinfo=UTC)


def test_entities_that_come_bit_by_bit_do_not_all_get_one_writer(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomaly_platform.serving.telemetry.ingest._cores", lambda: 2)
    for name in ("WORTH_SHARING", "ONE_WRITERS"):
        monkeypatch.setattr(f"anomaly_platform.serving.telemetry.ingest.{name}", 20)
    last = int(START.timestamp() * 1e6) + 100

    async def send() -> None:
        async with open_ingestion(platform) as ingestion:
            for n in range(10):
                part = [Reading(f"d{k}", "m", last - 50 + n, 1.0) for k in range(9 * n, 9 * n + 10)]
                await ingestion.ingest(IIOT, part, source="api")
            everything = [Reading(f"d{k}", "m", last, 1.0) for k in range(91)]
            await ingestion.ingest(IIOT, everything, source="api")

    asyncio.run(send())
    found = _transactions(platform, last)
    assert len(found) == 2
    assert found[0] >= 0.3 * 91


def test_a_repeated_reading_does_not_part_requests_that_are_written_together(
    platform: Platform,
) -> None:
    time = int(START.timestamp() * 1e6)

    async def send() -> list[Any]:
        async with open_ingestion(platform) as ingestion:
            await asyncio.gather(*(_send(ingestion, [name], time) for name in "abc"))
            async with _queued(ingestion):
                requests = [("a", time + 1), ("b", time), ("c", time + 1)]
                sent = [asyncio.ensure_future(_send(ingestion, [a], at)) for a, at in requests]
            return await asyncio.gather(*sent)

    said = asyncio.run(send())
    assert [[one.outcome for one in answers] for answers in said] == [
        ["stored"],
        ["repeated"],
        ["stored"],
    ]
    assert [answers[0].reading.entity for answers in said] == ["a", "b", "c"]
    assert _transactions(platform, time + 1) == [2]


def test_an_answer_that_fails_leaves_the_others_theirs(
    platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    time = int(START.timestamp() * 1e6)

    def fails(stored: StoredColumns) -> Any:
        raise ArithmeticError(stored.readings.keys)

    async def send() -> list[Any]:
        async with open_ingestion(platform) as ingestion:
            await asyncio.gather(*(_send(ingestion, [name], time) for name in "abc"))
            async with _queued(ingestion):
                tells = {"a": REPLY, "b": Telling(fails, REPLY.joined), "c": REPLY}
                sent = [
                    asyncio.ensure_future(_send(ingestion, [name], time + 1, tell))
                    for name, tell in tells.items()
                ]
            return await asyncio.gather(*sent, return_exceptions=True)

    first, second, third = asyncio.run(send())
    assert isinstance(second, ArithmeticError)
    assert [b'"status":"stored"' in one.body for one in (first, third)] == [True, True]
    assert _transactions(platform, time + 1) == [3]
    assert "readings were not stored" not in caplog.text


def test_what_several_writers_say_is_said_in_the_order_of_the_readings(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomaly_platform.serving.telemetry.ingest._cores", lambda: 2)
    monkeypatch.setattr("anomaly_platform.serving.telemetry.ingest.WORTH_SHARING", 2)
    time = int(START.timestamp() * 1e6)

    async def send() -> list[Any]:
        async with open_ingestion(platform) as ingestion:
            await _send(ingestion, "abcd", time)
            columns = await _send(ingestion, "cadb", time + 1)
            # Known in one of the writers, so that both tell of readings one by one.
            await _send(ingestion, "a", time + 2)
            return [columns, await _send(ingestion, "cadb", time + 2)]

    columns, answers = asyncio.run(send())
    said = json.loads(columns.body)["readings"]
    ids = derived_ids([(name, "m") for name in "cadb"], [time + 1] * 4)
    assert [one["event_id"] for one in said] == list(map(str, ids))
    assert _transactions(platform, time + 1) == [2, 2]
    assert [one.reading.entity for one in answers] == list("cadb")
    assert [one.outcome for one in answers] == ["stored", "repeated", "stored", "stored"]


@pytest.mark.parametrize(
    ("most", "metrics", "sizes"),
    [(40, 1, [50, 50]), (100, 4, [50, 50]), (1000, 1, [100, 0])],
)
def test_the_first_writer_gets_as_many_series_as_it_has_room_for(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, most: int, metrics: int, sizes: list[int]
) -> None:
    monkeypatch.setattr("anomaly_platform.serving.telemetry.ingest._cores", lambda: 2)
    models = ModelStore(platform, budget_bytes=2**20)
    held = SimpleNamespace(bundle=object(), lane_models=most)
    monkeypatch.setattr(models, "metrics", lambda _: held)
    ingestion = Ingestion(platform.online_ingest, models)
    lanes: list[int] = []
    for n in range(10):
        keys = [(f"d{10 * n + k}", f"m{m}") for k in range(10) for m in range(metrics)]
        lanes += ingestion._lanes_of(IIOT, keys)[::metrics]
    assert [lanes.count(0), lanes.count(1)] == sizes


@pytest.mark.parametrize("refused", [False, True], ids=["stored", "refused"])
def test_a_version_that_serves_no_longer_is_held_by_no_writer(
    trained_platform: Platform, monkeypatch: pytest.MonkeyPatch, refused: bool
) -> None:
    models = ModelStore(trained_platform, budget_bytes=2**24)
    time = int(START.timestamp() * 1e6)

    async def promote() -> bool:
        await models.refresh()
        ingestion = Ingestion(trained_platform.online_ingest, models)
        ingestion.start()
        served = weakref.ref(models.metrics(IIOT.name))
        with monkeypatch.context() as patched, suppress(ArithmeticError):
            if refused:
                patched.setattr(OnlineScorer, "judge", _fails)
            await _send(ingestion, ["writer-1"], time)
        # Where models are deleted, the same bundle serves as another version would.
        deleted = frozenset({("silent-1", "temperature")})
        monkeypatch.setattr(BundleIndex, "deleted_series", lambda *_: deleted)
        swaps = models.swaps
        await models.refresh()
        assert models.swaps > swaps
        # The writers wait for readings.
        is_forgotten = served() is None
        await ingestion.stop()
        return is_forgotten

    gc.collect()
    gc.disable()
    try:
        assert asyncio.run(promote())
    finally:
        gc.enable()


def _fails(*_: object) -> None:
    raise ArithmeticError


def _transactions(platform: Platform, time: int) -> list[int]:
    """Return of how many readings of a time each transaction wrote."""
    with platform.warehouse.transactions.begin() as connection:
        found = connection.execute(
            "SELECT count(*) FROM online_readings WHERE event_time = "
            "'epoch'::timestamptz + %s * interval '1 microsecond' "
            "GROUP BY xmin::text ORDER BY 1",
            (time,),
        ).fetchall()
    return [count for (count,) in found]


async def _send(
    ingestion: Ingestion, entities: Sequence[str], time: int, tell: Telling[Any, Any] = REPLY
) -> Any:
    """Send a reading of each entity, as the API does."""
    readings = ReadingColumns.of([Reading(entity, "m", time, 1.0) for entity in entities])
    return await ingestion.ingest_columns(IIOT, readings, source="api", telling=tell)


@asynccontextmanager
async def _queued(ingestion: Ingestion) -> AsyncIterator[None]:
    """Have requests wait that are sent within, and go together at the end."""
    await ingestion.stop()
    yield
    # Each is put into its queue before it waits for the first time.
    await asyncio.sleep(0)
    ingestion.start()
