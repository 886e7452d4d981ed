"""Injected anomalies: known, seeded, and like what they are compared with."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from anomaly_platform.ml.features.scans.definition import ScanFeatureSet
from anomaly_platform.ml.training.scan_quality import inject_scans, measure
from anomaly_platform.simulator.supply_network import simulate_supply_network

FEATURES = ScanFeatureSet()


@pytest.fixture(scope="module")
def scans() -> pl.DataFrame:
    network = simulate_supply_network(
        events=1_500, days=10, seed=1, start=datetime(2026, 1, 5, tzinfo=UTC)
    )
    return FEATURES.compute(network.scans)


def test_one_late_scan_of_some_codes_is_changed_and_nothing_else(scans: pl.DataFrame) -> None:
    held = inject_scans(scans, FEATURES, seed=3)
    assert held.injected.any()
    assert (held.judged & held.injected).sum() == held.injected.sum()
    odd = held.scans.filter(pl.Series(held.injected))
    assert odd["epc_code"].is_unique().all()
    key = ["event_id", "event_time", "location_id", "event_type"]
    same = held.scans.join(scans, on=key, how="semi", nulls_equal=True)
    assert held.scans.height - same.height == pytest.approx(held.injected.sum(), abs=2)
    others = held.scans.filter(pl.Series(held.judged & ~held.injected))
    assert not others["epc_code"].is_in(odd["epc_code"].implode()).any()
    assert (others["current_position"] > 1).all()


def test_the_seed_decides(scans: pl.DataFrame) -> None:
    one, again = (inject_scans(scans, FEATURES, seed=3) for _ in range(2))
    assert one.scans.equals(again.scans, null_equal=True)
    assert (one.injected == again.injected).all()
    assert not inject_scans(scans, FEATURES, seed=4).scans.equals(one.scans, null_equal=True)


def test_a_perfect_judge_is_measured_as_perfect(scans: pl.DataFrame) -> None:
    held = inject_scans(scans, FEATURES, seed=3)
    measured = measure(held, lambda _: (held.injected.astype(float), held.injected))
    assert measured["precision"] == measured["recall"] == measured["f1"] == 1.0
    assert measured["auc_roc"] == 1.0
    assert measured["false_positive_rate"] == 0.0
    rng = np.random.default_rng(0)
    guess = rng.random(len(held.injected))
    blind = measure(held, lambda _: (guess, guess > 0.9))
    assert blind["auc_roc"] == pytest.approx(0.5, abs=0.2)
