"""Measure a month that is judged as a stream of scans is: day after day; a part of the report.

What belongs here: a lake with the days of a month, judged one by one by the code of the stage
``scored_events``, with its look-back and nothing later, and what is found so beside what the month
judged at once finds.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import polars as pl
from barcode.learned import area, judge, labelled

from anomaly_platform.ingest.bucketing import bucket_of
from anomaly_platform.kinds.scan.rows import FEATURE_SCHEMA, in_order
from anomaly_platform.kinds.scan.scoring import judged_day
from anomaly_platform.ml.calibration.conformal import THRESHOLD
from anomaly_platform.ml.features.scans.definition import ScanFeatureSet
from anomaly_platform.ml.scans.scoring import BarcodeModels
from anomaly_platform.simulator.supply_network_anomalies import SUBTLE_KINDS
from anomaly_platform.storage.lake.lake import Lake
from anomaly_platform.storage.tables.partitions import Partition

STREAM = "scans"


@dataclass(frozen=True)
class Days:
    """The days of a stream in a lake, as far as a day's scores read them."""

    lake: Lake
    validated: dict[date, Partition]
    features: dict[date, Partition]

    @classmethod
    def of(cls, lake: Lake, scans: pl.DataFrame) -> Days:
        """Write validated scans and their features, day by day."""
        known = scans.drop("label", "anomaly_kind").with_columns(
            bucket=bucket_of(scans["epc_code"])
        )
        lacking = [name for name in FEATURE_SCHEMA if name not in ScanFeatureSet().names]
        rows = in_order(
            known.with_columns(
                pl.lit(None, dtype=FEATURE_SCHEMA[name]).alias(name)
                for name in lacking
                if name not in known.columns
            )
        )
        computed = (
            ScanFeatureSet()
            .compute(rows)
            .select(pl.col(name).cast(kind) for name, kind in FEATURE_SCHEMA.items())
        )
        stages = {"validated_events": rows, "features": in_order(computed).drop("entity")}
        written = {stage: _written(lake, stage, frame) for stage, frame in stages.items()}
        return cls(lake, written["validated_events"], written["features"])

    def history(self, day: date, last: date) -> list[Partition]:
        """Return the validated days from the look-back of a day to `last`."""
        first = day - timedelta(days=ScanFeatureSet().lookback_days)
        return [one for of, one in self.validated.items() if first <= of <= last]

    def judged(self, models: BarcodeModels, day: date) -> pl.DataFrame:
        """Judge a day as the stage ``scored_events`` does."""
        parts = SimpleNamespace(lake=self.lake, threshold=THRESHOLD)
        stream = SimpleNamespace(features=ScanFeatureSet(), name=STREAM)
        kind = SimpleNamespace(parts=parts, stream=stream, history=self.history)
        return pl.concat(
            scored for scored, _ in judged_day(cast("Any", kind), models, self.features[day])
        )


def section(models: BarcodeModels, scans: pl.DataFrame, days: Sequence[date], month: str) -> str:
    """Return the table of the days that are judged one by one, and at once.

    Parameters
    ----------
    scans
        With the look-back of the first day, and nothing after the last one.
    days
        Consecutive days.
    month
        What month it is, for people.
    """
    since = datetime.combine(days[0], datetime.min.time(), UTC)
    at_once = judge(models, scans, since)
    with tempfile.TemporaryDirectory() as folder:
        stream = Days.of(Lake(folder), scans)
        judged = pl.concat(stream.judged(models, day) for day in days)
    one_by_one = labelled(judged.drop("anomaly_kind"), scans)
    lines = [
        "## Day by day",
        "",
        f"{month}, {len(days)} days of it judged one by one, as the stage `scored_events` of a",
        "stream does it: each with its look-back of 30 days, nothing later. AUC-PR of the fusion.",
        "",
        "| kind | scans | at once | day by day | found at once | found day by day |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for kind in (None, *SUBTLE_KINDS):
        kinds = SUBTLE_KINDS if kind is None else (kind,)
        areas, found, count = [], [], 0
        for scored in (at_once, one_by_one):
            normal = scored.filter(pl.col("anomaly_kind").is_null())
            own = scored.filter(pl.col("anomaly_kind").is_in(kinds))
            areas.append(f"{area(own, normal):.3f}" if own.height else "")
            found.append(f"{own['is_anomaly'].mean():.0%}" if own.height else "")
            count = own.height
        name = "**all subtle kinds**" if kind is None else f"`{kind}`"
        lines.append(f"| {name} | {count} | {' | '.join((*areas, *found))} |")
    once, daily = (
        scored.filter(pl.col("anomaly_kind").is_null())["is_anomaly"].mean()
        for scored in (at_once, one_by_one)
    )
    same = at_once.join(one_by_one, on="event_id", suffix="_daily")
    equal = (same["final_confidence"] == same["final_confidence_daily"]).mean()
    return "\n".join(
        [
            *lines,
            "",
            f"False-positive rate: {once:.2%} at once, {daily:.2%} day by day. {equal:.1%} of the",
            "scans get the same confidence to the bit.",
            "",
        ]
    )


def _written(lake: Lake, stage: str, rows: pl.DataFrame) -> dict[date, Partition]:
    """Write a stage's rows, day by day."""
    found = {}
    for (day,), frame in rows.group_by(pl.col("event_time").dt.date(), maintain_order=True):
        path = lake.write(stage, STREAM, str(day), [frame.sort("bucket", maintain_order=True)]).path
        found[day] = Partition(
            STREAM, stage, str(day), path, frame.height, 0, {}, datetime.now(UTC)
        )
    return found
