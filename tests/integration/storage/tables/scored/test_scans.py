"""Scored days of scans on a real database: what is flagged is told once, on every scale."""

from __future__ import annotations

import datetime as dt

import pytest

from anomaly_platform.warehouse import Warehouse
from tests.builders.scored_rows import replace_day, scored_scans

pytestmark = pytest.mark.integration

DAY = dt.date(2026, 1, 6)


def replace(warehouse: Warehouse, *confidences: float, threshold: float = 0.7) -> int:
    return replace_day(
        warehouse.scan_scores,
        "barcode",
        DAY,
        [scored_scans(*confidences, day=DAY)],
        detector="fusion",
        threshold=threshold,
    ).anomalies


def detections(warehouse: Warehouse) -> list[tuple[object, ...]]:
    with warehouse.transactions.begin() as connection:
        return connection.execute(
            "SELECT id, metadata->>'event_id', score, confidence, threshold, "
            "metadata->>'explanation', anomaly_score FROM anomaly_detections "
            "WHERE metric_name = 'scans' ORDER BY timestamp"
        ).fetchall()


def test_flagged_scans_are_detections_with_the_score_behind_the_confidence(
    warehouse: Warehouse,
) -> None:
    assert replace(warehouse, 10.0, 50.0, 75.0, 100.0, threshold=0.6) == 3
    found = detections(warehouse)
    assert [row[1] for row in found] == ["e1", "e2", "e3"]
    assert [row[2] for row in found] == pytest.approx([0.6, 0.8, 1.0])
    assert [row[3] for row in found] == pytest.approx([0.0, 0.5, 1.0])
    assert {row[4:6] for row in found} == {(0.6, "why")}
    assert [row[6] for row in found] == pytest.approx([0.0, -0.5, -1.0])


def test_a_day_that_is_scored_again_replaces_its_detections_under_the_same_ids(
    warehouse: Warehouse,
) -> None:
    replace(warehouse, 60.0, 70.0)
    first = detections(warehouse)
    replace(warehouse, 10.0, 80.0)
    again = detections(warehouse)
    assert len(first) == 2
    assert [row[:2] for row in again] == [first[1][:2]]
