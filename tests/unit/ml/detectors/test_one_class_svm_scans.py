"""What the one-class SVM reads of scans, and what stands out to it."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from anomaly_platform.ml.detectors.one_class_svm import FEATURES, SvmSearch
from anomaly_platform.ml.detectors.one_class_svm_scans import CalibratedSvm
from anomaly_platform.ml.features.scans.definition import ScanFeatureSet
from anomaly_platform.ml.features.scans.reference import ScanReference
from anomaly_platform.simulator.supply_network import simulate_supply_network

SEARCH = SvmSearch(nu=(0.05,), gamma=("scale",), kernel=("rbf",), rows=60, folds=2)


@pytest.fixture(scope="module")
def scans() -> pl.DataFrame:
    data = simulate_supply_network(
        events=4000, days=15, seed=3, start=datetime(2026, 1, 5, tzinfo=UTC), anomaly_rate=0.0
    )
    return ScanFeatureSet().compute(data.scans)


@pytest.fixture(scope="module")
def svm(scans: pl.DataFrame) -> CalibratedSvm:
    return CalibratedSvm.fit(scans, ScanReference(), search=SEARCH)


def test_a_move_that_nobody_made_stands_out(svm: CalibratedSvm, scans: pl.DataFrame) -> None:
    known = scans.filter(pl.col("previous_location").is_not_null())
    moves = known.filter(pl.col("place") == pl.col("previous_location")).tail(500)
    elsewhere = moves.with_columns(place=pl.lit("L999"))
    ordinary, odd = svm.judge(moves), svm.judge(elsewhere)
    column = FEATURES.index("location_transition_frequency")
    assert odd.distance[:, column].max() < np.median(ordinary.distance[:, column]) - 3.0
    assert np.median(odd.raw) > np.median(ordinary.raw)


def test_a_place_that_is_not_known_is_no_strange_move(
    svm: CalibratedSvm, scans: pl.DataFrame
) -> None:
    nowhere = scans.tail(50).with_columns(place=pl.lit(None, dtype=pl.String))
    column = FEATURES.index("location_transition_frequency")
    assert (svm.judge(nowhere).distance[:, column] > 0).all()


def test_a_verdict_depends_on_the_row_alone(svm: CalibratedSvm, scans: pl.DataFrame) -> None:
    together = svm.judge(scans.head(40)).raw
    alone = np.concatenate([svm.judge(scans[i : i + 1]).raw for i in range(40)])
    np.testing.assert_array_equal(together, alone)


def test_distances_have_the_values_of_the_scan(svm: CalibratedSvm, scans: pl.DataFrame) -> None:
    read = {"hour", "day_of_week", "time_since_last_scan", "sequence_length"}
    some = scans.tail(60)
    verdicts = svm.judge(some)
    enriched = svm.inputs.enrich(some)
    for row in range(some.height):
        found = verdicts.distances(row)
        far = [abs(one.deviations) for one in found]
        assert far == sorted(far, reverse=True)
        for one in found:
            if one.feature in {*read, "location_transition_frequency"}:
                value = enriched[one.feature][row]
                assert one.value == pytest.approx(value, abs=1e-6)
            assert (one.value > one.usual) == (one.deviations > 0) or one.deviations == 0
