"""What looking after 10,000 series costs: a day's drift, and a training of the 200 that drifted.

    python benchmarks/upkeep.py [--series 10000] [--drifted 200]

writes the figures into docs/explanation/retraining.md.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from speed_table import machine, peak_memory

from anomaly_platform.kinds.metric.feature_drift import FeatureDrift
from anomaly_platform.kinds.metric.series_drift import (
    FleetReference,
    SeriesDrift,
    series_references,
)
from anomaly_platform.ml.bundles.bundle import Bundle
from anomaly_platform.ml.drift.features import watched_features
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.training.extending import extend_fleet
from anomaly_platform.ml.training.fit import FleetPolicy
from anomaly_platform.ml.training.fleet import train_fleet
from anomaly_platform.ml.training.manifest import Lineage
from anomaly_platform.platform import Platform
from anomaly_platform.settings import get_settings
from anomaly_platform.streams.base import RetrainingPolicy

PER_DAY = 288
TRAINED_DAYS = 3
FIRST = datetime(2026, 1, 5, tzinfo=UTC)
DAY = date(2026, 1, 8)
METRICS = 5
SERIES = {"entity": pl.String(), "metric": pl.String(), "bucket": pl.UInt8()}
NAMES = watched_features(MetricFeatureSet())
_ENTITIES_A_CHUNK = 200
_PAGE = Path(__file__).parents[1] / "docs/explanation/retraining.md"
_PART = re.compile(r"(<!-- upkeep -->\n).*?(<!-- /upkeep -->)", re.S)


def readings(entities: range, first: datetime, days: int, shift: float = 0.0) -> pl.DataFrame:
    """Return readings of some entities, five metrics each, sorted by series and time."""
    rows = days * PER_DAY
    times = pl.datetime_range(first, first + timedelta(days=days), "5m", closed="left", eager=True)
    cycle = np.sin(np.arange(rows) / PER_DAY * 2 * np.pi)
    return pl.concat(
        pl.DataFrame(
            {
                "entity": [f"host-{entity:05d}"] * rows,
                "metric": [f"metric-{metric}"] * rows,
                "event_time": times,
                "value": 50 + 10 * cycle + rng.normal(0, 1, rows) + shift,
            }
        )
        for entity in entities
        for rng in [np.random.default_rng((entity, days))]
        for metric in range(METRICS)
    )


def chunks(entities: int, first: datetime, days: int, shift: float = 0.0) -> Iterator[pl.DataFrame]:
    """Yield the readings of many entities, some entities at a time."""
    for begin in range(0, entities, _ENTITIES_A_CHUNK):
        part = range(begin, min(entities, begin + _ENTITIES_A_CHUNK))
        yield readings(part, first, days, shift)


def scored(chunk: pl.DataFrame) -> pl.DataFrame:
    """Return readings as the scored day holds them."""
    rng = np.random.default_rng(1)
    return chunk.with_columns(
        p_value=pl.Series(rng.uniform(1e-6, 1, chunk.height)),
        is_anomaly=pl.lit(value=False),
        status=pl.lit("trained"),
    )


def drift_of_a_day(platform: Platform, bundle: Bundle, entities: int) -> tuple[float, int]:
    """Measure a stored day of every series and store its drift; return seconds and rows."""
    days = {
        "scored_events": {
            **SERIES,
            "event_time": pl.Datetime("us", "UTC"),
            "value": pl.Float64(),
            "p_value": pl.Float64(),
            "is_anomaly": pl.Boolean(),
            "status": pl.String(),
        },
        "features": SERIES | dict.fromkeys(NAMES, pl.Float64()),
    }
    made = {"scored_events": scored, "features": MetricFeatureSet().compute}
    first = datetime.combine(DAY, datetime.min.time(), UTC)
    written, source = (
        platform.lake.write(
            stage,
            "ems",
            DAY.isoformat(),
            (
                made[stage](chunk)
                .with_columns(bucket=pl.lit(number % 64, pl.UInt8))
                .select(schema.keys())
                for number, chunk in enumerate(chunks(entities, first, 1))
            ),
            schema=schema,
        )
        for stage, schema in days.items()
    )
    began = time.perf_counter()
    reference = FleetReference(1, dict(series_references(bundle.series)), NAMES)
    features = FeatureDrift(RetrainingPolicy(), reference.features, reference.of_features)
    for chunk in platform.lake.chunks([source.path]):
        features.add(chunk)
    drift = SeriesDrift(RetrainingPolicy(), reference, features)
    for chunk in platform.lake.chunks([written.path]):
        drift.add(chunk)
    drift.stats()
    platform.warehouse.drift.replace_day(
        "ems", DAY, series=drift.series, features=drift.features, bundle_version=1
    )
    return time.perf_counter() - began, written.rows


def retrain(parent: Bundle, drifted: int, folder: Path) -> float:
    """Train the drifted series and share the others; return seconds."""
    features = MetricFeatureSet()
    entities = range(drifted // METRICS)
    wanted = [(f"host-{n:05d}", f"metric-{m}") for n in entities for m in range(METRICS)]
    frame = features.compute(readings(entities, FIRST + timedelta(days=3), TRAINED_DAYS, 40.0))
    began = time.perf_counter()
    lineage = Lineage(stream="ems", version="2", code_version="benchmark", parent="1")
    extend_fleet(parent, wanted, [frame], features, FleetPolicy(), folder, lineage=lineage)
    return time.perf_counter() - began


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--drifted", type=int, default=200)
    chosen = parser.parse_args()
    entities = chosen.series // METRICS
    features = MetricFeatureSet()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began = time.perf_counter()
        parent = train_fleet(
            (features.compute(chunk) for chunk in chunks(entities, FIRST, TRAINED_DAYS)),
            features,
            FleetPolicy(evaluate=False),
            folder / "parent",
            lineage=Lineage(stream="ems", version="1", code_version="benchmark"),
        )
        whole, whole_peak = time.perf_counter() - began, peak_memory() / 2**20
        platform = Platform(get_settings(home=folder / "home", database_url=None))
        try:
            seconds, rows = drift_of_a_day(platform, parent, entities)
            drift_peak = peak_memory() / 2**20
            again = retrain(parent, chosen.drifted, folder / "child")
        finally:
            platform.release()
    table = f"""
| what | time | peak memory of the process |
|---|---|---|
| a day's drift of {chosen.series:,} series ({rows:,} readings), measured and stored | \
{seconds:.1f} s | {drift_peak:,.0f} MiB |
| training {chosen.drifted} drifted series anew, {chosen.series - chosen.drifted:,} shared | \
{again:.1f} s | {peak_memory() / 2**20:,.0f} MiB |
| for comparison: training all of them without measuring their quality | {whole:.0f} s | \
{whole_peak:,.0f} MiB |

Series of {PER_DAY} readings a day, trained on {TRAINED_DAYS} days. The peak is of the whole process
up to then, the training that came before included. {machine()}
"""
    _PAGE.write_text(_PART.sub(lambda m: m[1] + table + m[2], _PAGE.read_text()))
    print(table)


if __name__ == "__main__":
    main()
