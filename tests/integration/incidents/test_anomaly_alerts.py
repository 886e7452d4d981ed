"""Only what is young and was not stored before alerts; one alert speaks for an entity."""

from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl
import pytest

from anomaly_platform.incidents.anomaly_alerts import (
    METRIC_ROWS,
    MOST_ENTITIES,
    SCAN_ROWS,
    DayAlerts,
)
from anomaly_platform.notifications.outbox import Outbox
from anomaly_platform.storage.tables.scored.scans import SCORED_SCANS
from anomaly_platform.warehouse import Warehouse
from tests.builders.scored_rows import DAY, replace_day, scored

pytestmark = pytest.mark.integration

#: The last of twenty readings, five minutes apart from midnight on, is at 01:35.
LAST = dt.datetime(2026, 1, 5, 1, 35, tzinfo=dt.UTC)
SOON = LAST + dt.timedelta(minutes=5)


def store(
    warehouse: Warehouse, frame: pl.DataFrame, now: dt.datetime = SOON, watermark: int = 1
) -> None:
    alerts = DayAlerts(Outbox(), "ems", "Hosts", DAY, METRIC_ROWS, now)
    replace_day(warehouse.scores, "ems", DAY, [frame], watermark=watermark, alerts=alerts)


def told(warehouse: Warehouse) -> list[dict[str, Any]]:
    with warehouse.transactions.begin() as connection:
        rows = connection.execute(
            "SELECT subject, severity, state, title, body FROM notifications ORDER BY seq"
        ).fetchall()
    names = ("subject", "severity", "state", "title", "body")
    return [dict(zip(names, row, strict=True)) for row in rows]


def test_one_alert_per_entity_with_its_worst_reading_and_causes(warehouse: Warehouse) -> None:
    frame = scored(2, flagged=3)
    worst = pl.col("event_time") == LAST - dt.timedelta(minutes=5)
    store(
        warehouse,
        frame.with_columns(pl.when(worst).then(0.95).otherwise("score").alias("score")),
    )
    first, second = told(warehouse)
    assert (first["subject"], second["subject"]) == ("host-0", "host-1")
    assert first["severity"] == "critical"
    details = first["body"]["details"]
    assert details["anomalies"] == 3
    assert (details["score"], details["metric"]) == (0.95, "cpu")
    assert details["causes"] == [{"metric": "cpu"}]
    assert first["title"] == "Hosts: cpu of host-0 is unusual"


def test_scoring_again_alerts_nobody_and_new_readings_do(warehouse: Warehouse) -> None:
    early = scored(1, flagged=0, rows=19)
    store(warehouse, early)
    assert told(warehouse) == []
    # Another champion thinks otherwise of what was stored, which is no news.
    store(warehouse, scored(1, flagged=5, rows=19), watermark=2)
    assert told(warehouse) == []
    store(warehouse, scored(1, flagged=1, rows=20), watermark=3)
    assert [one["subject"] for one in told(warehouse)] == ["host-0"]


def test_what_is_older_than_an_hour_alerts_nobody(warehouse: Warehouse) -> None:
    store(warehouse, scored(1), now=LAST + dt.timedelta(minutes=61))
    assert told(warehouse) == []
    store(warehouse, scored(2), now=LAST + dt.timedelta(days=30), watermark=2)
    assert told(warehouse) == []


def test_the_score_of_the_whole_decides_where_there_is_one(warehouse: Warehouse) -> None:
    frame = scored(2).with_columns(
        pl.lit(0.9).alias("entity_score"),
        (pl.col("entity") == "host-1").alias("entity_is_anomaly"),
    )
    store(warehouse, frame)
    assert [(one["subject"], one["title"]) for one in told(warehouse)] == [
        ("host-1", "Hosts: host-1 is unusual")
    ]


def test_alerts_share_the_fate_of_the_day(warehouse: Warehouse) -> None:
    def chunks() -> Any:
        yield scored(2)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="disk"):
        replace_day(
            warehouse.scores,
            "ems",
            DAY,
            chunks(),
            alerts=DayAlerts(Outbox(), "ems", "Hosts", DAY, METRIC_ROWS, SOON),
        )
    assert told(warehouse) == []
    assert warehouse.scores.count_rows("ems", DAY) == 0


def test_an_hour_of_ordinary_readings_ends_an_alert_and_silence_does_not(
    warehouse: Warehouse,
) -> None:
    store(warehouse, scored(1))
    with warehouse.transactions.begin() as connection:
        connection.execute("UPDATE alerts SET last_seen_at = %s", (SOON,))

    def of_later(rows: int) -> pl.DataFrame:
        frame = scored(1, flagged=0, rows=rows)
        return frame.filter(pl.col("event_time") > LAST)

    later = SOON + dt.timedelta(minutes=90)
    store(warehouse, scored(1, flagged=0, rows=20), now=later, watermark=2)
    assert [one["state"] for one in told(warehouse)] == ["firing"], "nothing is known since"
    store(warehouse, of_later(35), now=SOON + dt.timedelta(minutes=30), watermark=3)
    assert [one["state"] for one in told(warehouse)] == ["firing"], "too early"
    store(warehouse, of_later(39), now=later, watermark=4)
    assert [one["state"] for one in told(warehouse)] == ["firing", "resolved"]


def test_a_flood_is_told_in_bounded_words(warehouse: Warehouse) -> None:
    store(warehouse, scored(MOST_ENTITIES + 30, rows=2).with_columns(
        pl.col("event_time") + dt.timedelta(minutes=90)
    ))  # fmt: skip
    messages = told(warehouse)
    assert len(messages) == MOST_ENTITIES + 1
    (rest,) = [one for one in messages if "more are unusual" in one["title"]]
    assert rest["body"]["details"]["entities"] == 30
    with warehouse.transactions.begin() as connection:
        connection.execute("UPDATE alerts SET last_seen_at = %s", (SOON,))
    store(warehouse, scored(1, flagged=0, rows=40), SOON + dt.timedelta(minutes=90), watermark=2)
    ended = [one["title"] for one in told(warehouse) if one["state"] == "resolved"]
    assert rest["title"] in ended


def test_scans_alert_per_code(warehouse: Warehouse) -> None:
    rows = [
        {
            "epc_code": f"code-{n}",
            "event_time": LAST,
            "place": "P1",
            "final_confidence": confidence,
            "is_anomaly": confidence >= 50,
            "event_id": f"e{n}",
            "location_interpolated": False,
            "business_step_inferred": False,
            "event_type_missing": False,
            "epc_malformed": False,
            "event_type": "Inbound",
            "severity": "HIGH" if confidence >= 80 else "LOW",
            **{f"{rule}_score": 0.0 for rule in ("epc_fake", "epc_dup", "loc_err", "jump")},
            "evt_order_err_score": 0.0,
        }
        for n, confidence in enumerate((10.0, 60.0, 95.0))
    ]
    frame = pl.DataFrame(rows, schema_overrides=SCORED_SCANS.schema).select(
        pl.col(name) if name in rows[0] else pl.lit(None, kind).alias(name)
        for name, kind in SCORED_SCANS.schema.items()
    )
    for watermark in (1, 2):
        replace_day(
            warehouse.scan_scores,
            "barcode",
            DAY,
            [frame],
            watermark=watermark,
            detector="fusion",
            threshold=0.7,
            alerts=DayAlerts(Outbox(), "barcode", "Scans", DAY, SCAN_ROWS, SOON),
        )
    assert [(one["subject"], one["severity"]) for one in told(warehouse)] == [
        ("code-1", "warning"),
        ("code-2", "critical"),
    ]
