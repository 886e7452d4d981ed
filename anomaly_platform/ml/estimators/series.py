"""Readings in order of time: one metric, or all metrics of a host, as scikit-learn estimators."""

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl

from anomaly_platform.ml.arrays import Floats
from anomaly_platform.ml.backtest.series import WideModel, judge, learn
from anomaly_platform.ml.bundles.bundle import Bundle
from anomaly_platform.ml.bundles.format import OWN_KEYS, SHARED
from anomaly_platform.ml.bundles.writer import BundleWriter
from anomaly_platform.ml.estimators.contract import Estimator, array_frame, numbers
from anomaly_platform.ml.features.metrics.batch import microseconds
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.features.scans.arrays import pack_frame, unpack_frame
from anomaly_platform.ml.frames import in_utc, is_frame, to_polars
from anomaly_platform.ml.scoring.batch import FleetScorer
from anomaly_platform.ml.training.fit import FleetPolicy

_HISTORY = "history"


@dataclass(eq=False, repr=False)
class HostDetector(Estimator):
    """All metrics of one host together: a score per time.

    Each metric has a model of its own (season, level, isolation forest), as in the platform; the
    score says how unusual the few most unusual metrics are at a time.

    Rows that are later than the training rows look back on these. A row without history enough
    (the first hours, or after a long gap) is judged by range, level and time of day alone.

    Parameters
    ----------
    time_column
        Name of the column of times.
    alpha
        Share of normal rows, in (0, 1), that may reach the score 0.7.
    threshold
        Score in (0, 1) from which a row is an anomaly.
    contamination
        Largest share of rows that may be set aside as suspect; it never sets the alarm rate.
    n_estimators
        Trees of each metric's forest.
    min_samples
        Fewest readings of a metric to learn from.
    feature_set
        Windows, lags and frequency; None takes the frequency from the training rows.
    random_state
        Seed; the same rows and seed give the same bits.

    Examples
    --------
    >>> from anomaly_platform.simulator.metrics import simulate_ems
    >>> host = simulate_ems(days=4, devices=1, anomaly_rate=0, churn=0).frame
    >>> rows = host.pivot(on="metric", index="event_time", values="value").sort("event_time")
    >>> detector = HostDetector().fit(rows[:1000])
    >>> bool((detector.predict(rows[1000:]) == -1).mean() < 0.1)
    True
    """

    time_column: str = "event_time"
    _: KW_ONLY
    contamination: float = 0.1
    n_estimators: int = 100
    min_samples: int = 100
    feature_set: MetricFeatureSet | None = None

    def fit(self, X: Any, y: None = None) -> Self:  # noqa: ARG002  (scikit-learn's signature)
        """Learn from rows that are mostly normal.

        Parameters
        ----------
        X
            Frame with a column of times and one of numbers per metric, in any order of rows; an
            empty cell or NaN is a missing reading. Of an array the first column holds seconds
            since 1970.
        y
            Ignored.

        Raises
        ------
        ValueError
            When a column is missing or no number, times repeat, or readings are too few.
        """
        policy = FleetPolicy(
            alpha=self.alpha,
            threshold=self.threshold,
            seed=self.random_state,
            min_samples=self.min_samples,
            contamination=self.contamination,
            trees=self.n_estimators,
            evaluate=False,
        )
        rows = self._read(X, None)
        with tempfile.TemporaryDirectory(prefix="estimator-") as folder:
            model = learn(
                rows,
                Path(folder) / "bundle",
                time_column=self.time_column,
                policy=policy,
                feature_set=self.feature_set,
            )
        series = model.scorer.bundle.series
        untrained = series.filter(pl.col("status") != "trained").select("metric", "reason")
        reasons = "; ".join(f"{metric}: {reason}" for metric, reason in untrained.iter_rows())
        if untrained.height == series.height:
            raise ValueError(f"nothing can be learned ({reasons}): give more rows")
        if reasons:
            warnings.warn(f"metrics without a model: {reasons}", stacklevel=2)
        self._take(model)
        return self

    def _take(self, model: WideModel) -> None:
        self.model_ = model
        self.feature_names_in_ = np.array(model.scorer.bundle.series["metric"], dtype=object)
        self.n_features_in_ = len(self.feature_names_in_)

    def _read(self, X: Any, metrics: Sequence[str] | None) -> pl.DataFrame:
        """Return the times in UTC and the metrics."""
        if is_frame(X):
            frame = to_polars(X)
            if self.time_column not in frame.columns:
                raise ValueError(
                    f"X has no column {self.time_column!r}: name the column of times with "
                    "time_column (of pandas, reset_index makes the index one)"
                )
        else:
            width = np.shape(X)[1] if np.ndim(X) == 2 else 0
            names = metrics or [f"x{column}" for column in range(1, width)]
            frame = array_frame(X, [self.time_column, *names]).with_columns(
                (pl.col(self.time_column) * 1e6).round().cast(pl.Int64).cast(pl.Datetime("us"))
            )
        times = frame[self.time_column]
        if not isinstance(times.dtype, pl.Datetime):
            raise TypeError(
                f"column {self.time_column!r} is {times.dtype}, not a time: parse it first"
            )
        if times.null_count() or times.is_duplicated().any():
            raise ValueError(
                f"column {self.time_column!r} has empty or repeated times: keep one row for each"
            )
        values = frame.drop(self.time_column)
        self._check_width(values.columns)
        return numbers(values, metrics).insert_column(0, in_utc(times))

    def _check_width(self, metrics: Sequence[str]) -> None:
        if not metrics:
            raise ValueError("X has no metric: give a column of numbers for each")

    def _scores(self, X: Any) -> Floats:
        rows = self._read(X, list(self.feature_names_in_))
        judged = judge(self.model_, rows, time_column=self.time_column, threshold=self.threshold)
        places = np.searchsorted(microseconds(judged.times), microseconds(rows[self.time_column]))
        return np.asarray(judged.score[places], dtype=np.float64)

    def _store(self, writer: BundleWriter) -> tuple[Mapping[str, Any], pl.DataFrame]:
        bundle = self.model_.scorer.bundle
        for slot in range(int(bundle.manifest["slots"])):
            writer.append(bundle.arrays(slot))
        for name in bundle.manifest["shared_digests"]:
            own = name.removeprefix(SHARED)
            if not own.startswith(_HISTORY):
                writer.share(own, bundle.shared(own))
        history = self.model_.history.with_columns(
            pl.col("event_time").cast(pl.Int64), pl.col("value").fill_null(float("nan"))
        )
        for name, array in pack_frame(_HISTORY, history).items():
            writer.share(name, array)
        manifest = {k: v for k, v in bundle.manifest.items() if k not in OWN_KEYS}
        return manifest, bundle.series.drop("digest")

    def _restore(self, bundle: Bundle) -> None:
        stored = [name.removeprefix(SHARED) for name in bundle.manifest["shared_digests"]]
        arrays = {name: bundle.shared(name) for name in stored if name.startswith(_HISTORY)}
        history = unpack_frame(_HISTORY, arrays).with_columns(
            pl.col("event_time").cast(pl.Datetime("us", "UTC")), pl.col("value").fill_nan(None)
        )
        self._take(WideModel(FleetScorer(bundle), history))
        self.feature_set = self.model_.scorer.feature_set


class SeriesDetector(HostDetector):
    """One metric: a score per reading, from its season, its level and its recent past.

    As `HostDetector`, with one column beside the times.

    Examples
    --------
    >>> from anomaly_platform.simulator.metrics import simulate_iiot
    >>> readings = simulate_iiot(days=4, devices=1, anomaly_rate=0, churn=0).frame
    >>> metric = readings.filter(metric="temperature").select("event_time", "value")
    >>> detector = SeriesDetector().fit(metric[:1000])
    >>> float(detector.score_samples(metric[1000:]).max()) <= 0
    True
    """

    def _check_width(self, metrics: Sequence[str]) -> None:
        if len(metrics) != 1:
            raise ValueError(
                f"SeriesDetector reads one column beside {self.time_column!r}, "
                f"not {', '.join(metrics) or 'none'}: choose one, or take HostDetector"
            )
