"""Bundles get numbers once, one serves at a time, and every change is announced and kept."""

from __future__ import annotations

import datetime as dt
import json
from concurrent.futures import ThreadPoolExecutor

import polars as pl
import psycopg
import pytest

from anomaly_platform.registry.promotion import CHAMPIONS_CHANNEL, PromotionError
from anomaly_platform.warehouse import Warehouse
from tests.builders.models import FOREST, HOSTS, register

pytestmark = pytest.mark.integration

NOW = dt.datetime(2026, 1, 6, tzinfo=dt.UTC)


def challenger(warehouse: Warehouse) -> int:
    """Enter a version of three hosts, with figures that JSON has no words for."""
    return register(
        warehouse,
        "ems",
        trained_at=NOW,
        window_start=NOW - dt.timedelta(days=30),
        window_end=NOW,
        metrics={"accuracy": 0.9, "nested": {"nothing": float("nan"), "list": [float("inf")]}},
        parameters={"trees": 100},
        series=HOSTS,
    )


def models(warehouse: Warehouse, version: int) -> list[str]:
    with warehouse.transactions.begin() as connection:
        rows = connection.execute(
            "SELECT status FROM ml_models WHERE bundle_version = %s ORDER BY device_id", (version,)
        ).fetchall()
    return [row[0] for row in rows]


def test_versions_are_given_out_once(warehouse: Warehouse) -> None:
    with ThreadPoolExecutor(4) as pool:
        given = list(pool.map(lambda _: warehouse.bundles.reserve_version("ems", FOREST), range(8)))
    assert sorted(given) == list(range(1, 9))
    assert warehouse.bundles.reserve_version("iiot", FOREST) == 1


def test_a_bundle_is_registered_once_with_its_series(warehouse: Warehouse) -> None:
    version = challenger(warehouse)
    record = warehouse.bundles.get("ems", FOREST, version)
    assert record is not None
    assert (record.status, record.digest) == ("challenger", "digest-1")
    assert record.metrics == {"accuracy": 0.9, "nested": {"nothing": None, "list": [None]}}
    assert models(warehouse, version) == ["candidate", "candidate", "insufficient_history"]
    with pytest.raises(ValueError, match="not a version in training"):
        warehouse.bundles.register(
            "ems",
            FOREST,
            version,
            path="p",
            digest="d",
            trained_at=NOW,
            window_start=None,
            window_end=None,
            metrics={},
            parameters={},
            series=pl.DataFrame({"entity": [], "metric": [], "status": [], "rows": []}),
        )
    assert warehouse.bundles.get("ems", FOREST, 99) is None


def test_promotion_is_atomic_announced_and_remembered(
    warehouse: Warehouse, database_url: str
) -> None:
    first, second = challenger(warehouse), challenger(warehouse)
    assert warehouse.bundles.champion("ems", FOREST) is None
    with psycopg.connect(database_url, autocommit=True) as listener:
        listener.execute(f"LISTEN {CHAMPIONS_CHANNEL}")
        warehouse.bundles.promote_set("ems", {FOREST: first}, "the first")
        warehouse.bundles.promote_set("ems", {FOREST: second}, "better")
        champion = warehouse.bundles.champion("ems", FOREST)
        warehouse.bundles.promote_set("ems", {FOREST: second}, "again")
        notes = [json.loads(n.payload) for n in listener.notifies(timeout=5, stop_after=2)]
    assert notes == [
        {"stream": "ems", "detector": FOREST, "version": version} for version in (first, second)
    ]
    assert warehouse.bundles.champion("ems", FOREST) == champion
    assert [b.status for b in warehouse.bundles.all("ems", FOREST)] == ["champion", "retired"]
    assert models(warehouse, first) == ["inactive", "inactive", "insufficient_history"]
    assert models(warehouse, second) == ["active", "active", "insufficient_history"]
    warehouse.bundles.promote_set("ems", {FOREST: first}, "rolled back")
    assert models(warehouse, first)[0] == "active"
    history = warehouse.bundles.history("ems", FOREST)
    assert [(h.version, h.reason) for h in history] == [
        (first, "rolled back"),
        (second, "better"),
        (first, "the first"),
    ]


def test_what_cannot_serve_is_not_promoted(warehouse: Warehouse) -> None:
    with pytest.raises(PromotionError, match="no version 7"):
        warehouse.bundles.promote_set("ems", {FOREST: 7}, "?")
    version = warehouse.bundles.reserve_version("ems", FOREST)
    with pytest.raises(PromotionError, match="it is training"):
        warehouse.bundles.promote_set("ems", {FOREST: version}, "?")
    warehouse.bundles.fail("ems", FOREST, version, "out of memory")
    with pytest.raises(PromotionError, match="it is failed"):
        warehouse.bundles.promote_set("ems", {FOREST: version}, "?")
    rejected = challenger(warehouse)
    warehouse.bundles.reject("ems", FOREST, rejected, "worse than the champion")
    with pytest.raises(PromotionError, match="it is rejected"):
        warehouse.bundles.promote_set("ems", {FOREST: rejected}, "?")
    record = warehouse.bundles.get("ems", FOREST, rejected)
    assert record is not None
    assert record.reason == "worse than the champion"


def test_a_champion_is_not_failed_by_a_late_trainer(warehouse: Warehouse) -> None:
    version = challenger(warehouse)
    warehouse.bundles.promote_set("ems", {FOREST: version}, "the first")
    warehouse.bundles.fail("ems", FOREST, version, "too late")
    assert [b.status for b in warehouse.bundles.all("ems", FOREST)] == ["champion"]


def test_at_most_one_model_is_active_and_history_is_append_only(warehouse: Warehouse) -> None:
    warehouse.bundles.promote_set("ems", {FOREST: challenger(warehouse)}, "the first")
    second = challenger(warehouse)
    with (
        pytest.raises(psycopg.errors.UniqueViolation),
        warehouse.transactions.begin() as connection,
    ):
        connection.execute(
            "UPDATE ml_models SET status = 'active' WHERE bundle_version = %s", (second,)
        )
    for statement in ("DELETE FROM champion_history", "UPDATE champion_history SET reason = ''"):
        with (
            pytest.raises(psycopg.errors.RaiseException, match="append-only"),
            warehouse.transactions.begin() as connection,
        ):
            connection.execute(statement)


def test_a_version_knows_its_ancestors_and_which_series_it_has_from_them(
    warehouse: Warehouse,
) -> None:
    def made_from(parent: int | None, *days: int) -> int:
        ages = [NOW + dt.timedelta(days=day) for day in days]
        series = pl.DataFrame(
            {
                "entity": ["press-1", "press-1", "press-2"][: len(days)],
                "metric": ["load", "heat", "load"][: len(days)],
                "status": ["trained", "insufficient_history", "trained"][: len(days)],
                "rows": 500,
                "trained_at": ages,
            }
        )
        return register(warehouse, "ems", parent=parent, trained_at=max(ages), series=series)

    first = made_from(None, 0, 0)
    second = made_from(first, 0, 1)
    third = made_from(second, 0, 1, 2)
    other = made_from(None, 3, 3)
    bundles = warehouse.bundles
    assert bundles.ancestors("ems", FOREST, third) == [second, first]
    assert bundles.ancestors("ems", FOREST, other) == []
    assert bundles.ancestors("iiot", FOREST, third) == []
    heat, new = ("press-1", "heat"), ("press-2", "load")
    assert bundles.trained_since("ems", FOREST, third, second) == {new}
    assert bundles.trained_since("ems", FOREST, third, first) == {heat, new}
    assert bundles.trained_since("ems", FOREST, second, first) == {heat}
