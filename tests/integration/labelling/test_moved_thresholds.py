"""What people say about readings moves the thresholds of single series, and is audited."""

from __future__ import annotations

import datetime as dt

import pytest

from anomaly_platform.labelling.labels import NewLabel
from anomaly_platform.labelling.moved_thresholds import MovedThreshold, move_thresholds
from anomaly_platform.warehouse import Warehouse
from tests.builders.scored_rows import DAY, replace_day, scored

pytestmark = pytest.mark.integration

START = dt.datetime.combine(DAY, dt.time(), dt.UTC)


def move(warehouse: Warehouse) -> list[MovedThreshold]:
    return move_thresholds(warehouse.transactions, warehouse.labels, "ems", default=0.7, alpha=0.01)


def say(warehouse: Warehouse, entity: str, *, is_anomaly: bool) -> None:
    """Label the ten flagged readings of a host."""
    labels = [
        NewLabel(entity, "cpu", START + dt.timedelta(minutes=5 * row), is_anomaly)
        for row in range(10, 20)
    ]
    warehouse.labels.add_all("ems", labels, labelled_by="ann")


def test_false_alarms_raise_a_threshold_and_second_thoughts_take_it_back(
    warehouse: Warehouse,
) -> None:
    replace_day(warehouse.scores, "ems", DAY, [scored(flagged=10)])
    assert move(warehouse) == []
    say(warehouse, "host-0", is_anomaly=False)
    say(warehouse, "host-1", is_anomaly=True)
    (moved,) = move(warehouse)
    assert (moved.entity, moved.metric) == ("host-0", "cpu")
    assert moved.threshold is not None
    assert 0.9 < moved.threshold < 0.91
    assert move(warehouse) == []
    found = warehouse.labels.thresholds.all("ems").get(("host-0", "cpu"))
    assert found is not None
    assert (found.threshold, found.origin) == (moved.threshold, "labels")

    say(warehouse, "host-0", is_anomaly=True)
    assert move(warehouse) == [MovedThreshold("host-0", "cpu", None)]
    with warehouse.transactions.begin() as connection:
        row = connection.execute("SELECT count(*) FROM audit_log").fetchone()
    assert row == (2,)


def test_a_persons_threshold_is_not_moved(warehouse: Warehouse) -> None:
    replace_day(warehouse.scores, "ems", DAY, [scored(flagged=10)])
    with warehouse.transactions.begin() as connection:
        warehouse.labels.thresholds.set(
            connection, "ems", "host-0", "cpu", 0.8, origin="person", set_by="ann"
        )
    say(warehouse, "host-0", is_anomaly=False)
    assert move(warehouse) == []
    found = warehouse.labels.thresholds.all("ems").get(("host-0", "cpu"))
    assert found is not None
    assert found.threshold == 0.8
