"""Isolation forests: ours against scikit-learn's, in one run on one machine, one thread each.

    python benchmarks/speed_forest.py [--series 1000] [--json FILE]

Prints what each takes and the ratio. Only ratios travel from machine to machine. Our kernels are
compiled before the clock starts; everything else, input checks included, is timed.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.ensemble import IsolationForest as SklearnForest

from anomaly_platform.ml.bundle import BundleWriter, open_bundle
from anomaly_platform.ml.calibration import Calibration
from anomaly_platform.ml.detectors.base import derive_seed
from anomaly_platform.ml.detectors.isolation_forest import (
    TAIL_FLOOR,
    IsolationForest,
    RowScorer,
    fit_forest,
    score_forest,
)

FEATURES = 8
NAMES = [f"feature_{j}" for j in range(FEATURES)]


@dataclass(frozen=True)
class Line:
    """One line of the table: seconds of both, and what is wanted of the ratio."""

    what: str
    ours: float
    sklearn: float
    wanted: float | None = None

    @property
    def ratio(self) -> float:
        """How many times faster ours is."""
        return self.sklearn / self.ours


def best(run: Callable[[], object], times: int) -> float:
    """Return the shortest of several runs in seconds."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return min(taken)


def fitting(rng: np.random.Generator, rows: int) -> Line:
    """Return the line of fitting one forest."""
    X = rng.normal(size=(rows, FEATURES))
    estimator = SklearnForest(random_state=0)
    return Line(
        f"fit {rows:,} x {FEATURES}",
        best(lambda: fit_forest(X, 1), 9),
        best(lambda: estimator.fit(X), 5),
    )


def scoring(rng: np.random.Generator) -> tuple[list[Line], float]:
    """Return the lines of scoring, and the largest difference on the same trees."""
    X = rng.normal(size=(200_000, FEATURES))
    estimator = SklearnForest(random_state=0).fit(X[:10_000])
    same = IsolationForest.from_sklearn(estimator, NAMES)
    difference = float(np.abs(same.score(X) + estimator.score_samples(X)).max())
    forest, row, repeats = same.forest, X[0].copy(), 1000
    scorer = RowScorer(forest)
    one = best(lambda: [scorer(row) for _ in range(repeats)], 5) / repeats
    return [
        Line("score one row", one, best(lambda: estimator.score_samples(X[:1]), 30), 400.0),
        Line(
            "score 200,000 x 8",
            best(lambda: score_forest(forest, X), 5),
            best(lambda: estimator.score_samples(X), 3),
            2.5,
        ),
    ], difference


def fleet(rng: np.random.Generator, count: int, sample: int) -> tuple[Line, float]:
    """Return the line of a fleet trained, calibrated and published, and its bytes per series.

    scikit-learn's share is measured on a sample of the series and scaled; it only fits and scores
    the calibration part, and stores nothing.
    """
    series = rng.normal(size=(count, 1000, FEATURES))

    def ours() -> None:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "v1"
            publish_fleet(series, target)
            sizes.append(sum(p.stat().st_size for p in target.iterdir()))
            open_bundle(target).close()

    def theirs() -> None:
        for X in series[:sample]:
            SklearnForest(random_state=0).fit(X[:800]).score_samples(X[800:])

    sizes: list[int] = []
    line = Line(
        f"fleet of {count:,} series: fit, calibrate, publish",
        best(ours, 2),
        best(theirs, 2) * count / sample,
        30.0,
    )
    return line, sizes[-1] / count


def publish_fleet(series: np.ndarray, target: Path) -> None:
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


def clock(seconds: float) -> str:
    """Return a duration in the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.2f} {unit}"
    return f"{seconds / 1e-6:.2f} us"


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", type=int, default=1000, help="series of the fleet")
    parser.add_argument("--sample", type=int, default=20, help="of these fitted by scikit-learn")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    score_forest(fit_forest(rng.normal(size=(300, FEATURES)), 0), rng.normal(size=(3, FEATURES)))
    lines = [fitting(rng, 1_000), fitting(rng, 10_000)]
    scored, difference = scoring(rng)
    trained, size = fleet(rng, options.series, min(options.sample, options.series))
    lines += [*scored, trained]
    print(f"{'':44} {'ours':>10} {'scikit-learn':>13} {'ratio':>8} {'wanted':>7}")
    for line in lines:
        wanted = f"{line.wanted:g}" if line.wanted else ""
        print(
            f"{line.what:44} {clock(line.ours):>10} {clock(line.sklearn):>13} "
            f"{line.ratio:>8.1f} {wanted:>7}"
        )
    print(f"largest difference of scores on the same trees: {difference:.1e}")
    print(f"bytes per series in the bundle: {size:,.0f}")
    if options.json:
        figures = [{**asdict(line), "ratio": line.ratio} for line in lines]
        content = {"lines": figures, "difference": difference, "bytes_per_series": size}
        options.json.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
