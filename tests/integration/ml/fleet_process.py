"""A process that trains and scores a fleet and says what memory it took: COUNT FOLDER."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.scoring.batch import FleetScorer
from anomaly_platform.ml.training.fit import FleetPolicy
from anomaly_platform.ml.training.fleet import train_fleet
from anomaly_platform.ml.training.manifest import Lineage

FEATURES = MetricFeatureSet(windows=(6, 12, 24))
ROWS = 120
CHUNK = 100


def frames(count: int) -> Iterator[pl.DataFrame]:
    """Yield the features of `count` series, five metrics per host, a hundred series at a time."""
    for first in range(0, count, CHUNK):
        series = np.repeat(np.arange(first, first + CHUNK), ROWS)
        place = np.tile(np.arange(ROWS), CHUNK)
        value = 50 + np.random.default_rng(first).normal(0, 1, place.size)
        yield FEATURES.compute(
            pl.DataFrame({"series": series, "place": place, "value": value}).select(
                entity=pl.format("host-{}", (pl.col("series") // 5).cast(pl.String).str.zfill(5)),
                metric=pl.format("metric-{}", pl.col("series") % 5),
                event_time=pl.lit(datetime(2026, 1, 1, tzinfo=UTC)).cast(pl.Datetime("us", "UTC"))
                + pl.duration(minutes=5) * pl.col("place"),
                value="value",
            )
        )


def main(count: int, folder: Path) -> None:
    """Train, score, and print what happened as JSON."""
    bundle = train_fleet(
        frames(count),
        FEATURES,
        FleetPolicy(evaluate=False),
        folder / "bundle",
        lineage=Lineage(stream="fleet", version="1", code_version="test"),
    )
    scorer = FleetScorer(bundle, models_held=32)
    scored = trained = 0
    for frame in frames(count):
        result = scorer.score(frame)
        scored += result["score"].count()
        trained += int((result["status"] == "trained").sum())
    status = Path("/proc/self/status").read_text()
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert peak is not None
    figures = {"scored": scored, "trained": trained, "peak": int(peak[1]) * 1024}
    sys.stdout.write(json.dumps(figures))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
