"""Kinds of streams: what a stage is told without anything being opened, and what kinds share."""

from __future__ import annotations

import warnings
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import cast

import numpy as np
import polars as pl
import pytest

from anomaly_platform.ingest.bucketing import bucket_of
from anomaly_platform.kinds.feedback import with_feedback
from anomaly_platform.kinds.findings import told
from anomaly_platform.kinds.formats import judged_by
from anomaly_platform.kinds.metric.checks import _one_by_one
from anomaly_platform.kinds.metric.kind import MetricKind
from anomaly_platform.kinds.metric.rows import series_together
from anomaly_platform.kinds.parts import Parts
from anomaly_platform.kinds.scan.kind import ScanKind
from anomaly_platform.kinds.table import kind_of
from anomaly_platform.kinds.training import begin_of_data
from anomaly_platform.registry.bundle_index import BundleRecord
from anomaly_platform.storage.tables.partitions import Partition
from anomaly_platform.streams import BARCODE, EMS, IIOT, Stream

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def no_parts() -> Parts:
    raise AssertionError("describing a stream opened something")


@pytest.mark.parametrize(
    ("stream", "kind"),
    [(EMS, MetricKind), (IIOT, MetricKind), (BARCODE, ScanKind)],
    ids=lambda one: getattr(one, "name", ""),
)
def test_a_stream_is_described_without_opening_anything(stream: Stream, kind: type) -> None:
    # Under another name it is the same kind: nothing asks a stream's name.
    found = kind_of(replace(stream, name="another"), no_parts)
    assert type(found) is kind
    assert tuple(one.detector for one in found.detectors) == stream.detectors
    assert set(found.descriptions) == {"features", "champion", "scored_events", "monitoring_stats"}
    assert set(found.scored.key) <= set(found.scored.schema)
    assert found.scored.score in found.scored.schema
    assert set(found.rows.key) <= set(found.feature_schema)
    assert {one.name for one in found.score_checks} >= {"score_range"}
    assert all(one.description for one in found.champion_checks)


def test_scans_are_one_series_and_readings_are_many() -> None:
    times = pl.Series([NOON, NOON, NOON], dtype=pl.Datetime("us", "UTC"))
    readings = pl.DataFrame({"entity": ["a", "a", "b"], "metric": "m", "event_time": times})
    found = kind_of(EMS, no_parts).rows.extents(readings)
    assert found.select("entity", "rows").rows() == [("a", 2), ("b", 1)]
    rows = kind_of(BARCODE, no_parts).rows
    scans = pl.DataFrame({"epc_code": ["a", "a", "b"], "event_time": times})
    assert rows.extents(scans).rows() == [("*", "scans", 3, NOON, NOON)]
    assert rows.extents(scans.clear()).is_empty()


def test_what_a_person_says_overrides_what_came_with_the_data() -> None:
    labels = pl.DataFrame(
        {
            "entity": ["a", "b"],
            "metric": ["scan", "scan"],
            "event_time": pl.Series([NOON, NOON], dtype=pl.Datetime("us", "UTC")),
            "is_anomaly": [True, False],
        }
    )
    scans = pl.DataFrame(
        {"epc_code": ["b", "a", "c"], "event_time": [NOON] * 3, "label": [True, None, False]},
        schema_overrides={"event_time": pl.Datetime("us", "UTC")},
    )
    found = with_feedback(scans, labels, kind_of(BARCODE, no_parts).scored.key)
    assert found["label"].to_list() == [False, True, False]
    assert found.columns == scans.columns
    readings = scans.rename({"epc_code": "entity"}).with_columns(metric=pl.lit("scan"))
    assert with_feedback(readings, labels)["label"].to_list() == [False, True, False]
    assert with_feedback(readings, labels.clear()).equals(readings)


def test_a_detector_without_a_score_has_not_judged() -> None:
    rows = pl.DataFrame({"lstm_score": [1.0, None, 3.0], "svm_score": [None] * 3})
    assert judged_by(rows, ("lstm", "svm")) == {"lstm": 2, "svm": 0}


def test_only_what_occurs_is_told_of_a_day() -> None:
    day = Partition("barcode", "scored_events", "2026-01-05", "a path", 3, 1, {}, NOON)
    assert told(day, {"are wrong": 1_200, "are right": 0}) == ["2026-01-05: 1,200 are wrong"]


def test_quality_that_was_not_measured_is_no_problem() -> None:
    assert kind_of(BARCODE, no_parts).quality.problems(None, 0.6) == (
        [],
        "nothing was measured",
    )


@pytest.mark.parametrize(
    ("stream", "figure", "meaning"),
    [
        (
            EMS,
            "median balanced accuracy is 0.879, 0.90 is wanted",
            "ordinary readings that are not",
        ),
        (BARCODE, "AUC-ROC 0.879, 0.90 is wanted", "has the higher score"),
    ],
)
def test_quality_that_is_too_low_says_what_it_is_and_what_one_can_do(
    stream: Stream, figure: str, meaning: str
) -> None:
    quality = kind_of(stream, no_parts).quality
    record = cast("BundleRecord", SimpleNamespace(metrics={quality.metric: 0.879}))
    ((problem,), seen) = quality.problems(record, 0.9)
    assert problem.startswith(f"{figure}; ")
    assert meaning in problem
    assert "may raise it" in problem
    assert quality.problems(record, 0.8) == ([], seen)


@pytest.mark.parametrize("stream", [EMS, BARCODE], ids=lambda one: one.name)
def test_what_serves_and_cannot_be_opened_fails_its_check(stream: Stream) -> None:
    # The version is in service, and its files are gone.
    bundles = SimpleNamespace(champion=lambda *_: SimpleNamespace(version=3), get=lambda *_: None)
    kind = kind_of(stream, lambda: cast("Parts", SimpleNamespace(stream=stream, bundles=bundles)))
    first = next(iter(kind.look_at_champion()))
    assert first.check == kind.champion_checks[0].name
    (problem,) = first.problems
    assert problem.endswith(f"{stream.scored_by} 3 has no files")


@pytest.mark.parametrize(("asked", "begins"), [(1, 3), (4, 4)])
def test_a_window_begins_where_it_has_data(asked: int, begins: int) -> None:
    """A window of 90 days over the second week of a stream learned from two weeks."""
    now = datetime(2026, 2, 1, tzinfo=UTC)
    days = [
        Partition("iiot", "features", f"2026-01-{day:02d}", "p", 1, 1, {}, now) for day in (4, 3, 7)
    ]
    begin = begin_of_data(days, datetime(2026, 1, asked, 12, tzinfo=UTC))
    assert begin == datetime(2026, 1, begins, 0 if asked == 1 else 12, tzinfo=UTC)


def test_series_of_several_days_are_brought_together() -> None:
    order = ["bucket", "entity", "metric", "event_time"]
    readings = pl.DataFrame(
        [
            (f"host-{host}", metric, NOON + timedelta(days=day, minutes=minute))
            for day in range(3)
            for host in range(20)
            for metric in ("cpu", "disk")
            for minute in range(host % 4)
            if (host + day) % 5
        ],
        schema=["entity", "metric", "event_time"],
        orient="row",
    )
    readings = readings.with_columns(bucket_of(readings["entity"]))
    by_day = readings.group_by(pl.col("event_time").dt.date(), maintain_order=True)
    days = [day.sort(order) for _, day in by_day]
    assert series_together(pl.concat(days)).equals(readings.sort(order))
    assert series_together(readings.clear()).equals(readings.clear())


def test_a_huge_reading_is_computed_again_as_in_the_batch_and_without_a_warning() -> None:
    values = [1.0, 1e308, 2.0, 3.0]
    readings = pl.DataFrame(
        {
            "entity": "press",
            "metric": "force",
            "event_time": [NOON + n * timedelta(minutes=5) for n in range(len(values))],
            "value": values,
        }
    )
    batch = EMS.features.compute(readings).select(EMS.features.names).cast(pl.Float64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = _one_by_one(EMS.features, readings.head(0), readings)
    assert np.array_equal(again, batch.fill_null(np.nan).to_numpy(), equal_nan=True)
