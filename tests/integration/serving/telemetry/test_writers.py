"""Which writer an entity's readings go to."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from anomaly_platform.ingest.online.readings import Reading
from anomaly_platform.platform import Platform
from anomaly_platform.serving.telemetry.ingest import open_ingestion
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
    with platform.warehouse.transactions.begin() as connection:
        found = connection.execute(
            "SELECT count(*) FROM online_readings WHERE event_time = "
            "'epoch'::timestamptz + %s * interval '1 microsecond' "
            "GROUP BY xmin::text ORDER BY 1",
            (last,),
        ).fetchall()
    assert len(found) == 2
    assert found[0][0] >= 0.3 * 91
