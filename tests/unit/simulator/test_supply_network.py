"""The simulated supply network: same world for every seed, labels where something is wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from anomaly_platform.simulator.supply_network import simulate_supply_network
from anomaly_platform.simulator.supply_network_anomalies import KINDS

CANONICAL = {
    "event_id": pl.String,
    "epc_code": pl.String,
    "location_id": pl.String,
    "business_step": pl.String,
    "event_type": pl.String,
    "event_time": pl.Datetime("us", "UTC"),
    "file_id": pl.String,
    "scan_location": pl.String,
    "operator_id": pl.String,
    "device_id": pl.String,
    "product_name": pl.String,
    "label": pl.Boolean,
    "anomaly_kind": pl.String,
    "entity": pl.String,
}


@pytest.fixture(scope="module")
def month() -> pl.DataFrame:
    return simulate_supply_network(events=60_000, seed=3).scans


def test_scans_are_canonical_ordered_and_about_as_many_as_asked_for(month: pl.DataFrame) -> None:
    assert dict(month.schema) == CANONICAL
    assert 50_000 < len(month) < 70_000
    assert month["event_id"].n_unique() == len(month)
    assert month.select("event_time", "event_id").equals(
        month.select("event_time", "event_id").sort("event_time", "event_id")
    )
    assert month["event_time"].min() >= datetime(2025, 3, 3, tzinfo=UTC)
    assert month["event_time"].max() < datetime(2025, 4, 2, tzinfo=UTC)
    for column in ("event_id", "epc_code", "event_time", "entity", "label"):
        assert month[column].null_count() == 0


def test_the_same_seed_gives_the_same_month_and_another_seed_another() -> None:
    first, again, other = (
        simulate_supply_network(events=5_000, days=5, seed=seed) for seed in (1, 1, 2)
    )
    assert first.scans.equals(again.scans)
    assert not first.scans.equals(other.scans)
    assert first.world.locations.equals(other.world.locations)
    assert (first.world.route_weight == other.world.route_weight).all()


def test_another_network_seed_gives_another_network() -> None:
    first, other = (
        simulate_supply_network(events=1_000, days=2, network_seed=seed).world for seed in (1, 2)
    )
    assert not first.locations.equals(other.locations)


def test_every_kind_occurs_and_every_label_has_a_magnitude() -> None:
    data = simulate_supply_network(events=60_000, seed=3)
    assert set(data.incidents["kind"]) == set(KINDS)
    assert (data.incidents["magnitude"] > 0).all()
    assert len(data.incidents) == data.scans["label"].sum()
    assert data.scans.filter("label")["anomaly_kind"].null_count() == 0


def test_without_anomalies_nothing_is_labelled() -> None:
    data = simulate_supply_network(events=5_000, days=5, anomaly_rate=0.0)
    assert not data.scans["label"].any()
    assert data.incidents.is_empty()


def test_transit_takes_what_the_network_takes(month: pl.DataFrame) -> None:
    hours = (
        month.sort("epc_code", "event_time", "event_id")
        .with_columns(
            hours=(pl.col("event_time").diff().dt.total_seconds() / 3600).over("epc_code"),
            moved=(pl.col("location_id") != pl.col("location_id").shift()).over("epc_code"),
            odd=(pl.col("label") | pl.col("label").shift()).over("epc_code"),
            arrives=pl.col("event_type").str.ends_with("nbound"),
        )
        .filter("moved", "arrives", ~pl.col("odd"), pl.col("hours") <= 10.0)["hours"]
    )
    assert 4.8 < hours.mean() < 5.8
    assert 2.2 < hours.std() < 3.0
    assert hours.min() >= 0.99


def test_reference_files_describe_58_places(tmp_path: Path) -> None:
    paths = simulate_supply_network(events=500, days=2).write(tmp_path)
    places = pl.read_csv(paths["locations"])
    assert places.columns == [
        *("location_id", "scan_location", "latitude", "longitude"),
        *("location_type", "location_hierarchy"),
    ]
    assert len(places) == 58
    assert set(places["location_hierarchy"]) == {0, 1, 2, 3}
    assert all(path.stat().st_size > 0 for path in paths.values())
    assert "label" not in pl.read_csv(paths["scans"]).columns


@pytest.mark.parametrize(
    "wrong",
    [{"days": 0}, {"events": 0}, {"anomaly_rate": 0.9}, {"start": datetime(2025, 1, 1)}],  # noqa: DTZ001
)
def test_senseless_arguments_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"must|needs"):
        simulate_supply_network(**wrong)  # type: ignore[arg-type]
