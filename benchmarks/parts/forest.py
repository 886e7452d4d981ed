"""Forests and fleets against scikit-learn and PyOD: what is timed, one thread each.

Our kernels are compiled before the clock starts; everything else, input checks included, is timed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
from pyod.models.iforest import IForest
from sklearn.ensemble import IsolationForest as SklearnForest
from speed_table import Line, in_turns, median, seconds

from anomaly_platform.ml.bundles.bundle import open_bundle
from anomaly_platform.ml.bundles.writer import BundleWriter
from anomaly_platform.ml.calibration.conformal import Calibration
from anomaly_platform.ml.detectors.base import derive_seed
from anomaly_platform.ml.detectors.isolation_forest import (
    TAIL_FLOOR,
    IsolationForest,
    fit_forest,
    score_forest,
)
from anomaly_platform.ml.features.metrics.series_buffers import step_with_runs
from anomaly_platform.ml.features.metrics.series_state import SeriesState
from anomaly_platform.ml.scoring.batch import FleetScorer
from anomaly_platform.ml.scoring.online import OnlineScorer
from anomaly_platform.ml.training.fit import FleetPolicy
from anomaly_platform.ml.training.fleet import train_fleet
from anomaly_platform.ml.training.manifest import Lineage
from anomaly_platform.streams import EMS

FEATURES = 8
NAMES = [f"feature_{j}" for j in range(FEATURES)]
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
UTC_TIME = pl.Datetime("us", "UTC")
LINEAGE = Lineage(stream="benchmark", version="1", code_version="benchmark")
#: Series in a chunk of a fleet.
CHUNK_SERIES = 500


def warm_up() -> None:
    """Compile, or load, every kernel that is timed later."""
    rng = np.random.default_rng(0)
    score_forest(fit_forest(rng.normal(size=(300, FEATURES)), 0), rng.normal(size=(3, FEATURES)))
    with tempfile.TemporaryDirectory() as folder:
        frames = list(fleet_frames(2, 300))
        FleetScorer(_train(frames, Path(folder) / "v1")).score(frames[0])


def forest_lines(rng: np.random.Generator) -> tuple[list[Line], float]:
    """Return the lines of fitting and scoring, and the largest difference on the same trees."""
    X = rng.normal(size=(200_000, FEATURES))
    sample = X[:10_000]
    estimator = SklearnForest(random_state=0).fit(sample)
    pyod = IForest(random_state=0).fit(sample)
    same = IsolationForest.from_sklearn(estimator, NAMES)
    difference = float(np.abs(same.score(X) + estimator.score_samples(X)).max())
    forest, row, repeats = same.forest, X[:1].copy(), 1000
    sklearn = "scikit-learn IsolationForest"
    fits = {
        rows: in_turns(
            lambda rows=rows: fit_forest(X[:rows], 1),
            lambda rows=rows: SklearnForest(random_state=0).fit(X[:rows]),
        )
        for rows in (1_000, 10_000)
    }
    one, slow = in_turns(
        lambda: [score_forest(forest, row) for _ in range(repeats)],
        lambda: estimator.score_samples(row),
    )
    one /= repeats
    batch, theirs = in_turns(lambda: score_forest(forest, X), lambda: estimator.score_samples(X))
    what = f"score 200,000 rows × {FEATURES}, one thread"
    return [
        *(
            Line(f"fit {rows:,} rows × {FEATURES}", ours, sklearn, peer)
            for rows, (ours, peer) in fits.items()
        ),
        Line("score one row", one, sklearn, slow, "2,000"),
        Line("score one row", one, "PyOD IForest", median(lambda: pyod.decision_function(X[:1]))),
        Line(what, batch, sklearn, theirs, "8"),
        Line(what, batch, "PyOD IForest", median(lambda: pyod.decision_function(X), 3)),
    ], difference


def reading_line(rng: np.random.Generator) -> Line:
    """Return the line of one reading from value to score: features, model, calibration."""
    frame, key = next(fleet_frames(1, 2_000)), ("host-00000", "metric-0")
    with tempfile.TemporaryDirectory() as folder:
        scorer = OnlineScorer(FleetScorer(_train([frame], Path(folder) / "v1")))
        scorer.warm([key])
    history = frame.tail(EMS.features.capacity)
    now = history["event_time"].dt.epoch("us").to_numpy()
    state = SeriesState.of(EMS.features, now, history["value"].to_numpy())
    when = frame["event_time"][-1] + EMS.features.frequency
    at = int(now[-1]) + 300_000_000

    def one() -> None:
        features, _ = step_with_runs(EMS.features, state, when, 50.0)
        scorer.judge_one(key, at, features[:, None], 0.7)

    estimator = SklearnForest(random_state=0).fit(rng.normal(size=(1_600, 6)))
    row = rng.normal(size=(1, 6))
    return Line(
        "one reading: its features, raw score and p-value",
        median(lambda: [one() for _ in range(100)], per=100),
        "scikit-learn, the forest alone",
        median(lambda: estimator.score_samples(row)),
    )


def fleet_lines(rng: np.random.Generator, count: int, sample: int) -> tuple[list[Line], float]:
    """Return the lines of training a fleet, and the bytes per series of its bundle.

    scikit-learn's share is measured on a sample of the series and scaled; it only fits and scores
    the calibration part, and stores nothing.
    """
    rows = 1_000
    raw = rng.normal(size=(count, rows, FEATURES))
    frames = list(fleet_frames(count, rows))
    sizes: list[int] = []

    def models() -> None:
        with tempfile.TemporaryDirectory() as folder:
            _publish(raw, Path(folder) / "v1")
            open_bundle(Path(folder) / "v1").close()

    def everything() -> None:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "v1"
            _train(frames, target)
            sizes.append(sum(path.stat().st_size for path in target.iterdir()))

    def theirs() -> None:
        for X in raw[:sample]:
            SklearnForest(random_state=0).fit(X[:800]).score_samples(X[800:])

    fast, slow = in_turns(models, theirs, 3)
    whole, slow_too = in_turns(everything, theirs, 3)
    scale = count / sample
    return [
        Line(
            f"fleet of {count:,} series: fit, calibrate, publish",
            fast,
            "scikit-learn, fit and score in a loop",
            slow * scale,
            "30",
        ),
        Line(
            "the same with inputs, seasons, entity scores and measured quality",
            whole,
            "the same loop, which does none of these",
            slow_too * scale,
            "20",
        ),
    ], sizes[-1] / count


def fleet_frames(count: int, rows: int) -> Iterator[pl.DataFrame]:
    """Yield the features of a fleet, ten metrics per host, in chunks of whole hosts."""
    for first in range(0, count, CHUNK_SERIES):
        number = np.arange(first, min(first + CHUNK_SERIES, count))
        series = np.repeat(number, rows)
        place = np.tile(np.arange(rows), number.size)
        rng = np.random.default_rng(first)
        value = 50 + 10 * np.sin(place * 2 * np.pi / 288) + rng.normal(0, 1, place.size)
        frame = pl.DataFrame({"series": series, "place": place, "value": value}).select(
            entity="host-" + (pl.col("series") // 10).cast(pl.String).str.zfill(5),
            metric="metric-" + (pl.col("series") % 10).cast(pl.String),
            event_time=(pl.lit(FIRST) + pl.duration(minutes=5 * pl.col("place"))).cast(UTC_TIME),
            value="value",
        )
        yield EMS.features.compute(frame)


def fleet_in_one_run(count: int, rows: int, folder: str) -> dict[str, float]:
    """Train a fleet, score it, and open one series of its bundle; return what each took."""
    target = Path(folder) / f"fleet-{count}"
    bundles = []
    result = {"train": seconds(lambda: bundles.append(_train(fleet_frames(count, rows), target)))}
    scorer = FleetScorer(bundles[0])
    result["score"] = seconds(
        lambda: [scorer.score(frame).height for frame in fleet_frames(count, rows)]
    )
    bundles[0].close()
    result["bytes"] = sum(path.stat().st_size for path in target.iterdir())
    read = []

    def open_one() -> None:
        with open_bundle(target, verify="each") as bundle:
            bundle.arrays(count // 2)
            read.append(bundle.bytes_read)

    result["open"] = median(open_one)
    result["read"] = read[-1]
    return result


def _train(frames: list[pl.DataFrame] | Iterator[pl.DataFrame], target: Path):
    return train_fleet(frames, EMS.features, FleetPolicy(), target, lineage=LINEAGE)


def _publish(series: np.ndarray, target: Path) -> None:
    """Train on the first 80 % of each series, calibrate on the rest, publish the bundle."""
    count = series.shape[0]
    with BundleWriter(target) as writer:
        for i, X in enumerate(series):
            forest = fit_forest(X[:800], derive_seed(0, f"host-{i}", "cpu"), contamination=0.1)
            calibration = Calibration.fit(score_forest(forest, X[800:]), tail_floor=TAIL_FLOOR)
            writer.append({**forest._asdict(), **calibration.to_arrays()})
        keys = {"entity": [f"host-{i}" for i in range(count)], "metric": ["cpu"] * count}
        writer.publish(
            {"feature_schema": {"features": NAMES}},
            pl.DataFrame({**keys, "slot": np.arange(count)}),
        )
