"""What the rules learn, and how right they are on a month that they never saw."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from anomaly_platform.ml.detectors.rules.detector import FIRES_AT, RULE_KINDS, RulesModel
from anomaly_platform.ml.detectors.rules.routes import RouteStatistics
from anomaly_platform.ml.features.scans.reference import ScanReference
from anomaly_platform.simulator.supply_network import SupplyNetworkData, simulate_supply_network

START = datetime(2025, 3, 3, tzinfo=UTC)


def test_routes_count_trips_and_not_scans() -> None:
    def trip(hours: float, units: int, day: int) -> list[tuple[str, str, int, int]]:
        left = int(day * 86_400e6)
        return [("A", "B", left, left + int(hours * 3.6e9) + unit) for unit in range(units)]

    rows = [row for day in range(5) for row in trip(4.0 + 0.1 * day, 100 * (day == 0) + 1, day)]
    table = pl.DataFrame(rows, schema=["from_place", "to_place", "left", "arrived"], orient="row")
    (route,) = RouteStatistics.learn(table, 5).table.iter_rows(named=True)
    assert route["trips"] == 5
    assert np.exp(route["log_hours"]) == pytest.approx(4.2, rel=1e-6)
    assert RouteStatistics.learn(table, 6).table.is_empty()


@pytest.fixture(scope="module")
def month() -> SupplyNetworkData:
    return simulate_supply_network(events=120_000, seed=2, anomaly_rate=0.1)


@pytest.fixture(scope="module")
def learned(month: SupplyNetworkData, tmp_path_factory: pytest.TempPathFactory) -> RulesModel:
    folder = tmp_path_factory.mktemp("reference")
    month.world.write_reference(folder)
    earlier = simulate_supply_network(
        events=240_000, days=60, seed=1, start=START - timedelta(days=60)
    )
    return RulesModel.fit(earlier.scans, ScanReference.read(folder))


def test_on_a_month_never_seen_every_rule_is_right(
    month: SupplyNetworkData, learned: RulesModel
) -> None:
    verdicts = learned.score(month.scans)
    for kind in RULE_KINDS:
        says = verdicts[f"{kind}_score"] >= FIRES_AT
        true = (verdicts["anomaly_kind"] == kind).fill_null(value=False)
        hits = (says & true).sum()
        assert hits >= 0.95 * true.sum(), kind
        assert hits >= 0.95 * says.sum(), kind


def test_no_rule_sees_the_subtle_kinds(month: SupplyNetworkData, learned: RulesModel) -> None:
    verdicts = learned.score(month.scans, reasons=False)
    subtle = verdicts.filter("label", ~pl.col("anomaly_kind").is_in(RULE_KINDS))
    loud = pl.max_horizontal(*(f"{kind}_score" for kind in RULE_KINDS)) >= FIRES_AT
    assert subtle.select(loud.mean()).item() < 0.02


def test_arrays_bring_the_same_verdicts_back(month: SupplyNetworkData, learned: RulesModel) -> None:
    arrays = learned.to_arrays()
    assert all(array.dtype != object for array in arrays.values())
    few = month.scans.head(2_000)
    assert_frame_equal(RulesModel.from_arrays(arrays).score(few), learned.score(few))
    for name in (
        "rules.parameters/bytes",
        "rules.routes.spread",
        "reference.steps.columns/offsets",
    ):
        with pytest.raises(ValueError, match="lacks"):
            RulesModel.from_arrays({k: v for k, v in arrays.items() if k != name})
