"""Trains all series of a stream into one bundle, chunk by chunk, in bounded memory.

A chunk is a feature frame of whole entities. Each series in it is fitted on its own (`fit`), on as
many threads as there are; its arrays go to disk at once, in the order of the frame, and what the
entity's score needs is kept until the entity is complete.
A series that is too short or that cannot be trained is a row of the bundle with its status and
reason; it never stops the others.

Series and entities with fewer calibration rows than 1/α cannot show a p-value of α by themselves.
A series that has 1/α rows in all is calibrated on all of them (`fit`), unless those of its metric
have more held out together. The others share one calibration per metric (over all metrics where
even that is too little), entities one over all of them.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from anomaly_platform.ml.arrays import Columns, Floats, Ints
from anomaly_platform.ml.bundles.bundle import Bundle, open_bundle
from anomaly_platform.ml.bundles.writer import BundleWriter, Stored
from anomaly_platform.ml.drift.days import UsualDays
from anomaly_platform.ml.drift.distances import ReferenceDistribution
from anomaly_platform.ml.drift.features import FeatureReferences, watched_features
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.frames import IntoDataFrame, to_polars
from anomaly_platform.ml.host_model.bundled import HostsWriter
from anomaly_platform.ml.scoring.scored_columns import FeatureTable
from anomaly_platform.ml.series_model.inputs import input_schema
from anomaly_platform.ml.threads import in_order
from anomaly_platform.ml.training.calibrating import CalibrationPool, FleetCalibrations
from anomaly_platform.ml.training.fit import FittedSeries, FleetPolicy, fit_series
from anomaly_platform.ml.training.hosts import fit_host
from anomaly_platform.ml.training.manifest import Lineage, manifest_of
from anomaly_platform.ml.training.unreported import open_run

_Fit = tuple[dict[str, object], tuple[FittedSeries, Stored] | None]
_DAY_MICROSECONDS = 86_400_000_000
#: What later days of a trained series are compared with, feature by feature.
_REFERENCES = ("feature_edges", "feature_counts", "feature_usual_psi")


#: The table of series of a bundle; `trained_in` is the version that trained the series, and
#: `calibration_rows` how many of its newest rows its model was not fitted on (its calibration may
#: have seen more: `fit`).
SERIES_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "entity": pl.String,
    "metric": pl.String,
    "status": pl.String,
    "reason": pl.String,
    "slot": pl.Int64,
    "pool_index": pl.Int64,
    "entity_index": pl.Int64,
    "rows": pl.Int64,
    "calibration_rows": pl.Int64,
    "first_time": pl.Datetime("us", "UTC"),
    "last_time": pl.Datetime("us", "UTC"),
    "threshold": pl.Float64,
    "mean": pl.Float64,
    "std": pl.Float64,
    "min": pl.Float64,
    "max": pl.Float64,
    "balanced_accuracy": pl.Float64,
    "false_positive_rate": pl.Float64,
    "true_positive_rate": pl.Float64,
    "event_recall": pl.Float64,
    "reference_psi": pl.Float64,
    "reference_edges": pl.List(pl.Float64),
    "reference_counts": pl.List(pl.Int64),
    "reference_missing": pl.Int64,
    "feature_edges": pl.List(pl.Float32),
    "feature_counts": pl.List(pl.Int32),
    "feature_usual_psi": pl.List(pl.Float32),
    "usual_days": pl.List(pl.Float64),
    "trained_in": pl.String,
    "trained_at": pl.Datetime("us", "UTC"),
}


def train_fleet(
    frames: Iterable[IntoDataFrame],
    feature_set: MetricFeatureSet,
    policy: FleetPolicy,
    directory: Path,
    *,
    lineage: Lineage,
) -> Bundle:
    """Train every series and publish the bundle at `directory`.

    Parameters
    ----------
    frames
        Feature frames (`MetricFeatureSet.compute`), each with all rows of its entities, sorted by
        series and time. One is held at a time.
    feature_set
        What the frames' columns are.
    policy
        How to train.
    directory
        Where the bundle will be.
    lineage
        What the manifest says of the bundle's origin.

    Returns
    -------
    Bundle
        Opened, as `open_bundle` returns it.

    Raises
    ------
    ValueError
        When there is no row at all, a column is missing, or (as `BundleError`) a series comes twice
        or another bundle is there already.
    """
    started = datetime.now(UTC)
    with BundleWriter(directory) as writer:
        fleet = Fleet(feature_set, policy, writer, CalibrationPool(policy.alpha))
        fleet.train(frames)
        if not fleet.records:
            raise ValueError("there is no series to train: the feature frames are empty")
        calibrations = fleet.pool.finish()
        series = fleet.table(calibrations, lineage.version, started)
        digest = fleet.publish(series, calibrations, lineage, started)
    # What was just written is verified by whoever reads it.
    return open_bundle(directory, expected_digest=digest, verify="each")


@dataclass
class Fleet:
    """The state of one training: what is on disk, what is known of each series.

    Parameters
    ----------
    feature_set, policy
        What the frames' columns are, and how to train.
    writer
        Takes the arrays.
    pool
        Takes what calibrations need that belong to no single series.
    wanted
        The series that are trained; None trains all.
    otherwise
        Called with key, times and columns of each series that is not wanted.

    Attributes
    ----------
    hosts
        Takes how the metrics of each entity move together.
    records
        A row of `SERIES_SCHEMA` per series seen, what only `table` can know left out.
    """

    feature_set: MetricFeatureSet
    policy: FleetPolicy
    writer: BundleWriter
    pool: CalibrationPool
    wanted: Collection[tuple[str, str]] | None = None
    otherwise: Callable[[tuple[str, str], Ints, Columns], None] | None = None
    records: list[dict[str, object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.hosts = HostsWriter(self.writer)

    def publish(
        self,
        series: pl.DataFrame,
        calibrations: FleetCalibrations,
        lineage: Lineage,
        started: datetime,
        more: Mapping[str, object] | None = None,
    ) -> str:
        """Publish the bundle, with `more` in its manifest; return its digest."""
        for name, array in calibrations.arrays.items():
            self.writer.share(name, array)
        for entity, calibration in calibrations.together.items():
            self.hosts.together(entity, calibration)
        self.hosts.index()
        inputs, parameters = input_schema(self.feature_set), asdict(self.policy)
        manifest = manifest_of(series, self.feature_set, inputs, parameters, lineage, started)
        return self.writer.publish(manifest | dict(more or {}), series)

    def train(self, frames: Iterable[IntoDataFrame]) -> None:
        """Train the wanted series of frames, each of whole entities.

        Raises
        ------
        ValueError
            When a column is missing, or the rows of a series do not lie together.
        """
        for frame in frames:
            self._train_frame(FeatureTable.of(to_polars(frame), self.feature_set))

    def _train_frame(self, table: FeatureTable) -> None:
        """Fit the wanted series on several threads, and take all in the order of the frame."""

        def columns(rows: slice) -> Columns:
            parts = (column[rows] for column in table.columns)
            return dict(zip(self.feature_set.names, parts, strict=True))

        def fit(
            one: tuple[tuple[str, str], slice],
        ) -> _Fit:
            return self._fit(one[0], table.times[one[1]], columns(one[1]))

        fits = in_order(fit, (one for one in table.series() if self._is_wanted(one[0])))
        for entity, series in groupby(table.series(), lambda one: one[0][0]):
            members = list(series)
            for key, rows in members:
                if self._is_wanted(key):
                    self._take(key, *next(fits))
                elif self.otherwise is not None:
                    self.otherwise(key, table.times[rows], columns(rows))
            self._train_host(entity, table, [(key[1], rows) for key, rows in members])

    def _is_wanted(self, key: tuple[str, str]) -> bool:
        return self.wanted is None or key in self.wanted

    def _train_host(
        self, entity: str, table: FeatureTable, members: list[tuple[str, slice]]
    ) -> None:
        """Learn how the metrics of an entity move together; its series are the last ones taken."""
        readings = table.columns[self.feature_set.names.index("value")]
        metrics, times, values = [], [], []
        for metric, rows in members:
            present = table.present[rows]
            if int(present.sum()) >= self.policy.min_samples:
                metrics.append(metric)
                times.append(table.times[rows][present])
                values.append(readings[rows][present])
        fitted = fit_host(metrics, times, values, self.feature_set.windows[-1])
        if fitted is not None:
            self.hosts.model(entity, fitted.model)
            self.pool.add_apart(entity, fitted.times, fitted.evidence, decides=fitted.model.decides)

    def table(
        self, calibrations: FleetCalibrations, version: str, started: datetime
    ) -> pl.DataFrame:
        """Return the rows of the series trained, with the places of their calibrations."""
        for record in self.records:
            slot = record.get("slot")
            record["pool_index"] = calibrations.pool_index.get(slot)  # type: ignore[call-overload]
            record["entity_index"] = calibrations.entity_index.get(str(record["entity"]))
            if "trained_in" not in record:
                record["trained_in"], record["trained_at"] = version, started
        return pl.DataFrame(
            {name: self._column(name) for name in SERIES_SCHEMA}, schema=SERIES_SCHEMA
        )

    def _column(self, name: str) -> pl.Series:
        """Return a column of the table of series.

        Lists of equal lengths, as the references' some hundred numbers of each series, go through
        one array: number by number, each would become an object of Python while all other threads
        wait.
        """
        cells: list[Any] = [record.get(name) for record in self.records]
        known = [cell for cell in cells if cell is not None]
        is_list = isinstance(SERIES_SCHEMA[name], pl.List)
        if not is_list or len({len(cell) for cell in known}) != 1:
            return pl.Series(name, cells, dtype=SERIES_SCHEMA[name])
        filled = np.array([known[0] if cell is None else cell for cell in cells])
        column = pl.Series(name, filled).arr.to_list().cast(SERIES_SCHEMA[name])
        has = pl.Series([cell is not None for cell in cells])
        return column.to_frame().select(pl.when(has).then(name)).to_series()

    def _fit(self, key: tuple[str, str], times: Ints, columns: Columns) -> _Fit:
        """Return what a series' row says, and its fit if it could be trained."""
        end = open_run(columns["value"], self.policy.min_samples)
        later = times[end:], columns["value"][end:]
        times, columns = times[:end], {name: column[:end] for name, column in columns.items()}
        record = _describe(key, times, columns) | {"threshold": self.policy.threshold}
        if later[0].size:
            record["reason"] = _of_open_run(columns["value"][-1], later[1])
        rows = int(record["rows"])  # type: ignore[call-overload]
        if rows < self.policy.min_samples:
            record["status"] = "insufficient_history"
            record["reason"] = f"{rows} readings, {self.policy.min_samples} are needed"
            return record, None
        try:
            fitted = fit_series(key, times, columns, self.feature_set, self.policy)
        except Exception as error:  # whatever it is, the other series go on
            record["status"] = "failed"
            record["reason"] = f"{type(error).__name__}: {error}"
            return record, None
        if later[0].size:
            fitted = fitted.followed_by(*later)
        watched = watched_features(self.feature_set)
        references = FeatureReferences.fit(times, columns, watched).flat()
        record |= dict(zip(_REFERENCES, references, strict=True))
        return record, (fitted, Stored.of(fitted.model.to_arrays()))

    def _take(
        self,
        key: tuple[str, str],
        record: dict[str, object],
        trained: tuple[FittedSeries, Stored] | None,
    ) -> None:
        """Take what `_fit` returned; the series of an entity follow each other."""
        self.records.append(record)
        if trained is None:
            return
        fitted, stored = trained
        record["status"] = "trained"
        record["slot"] = slot = self.writer.append(stored)
        record["calibration_rows"] = fitted.held_out
        record |= vars(fitted.quality)
        self.pool.add(slot, key, fitted)


def _describe(key: tuple[str, str], times: Ints, columns: Columns) -> dict[str, object]:
    """Return what a series' row says whether or not it can be trained."""
    value = columns["value"]
    present = value[~np.isnan(value)]
    reference = ReferenceDistribution.fit(value[:, None], ["value"])
    said = _moments(present) if present.size else [None] * 4
    return {
        "entity": key[0],
        "metric": key[1],
        "rows": present.size,
        "first_time": int(times[0]),
        "last_time": int(times[-1]),
        **dict(zip(("mean", "std", "min", "max"), said, strict=True)),
        "reference_psi": reference.usual_psi(value, times // _DAY_MICROSECONDS),
        "reference_edges": reference.edges[0].tolist(),
        "reference_counts": reference.counts[0].tolist(),
        "reference_missing": int(reference.missing[0]),
        "usual_days": UsualDays.fit(times, value).to_list(),
    }


def _of_open_run(value: float, later: Floats) -> str:
    """Return what is said of readings that are left out because they repeat the one before."""
    repeated = int(np.count_nonzero(~np.isnan(later))) + 1
    return f"not learned from: {repeated} readings of {value:.6g} up to the newest"


def _moments(values: Floats) -> list[float]:
    """Return mean, standard deviation and extremes, finite however large finite values are."""
    from anomaly_platform.ml.drift.distance_kernels import moments

    found = np.empty(4)
    moments(values, found)
    mean, spread, low, high = found.tolist()
    if not (math.isfinite(mean) and math.isfinite(spread)):
        largest = float(np.abs(values).max())
        shares = values / largest
        mean, spread = float(shares.mean()) * largest, float(shares.std()) * largest
    return [mean, spread, low, high]
