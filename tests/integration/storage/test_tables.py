"""Partitions, quarantine, series and monitoring: each replaces its own share and no more."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import polars as pl
import pytest

from anomaly_platform.storage.lake.lake import Lake
from anomaly_platform.storage.postgres.transactions import StaleInput
from anomaly_platform.storage.tables.partitions import referenced_paths
from anomaly_platform.warehouse import Warehouse
from tests.builders.models import FOREST, path_of, register
from tests.builders.tables import count, rows_of

pytestmark = pytest.mark.integration

DAY = dt.date(2026, 1, 5)
NEXT = DAY + dt.timedelta(days=1)


def referenced(warehouse: Warehouse) -> set[str]:
    with warehouse.transactions.begin() as connection:
        return referenced_paths(connection)


def rejects(*numbers: int, digest: str = "a", reason: str = "bad") -> pl.DataFrame:
    return pl.DataFrame(
        {
            "digest": [digest] * len(numbers),
            "row_number": numbers,
            "column": ["cpu"] * len(numbers),
            "field": ["value"] * len(numbers),
            "reason": [reason] * len(numbers),
            "raw": ['{"value": "x"}'] * len(numbers),
        },
        schema_overrides={"row_number": pl.Int64},
    )


def extents(
    *series: tuple[str, int], day: dt.date = DAY, hours: tuple[int, int] = (1, 20)
) -> pl.DataFrame:
    midnight = dt.datetime.combine(day, dt.time(), dt.UTC)
    return pl.DataFrame(
        {
            "entity": [entity for entity, _ in series],
            "metric": ["cpu"] * len(series),
            "rows": [rows for _, rows in series],
            "first_event": [midnight + dt.timedelta(hours=hours[0])] * len(series),
            "last_event": [midnight + dt.timedelta(hours=hours[1])] * len(series),
        },
        schema={
            "entity": pl.String,
            "metric": pl.String,
            "rows": pl.UInt32,
            "first_event": pl.Datetime("us", "UTC"),
            "last_event": pl.Datetime("us", "UTC"),
        },
    )


def test_a_partition_shows_the_file_with_the_newest_input(warehouse: Warehouse) -> None:
    def publish(path: str, watermark: int, partition: str = "2026-01-05") -> None:
        warehouse.partitions.publish(
            "ems",
            "features",
            partition,
            path=path,
            rows=1,
            watermark=watermark,
            stats={"of": path},
        )

    assert warehouse.partitions.get("ems", "features", "2026-01-05") is None
    publish("one", 5)
    publish("two", 5)
    with pytest.raises(StaleInput, match="newer input than 4"):
        publish("three", 4)
    publish("next", 1, "2026-01-06")
    found = warehouse.partitions.get("ems", "features", "2026-01-05")
    assert found is not None
    assert (found.path, found.watermark, found.stats) == ("two", 5, {"of": "two"})
    between = warehouse.partitions.between("ems", "features", "2026-01-01", "2026-01-31")
    assert [one.path for one in between] == ["two", "next"]
    assert warehouse.partitions.between("ems", "validated", "2026-01-01", "2026-01-31") == []


def test_what_any_row_refers_to_is_no_garbage(warehouse: Warehouse) -> None:
    warehouse.partitions.publish("ems", "features", "d", path="f", rows=0, watermark=0)
    warehouse.ledger.record_ingest("ems", "a", source="a", raw_path="r", rows_in=0, days={})
    warehouse.bundles.reserve_version("ems", "isolation_forest")
    register(warehouse, "ems")
    assert referenced(warehouse) == {"f", "r", path_of("ems", FOREST, 2)}


def test_a_days_refusals_are_replaced(warehouse: Warehouse) -> None:
    quarantine = warehouse.quarantine
    quarantine.replace_day("ems", "validated", DAY, rejects(1, 2, 3))
    quarantine.replace_day("ems", "validated", NEXT, rejects(4))
    quarantine.replace_day("ems", "raw", DAY, rejects(9))
    quarantine.replace_day("ems", "validated", DAY, rejects(2, reason="worse"))
    assert sum(quarantine.reasons("ems").values()) == 3
    assert count(warehouse, "quarantine", "stage = 'validated'") == 2
    assert quarantine.reasons("ems", day=DAY) == {"bad": 1, "worse": 1}
    quarantine.replace_day("ems", "validated", DAY, rejects())
    assert quarantine.reasons("ems", day=DAY) == {"bad": 1}
    assert count(warehouse, "quarantine", "stage = 'validated'") == 1


def test_a_row_that_moves_to_another_day_is_there_once(warehouse: Warehouse) -> None:
    warehouse.quarantine.replace_day("ems", "validated", DAY, rejects(1))
    warehouse.quarantine.replace_day("ems", "validated", NEXT, rejects(1, reason="moved"))
    assert warehouse.quarantine.reasons("ems") == {"moved": 1}
    assert warehouse.quarantine.reasons("ems", day=NEXT) == {"moved": 1}


def test_series_know_their_extent_whatever_day_is_done_again(warehouse: Warehouse) -> None:
    series = warehouse.series
    series.replace_day("ems", DAY, extents(("a", 10), ("b", 5)))
    series.replace_day("ems", NEXT, extents(("a", 7), day=NEXT))
    series.replace_day("iiot", DAY, extents(("a", 1)))

    def totals() -> dict[str, tuple[int, int, int]]:
        return {
            entity: (rows, first.day, last.day)
            for entity, _, rows, first, last, _ in series.extents("ems").iter_rows()
        }

    assert totals() == {"a": (17, 5, 6), "b": (5, 5, 5)}
    series.replace_day("ems", DAY, extents(("a", 12), ("c", 3), hours=(2, 3)))
    assert totals() == {"a": (19, 5, 6), "c": (3, 5, 5)}
    series.replace_day("ems", NEXT, extents(day=NEXT))
    assert totals() == {"a": (12, 5, 5), "c": (3, 5, 5)}
    series.replace_day("ems", DAY, extents(("b", 1)))
    assert totals() == {"b": (1, 5, 5)}
    assert series.extents("iiot")["rows"].to_list() == [1]


def test_monitoring_numbers_of_a_day_are_replaced(warehouse: Warehouse) -> None:
    monitoring = warehouse.monitoring
    monitoring.replace_day("ems", DAY, {("scored", "rows"): 10, ("scored", "rate"): None})
    monitoring.replace_day("ems", NEXT, {("scored", "rows"): 1})
    monitoring.replace_day("ems", DAY, {("scored", "rows"): 11})
    monitoring.replace_day("ems", NEXT, {("scored", "rows"): 1, ("day", "rate"): 0.5})
    query = "SELECT stream, day, subject, stat, value FROM monitoring_stats ORDER BY day, subject"
    assert rows_of(warehouse, query) == [
        ("ems", DAY, "scored", "rows", 11.0),
        ("ems", NEXT, "day", "rate", 0.5),
        ("ems", NEXT, "scored", "rows", 1.0),
    ]
    assert monitoring.of_day("ems", NEXT) == {"rate": 0.5}
    assert monitoring.of_day("iiot", DAY) == {}


def test_a_crash_between_file_and_row_leaves_nothing_visible(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    lake = Lake(str(tmp_path))
    old = lake.write("features", "ems", "2026-01-05", [pl.DataFrame({"value": [1.0]})])
    warehouse.partitions.publish(
        "ems", "features", "2026-01-05", path=old.path, rows=1, watermark=1
    )
    orphan = lake.write("features", "ems", "2026-01-05", [pl.DataFrame({"value": [2.0]})])
    shown = warehouse.partitions.get("ems", "features", "2026-01-05")
    assert shown is not None
    assert lake.read(shown.path)["value"].to_list() == [1.0]
    found = lake.garbage(referenced(warehouse), older_than=dt.timedelta(0))
    assert [path for path, _ in found] == [orphan.path]
    assert lake.read(shown.path)["value"].to_list() == [1.0]
