"""The newest label of a reading counts; a person's threshold wins; every change is audited."""

from __future__ import annotations

import datetime as dt

import psycopg
import pytest

from anomaly_platform.labelling.labels import NewLabel
from anomaly_platform.warehouse import Warehouse

pytestmark = pytest.mark.integration

AT = dt.datetime(2026, 1, 5, 12, tzinfo=dt.UTC)


def test_the_newest_label_of_a_reading_counts(warehouse: Warehouse) -> None:
    labels = warehouse.labels
    for truth in (True, False, True, False):
        labels.add_all("iiot", [NewLabel("press-1", "load", AT, truth)], labelled_by="ann")
    other = NewLabel("press-1", "load", AT + dt.timedelta(minutes=5), is_anomaly=True)
    assert labels.add_all("iiot", [other], labelled_by="bob") == 1
    assert labels.between("iiot")["is_anomaly"].to_list() == [False, True]
    assert labels.of_day("iiot", AT.date())["is_anomaly"].to_list() == [False, True]
    assert labels.of_day("iiot", AT.date() + dt.timedelta(days=1)).is_empty()
    assert labels.between("ems").is_empty()
    assert len(labels.newest("iiot")) == 5
    assert labels.newest("iiot", limit=1)[0].labelled_by == "bob"


def test_labels_written_with_sql_count_as_well(warehouse: Warehouse, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO feedback_labels (stream, entity, metric, event_time, is_anomaly, "
            "labelled_by) VALUES ('ems', 'host-1', 'cpu', '2026-01-05T12:00:00Z', false, 'carl')"
        )
    labels = warehouse.labels.between("ems").select("is_anomaly", "event_time")
    assert labels.rows() == [(False, AT)]


def test_labels_come_all_or_not_at_all(warehouse: Warehouse) -> None:
    good = NewLabel("press-1", "load", AT, is_anomaly=True)
    naive = NewLabel("press-1", "load", AT.replace(tzinfo=None), is_anomaly=True)
    empty = NewLabel(" ", "load", AT, is_anomaly=True)
    with pytest.raises(ValueError, match=r"label 2: event_time .* no time zone"):
        warehouse.labels.add_all("iiot", [good, naive], labelled_by="ann")
    with pytest.raises(ValueError, match="label 1: entity is empty"):
        warehouse.labels.add_all("iiot", [empty], labelled_by="ann")
    assert warehouse.labels.newest("iiot") == []


def test_a_persons_threshold_wins_and_changes_are_audited(warehouse: Warehouse) -> None:
    store = warehouse.labels.thresholds
    series = ("iiot", "press-1", "load")
    with warehouse.transactions.begin() as connection:
        assert store.set(connection, *series, 0.8, origin="labels", set_by="labels")
        assert not store.set(connection, *series, 0.8, origin="labels", set_by="labels")
        assert store.set(connection, *series, 0.9, origin="person", set_by="ann")
        assert not store.set(connection, *series, 0.75, origin="labels", set_by="labels")
        assert not store.clear(connection, *series, set_by="labels", origin="labels")
        for outside in (-0.1, 1.5, float("nan")):
            with pytest.raises(ValueError, match="from 0"):
                store.set(connection, *series, outside, origin="person", set_by="ann")
    found = store.all(series[0]).get((series[1], series[2]))
    assert found is not None
    assert (found.threshold, found.origin, found.set_by) == (0.9, "person", "ann")
    assert list(store.all("iiot")) == [("press-1", "load")]
    with warehouse.transactions.begin() as connection:
        assert store.clear(connection, *series, set_by="ann")
        assert not store.clear(connection, *series, set_by="ann")
        audited = connection.execute(
            "SELECT actor, action, subject, before, after FROM audit_log ORDER BY id"
        ).fetchall()
    assert store.all(series[0]) == {}
    subject = "iiot/press-1/load"
    first = {"threshold": 0.8, "origin": "labels"}
    second = {"threshold": 0.9, "origin": "person"}
    assert audited == [
        ("labels", "threshold.set", subject, None, first),
        ("ann", "threshold.set", subject, first, second),
        ("ann", "threshold.clear", subject, second, None),
    ]
