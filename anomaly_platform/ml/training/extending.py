"""Makes a bundle from another: a few series trained anew, all others as they were.

The parent's array files are taken over whole (`BundleWriter.adopt`), so that 200 of 10,000 series
cost what 200 series cost. What belongs to several series follows from who is touched:

- A series that is not trained anew keeps its arrays, its pool and its row: its scores are the same
  to the bit.
- An entity of which a series is trained anew is calibrated again, since its evidence has changed.
  The other series of that entity testify with their present models: on readings that they were
  not trained on with their own p-values, on their calibration part with p-values of one block
  judged by the others, as in a full training.
- What is new is appended; places of calibrations that nobody refers to any more are left until
  the next full training.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from anomaly_platform.ml.arrays import Columns, Ints
from anomaly_platform.ml.bundles.bundle import Bundle, open_bundle
from anomaly_platform.ml.bundles.format import Layer
from anomaly_platform.ml.bundles.writer import BundleWriter
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.frames import IntoDataFrame
from anomaly_platform.ml.host_model.bundled import Hosts
from anomaly_platform.ml.scoring.batch import FleetScorer
from anomaly_platform.ml.scoring.model_stack import Columns as PassColumns
from anomaly_platform.ml.scoring.model_stack import ModelStack
from anomaly_platform.ml.series_model.inputs import input_schema
from anomaly_platform.ml.series_model.model import calibration_start, has_shapes_of_today
from anomaly_platform.ml.training.calibrating import CalibrationPool, KnownCalibrations
from anomaly_platform.ml.training.fit import (
    FleetPolicy,
    cross_p_values,
    usual_rows,
    without_outliers,
)
from anomaly_platform.ml.training.fleet import SERIES_SCHEMA, Fleet
from anomaly_platform.ml.training.manifest import Lineage
from anomaly_platform.ml.training.outlier_trimming import spikes

#: Most array files of other bundles that a bundle refers to; series of further ones are copied.
MOST_LAYERS = 7
#: A file of which fewer of its slots are in use is not taken over: its series are copied.
LEAST_IN_USE = 0.5

Key = tuple[str, str]


def extends(parent: Bundle, feature_set: MetricFeatureSet) -> bool:
    """Return whether series trained on this feature set fit into the bundle."""
    schema = parent.manifest["feature_schema"]
    return bool(
        schema["definition"] == feature_set.definition()
        and tuple(schema["inputs"]) == tuple(input_schema(feature_set))
    )


def can_be_extended(parent: Bundle, feature_set: MetricFeatureSet) -> bool:
    """Return whether series trained today can stand beside those of the bundle."""
    shapes = {name: spec.shape for name, spec in parent.specs.items()}
    return extends(parent, feature_set) and has_shapes_of_today(shapes)


def extend_fleet(
    parent: Bundle,
    wanted: Collection[Key],
    frames: Iterable[IntoDataFrame],
    feature_set: MetricFeatureSet,
    policy: FleetPolicy,
    directory: Path,
    *,
    lineage: Lineage,
    donor: Bundle | None = None,
) -> Bundle:
    """Train some series and publish them with the parent's other series at `directory`.

    Parameters
    ----------
    parent
        The bundle to start from. The new one keeps its alpha and threshold, which all its scores
        depend on, and how its forests are fitted, and refers to its array files.
    wanted
        Entity and metric of the series to be trained. One without any row in the frames stays as
        it is in the parent.
    frames
        Feature frames with all rows of the entities that have a wanted series, as `train_fleet`
        takes them.
    feature_set, policy, directory, lineage
        As in `train_fleet`.
    donor
        A bundle that has trained the wanted series already: they are taken from it instead of
        being trained, which sets a bundle on another parent.

    Raises
    ------
    ValueError
        When the parent was made with another feature set, or no wanted series has a row.
    """
    if not can_be_extended(parent, feature_set):
        raise ValueError(
            "the parent was trained on other features or by an older version: "
            "train every series anew"
        )
    started = datetime.now(UTC)
    policy = _policy_of(parent, policy)
    rows = parent.series.filter(~_is_one_of(wanted))
    with BundleWriter(directory) as writer:
        moved = _adopt_layers(parent, rows, writer)
        pool = CalibrationPool(policy.alpha, KnownCalibrations.of(parent))
        kept_series = _KeptSeries(FleetScorer(parent), pool, policy)
        if donor is None:
            fleet = Fleet(
                feature_set, policy, writer, pool, wanted=wanted, otherwise=kept_series.take
            )
        else:
            taken = _TrainedElsewhere(FleetScorer(donor), writer, kept_series, set(wanted))
            fleet = Fleet(feature_set, policy, writer, pool, wanted=(), otherwise=taken.take)
        fleet.train(frames)
        if donor is not None:
            fleet.records += taken.records
        if not fleet.records:
            raise ValueError("none of the series has a row in the feature frames")
        calibrations = pool.finish()
        hosts, seen = Hosts(parent), {str(record["entity"]) for record in fleet.records}
        for entity in sorted(hosts.entities - seen):
            fleet.hosts.copy(hosts, entity)
        new = fleet.table(calibrations, lineage.version, started)
        kept = parent.series.filter(~_is_one_of(new.select("entity", "metric").rows()))
        slots = _move(parent, kept, moved, writer)
        kept = _conform(kept, parent).with_columns(
            slot=pl.Series(slots, dtype=pl.Int64),
            entity_index=pl.col("entity").replace_strict(
                calibrations.entity_index, default=None, return_dtype=pl.Int64
            ),
        )
        series = pl.concat([kept, new]).sort("entity", "metric")
        told = {"retrained": _retrained(new, wanted)}
        digest = fleet.publish(series, calibrations, lineage, started, told)
    return open_bundle(directory, expected_digest=digest, verify="each")


def _policy_of(parent: Bundle, policy: FleetPolicy) -> FleetPolicy:
    """Return a policy with what all scores of the parent depend on."""
    fixed = parent.manifest["hyper_parameters"]
    return replace(
        policy,
        alpha=float(fixed["alpha"]),
        threshold=float(fixed["threshold"]),
        trees=int(fixed["trees"]),
        contamination=float(fixed.get("contamination", policy.contamination)),
    )


def _retrained(new: pl.DataFrame, wanted: Collection[Key]) -> dict[str, Any]:
    """Return what the manifest says of the series that were trained anew."""
    statuses = Counter(new["status"].to_list())
    return {
        "series": new.select("entity", "metric").rows(),
        **{name: statuses[name] for name in ("trained", "failed", "insufficient_history")},
        "without_rows": len(set(wanted)) - new.height,
    }


def retrained_series(bundle: Bundle) -> list[Key] | None:
    """Return the series that the bundle trained anew, None where it trained all of them."""
    retrained = bundle.manifest.get("retrained")
    if retrained is None:
        return None
    return [(str(entity), str(metric)) for entity, metric in retrained["series"]]


def own_series(bundle: Bundle) -> pl.DataFrame:
    """Return the rows of the series that the bundle did not get from its parent."""
    keys = retrained_series(bundle)
    return bundle.series if keys is None else bundle.series.filter(_is_one_of(keys))


@dataclass(frozen=True)
class _KeptSeries:
    """Adds the evidence of series that are not trained anew to that of their entity."""

    scorer: FleetScorer
    pool: CalibrationPool
    policy: FleetPolicy

    def take(self, key: Key, times: Ints, columns: Columns) -> None:
        model = self.scorer.load_model(*key)
        present = ~np.isnan(columns["value"])
        count = int(present.sum())
        if model is None or count < 2:
            return
        first = calibration_start(count)
        start = np.flatnonzero(present)[first]
        rows = np.flatnonzero(present[start:]) + start
        clock = times[rows]
        feature_set = self.scorer.feature_set
        features = np.array([columns[name][rows] for name in feature_set.names])
        found = ModelStack.of(model).score_series(clock, features, PassColumns(feature_set))
        raw, p_values, known = found.raw, found.p, found.known
        seen = clock <= (self.scorer.trained_until(*key) or 0)
        if seen.sum() >= 2:
            values, shortest = columns["value"][present], feature_set.windows[0]
            usual = usual_rows(times[present], values, feature_set, self.policy, first)
            kept = without_outliers(raw[seen], usual[first:][seen], self.policy)
            odd = spikes(values, self.policy.alpha, rows.size, shortest)[first:]
            kept &= ~odd[seen]
            p_values[seen] = cross_p_values(raw[seen], kept)
        told = clock[known], p_values[known]
        self.pool.add_evidence(key[0], *told, int(known.sum()), moves=model.moves)


class _TrainedElsewhere:
    """Takes wanted series from a bundle that has trained them, the others from the parent."""

    def __init__(
        self,
        scorer: FleetScorer,
        writer: BundleWriter,
        others: _KeptSeries,
        wanted: set[Key],
    ) -> None:
        self.records: list[dict[str, object]] = []
        self._evidence = replace(others, scorer=scorer)
        self._known = KnownCalibrations.of(scorer.bundle)
        self._writer = writer
        self._others = others
        self._wanted = wanted
        series = _conform(scorer.bundle.series, scorer.bundle)
        self._rows = {
            (str(row["entity"]), str(row["metric"])): row
            for row in series.filter(_is_one_of(wanted)).iter_rows(named=True)
        }

    def take(self, key: Key, times: Ints, columns: Columns) -> None:
        if key not in self._wanted:
            self._others.take(key, times, columns)
            return
        row = self._rows[key]
        self.records.append(row)
        if row["slot"] is None:
            return
        bundle, pool = self._evidence.scorer.bundle, self._evidence.pool
        slot = self._writer.append(bundle.arrays(int(row["slot"])))
        if row["pool_index"] is not None:
            pool.pooled_by(slot, self._known.at("pool", int(row["pool_index"])))
        row["slot"] = slot
        self._evidence.take(key, times, columns)


def _is_one_of(keys: Collection[Key]) -> pl.Expr:
    known = pl.DataFrame(
        list(keys), schema={"entity": pl.String, "metric": pl.String}, orient="row"
    )
    return pl.struct("entity", "metric").is_in(known.to_struct().implode())


def _adopt_layers(parent: Bundle, rows: pl.DataFrame, writer: BundleWriter) -> dict[Layer, int]:
    """Take over the files that are worth it; return the first slot of each here."""
    slots = rows["slot"].drop_nulls().to_numpy()
    in_use = {
        layer: int(((slots >= layer.first) & (slots < layer.first + layer.slots)).sum())
        for layer in parent.layers
    }
    worth = [
        layer
        for layer in sorted(parent.layers, key=lambda one: -in_use[one])
        if in_use[layer] and in_use[layer] >= LEAST_IN_USE * layer.slots
    ][:MOST_LAYERS]
    return {layer: writer.adopt(parent, layer) for layer in parent.layers if layer in worth}


def _move(
    parent: Bundle, kept: pl.DataFrame, adopted: dict[Layer, int], writer: BundleWriter
) -> list[int | None]:
    """Return the new slot of each series kept, after copying those whose file stays behind."""
    places: dict[int, int] = {}
    for layer, first in adopted.items():
        places |= {layer.first + i: first + i for i in range(layer.slots)}
    slots: list[int | None] = []
    for slot in kept["slot"]:
        if slot is not None and slot not in places:
            places[slot] = writer.append(parent.arrays(slot))
        slots.append(None if slot is None else places[slot])
    return slots


def _conform(series: pl.DataFrame, bundle: Bundle) -> pl.DataFrame:
    """Return a bundle's table of series with every column of today, and no other."""
    since = {
        "trained_in": bundle.manifest["version"],
        "trained_at": datetime.fromisoformat(bundle.manifest["trained_at"]),
    }
    missing = [name for name in SERIES_SCHEMA if name not in series.columns]
    completed = series.with_columns(pl.lit(since.get(name)).alias(name) for name in missing)
    return completed.select(pl.col(name).cast(kind) for name, kind in SERIES_SCHEMA.items())
