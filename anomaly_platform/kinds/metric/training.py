"""The training of a metric stream: a fleet of series, all of them or a few on top of a parent.

What belongs here: what is trained from what, and what becomes of it. How a series is trained is in
``ml.training``, whether a challenger serves in ``challengers``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from anomaly_platform import __version__
from anomaly_platform.kinds.base import TrainingOrder, TrainingReport
from anomaly_platform.kinds.metric.bundles import DETECTOR, open_version
from anomaly_platform.kinds.metric.windows import (
    TrainingWindow,
    refuse_other_features,
    training_frames,
    training_window,
)
from anomaly_platform.kinds.parts import Parts
from anomaly_platform.kinds.training import (
    Key,
    StageError,
    TrainingOrigin,
    Version,
    enter,
    known_origin,
    new_version,
    no_features,
    origin_of,
)
from anomaly_platform.streams import MetricStream

if TYPE_CHECKING:
    from anomaly_platform.ml.bundles.bundle import Bundle

_WORST_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Parent:
    """A bundle that another is made from."""

    version: int
    bundle: Bundle


def train(parts: Parts[MetricStream], order: TrainingOrder) -> tuple[int, Bundle]:
    """Train series on their windows, publish the bundle and enter it as a challenger.

    Where only some series are asked for, the new bundle has the champion as its parent and shares
    all other series with it. Without a champion, or after the features or the models have changed,
    there is nothing to share, and every series is trained: those that nobody asked for on their
    usual windows.

    Raises
    ------
    StageError
        When there is nothing to train on, the stream has never seen a series asked for, or the
        features of some day are others than the stream's.
    """
    series, days = order.series, order.window_days
    parent = None if series is None else _champion(parts)
    wanted = None if parent is None else series
    window = training_window(parts, window_days=days, wanted=series)
    if series is not None and wanted is None:
        window = training_window(parts, window_days=days, asked=series)
    if not window.days:
        raise no_features(parts)
    origin = known_origin(order.origin, parts.bundles.all(parts.stream.name, DETECTOR))
    return _fit(parts, window, origin, parent, wanted or ())


def report(parts: Parts[MetricStream], version: int, bundle: Bundle) -> TrainingReport:
    """Return what people see of a training."""
    record = parts.bundles.get(parts.stream.name, DETECTOR, version)
    manifest, series = bundle.manifest, bundle.series
    is_trained = pl.col("status") == "trained"
    least_accurate = series.filter(is_trained).sort("balanced_accuracy", descending=True)
    names = (
        *("entity", "metric", "rows", "balanced_accuracy"),
        *("false_positive_rate", "true_positive_rate", "event_recall"),
    )
    untrained = series.filter(~is_trained).select("entity", "metric", "status", "reason")
    shortened = series.filter(is_trained & pl.col("reason").is_not_null())
    left_out = shortened.select("entity", "metric", "reason")
    return TrainingReport(
        version,
        {
            "parent": manifest.get("parent") or "none",
            "trained because of": "not said" if record is None else record.trained_because_of,
            "retrained": retrained_counts(bundle),
            "series": manifest["data"],
            "metrics": manifest["metrics"],
            "training seconds": float(manifest["training_seconds"]),
            "least accurate series": least_accurate.tail(_WORST_SHOWN).select(names).to_dicts(),
            "untrained series": untrained.tail(_WORST_SHOWN).to_dicts(),
            "runs left out": left_out.head(_WORST_SHOWN).to_dicts(),
        },
    )


def rebase(parts: Parts[MetricStream], challenger: int, parent: int) -> tuple[int, Bundle]:
    """Set a partial challenger on another parent: what it trained, and all else from there.

    The challenger gives way to the new version in the same transaction that enters it.

    Raises
    ------
    StageError
        When the challenger trained every series, or its models do not go with the parent's.
    """
    from anomaly_platform.ml.training.extending import can_be_extended, retrained_series

    donor = open_version(parts, challenger, verify="each")
    new_parent = Parent(parent, open_version(parts, parent, verify="each"))
    keys = retrained_series(donor)
    features = parts.stream.features
    fit = can_be_extended(new_parent.bundle, features) and can_be_extended(donor, features)
    if keys is None or not fit:
        raise StageError(f"{parts.stream.name} {challenger} cannot be set on version {parent}")
    origin = origin_of(parts.bundles.get(parts.stream.name, DETECTOR, challenger))
    window = training_window(parts, wanted=keys)
    return _fit(parts, window, origin, new_parent, keys, donor, replaces=challenger)


def _champion(parts: Parts[MetricStream]) -> Parent | None:
    """Return what serves as a parent, where its models are like those of today."""
    from anomaly_platform.ml.training.extending import can_be_extended

    champion = parts.bundles.champion(parts.stream.name, DETECTOR)
    if champion is None:
        return None
    bundle = open_version(parts, champion.version, verify="each")
    extensible = can_be_extended(bundle, parts.stream.features)
    return Parent(champion.version, bundle) if extensible else None


def _fit(
    parts: Parts[MetricStream],
    window: TrainingWindow,
    origin: TrainingOrigin,
    parent: Parent | None,
    wanted: Collection[Key],
    donor: Bundle | None = None,
    replaces: int | None = None,
) -> tuple[int, Bundle]:
    """Train, publish, register; a training that ends with an error is recorded as failed."""
    from anomaly_platform.ml.bundles.bundle import open_bundle

    # Before there is a version: settings were changed, and no model is at fault.
    refuse_other_features(parts, window)
    served = None if parent is None else parent.version
    with new_version(parts, DETECTOR, parent=served) as version:
        folder = parts.lake.new_folder() / "bundle"
        _write(parts, window, folder, version, parent, wanted, donor)
        parts.lake.publish_folder(folder, version.path)
        published = parts.lake.fetch_folder(version.path)
        bundle = open_bundle(published, verify="each")
        _register(parts, version, window, origin, bundle, replaces, _tuning(parts, served))
    return version.number, bundle


def _write(
    parts: Parts[MetricStream],
    window: TrainingWindow,
    directory: Path,
    version: Version,
    parent: Parent | None,
    wanted: Collection[Key],
    donor: Bundle | None,
) -> None:
    from anomaly_platform.ml.training.extending import extend_fleet
    from anomaly_platform.ml.training.fit import FleetPolicy
    from anomaly_platform.ml.training.fleet import train_fleet
    from anomaly_platform.ml.training.manifest import Lineage

    policy = FleetPolicy(
        alpha=parts.alpha,
        threshold=parts.threshold,
        seed=parts.seed,
        min_samples=parts.min_training_samples,
        contamination=parts.contamination,
        trees=parts.stream.trees,
    )
    lineage = Lineage(
        stream=parts.stream.name,
        version=str(version.number),
        code_version=__version__,
        parent=None if parent is None else str(parent.version),
    )
    frames, features = training_frames(parts, window), parts.stream.features
    if parent is None:
        train_fleet(frames, features, policy, directory, lineage=lineage)
        return
    extend_fleet(
        parent.bundle, wanted, frames, features, policy, directory, lineage=lineage, donor=donor
    )


def _register(
    parts: Parts[MetricStream],
    version: Version,
    window: TrainingWindow,
    origin: TrainingOrigin,
    bundle: Bundle,
    replaces: int | None,
    tuning: dict[str, Any],
) -> None:
    from anomaly_platform.ml.training.extending import own_series

    manifest, counts = bundle.manifest, retrained_counts(bundle)
    failed = own_series(bundle).filter(pl.col("status") == "failed")
    enter(
        parts,
        version,
        digest=bundle.digest,
        trained_at=datetime.fromisoformat(manifest["trained_at"]),
        window=window.bounds,
        metrics={
            **manifest["metrics"],
            "series_trained": counts["trained"],
            "series_failed": counts["failed"],
            "series_insufficient_history": counts["insufficient_history"],
        },
        hyper_parameters=manifest["hyper_parameters"] | tuning,
        watermark=window.watermark,
        origin=origin,
        seconds=manifest["training_seconds"],
        series=bundle.series.rename({"balanced_accuracy": "accuracy"}),
        failed_series=failed.select("entity", "metric", "reason").rows(),
        replaces=replaces,
    )


def _tuning(parts: Parts[MetricStream], parent: int | None) -> dict[str, Any]:
    """Return which tuning the settings come from, where they come from one: they are a parent's."""
    if parent is None:
        number = parts.stream.tuning
    else:
        record = parts.bundles.get(parts.stream.name, DETECTOR, parent)
        number = None if record is None else record.parameters.get("tuning")
    return {} if number is None else {"tuning": number}


def retrained_counts(bundle: Bundle) -> dict[str, int]:
    """Return how many series this bundle trained itself, by status."""
    counts = bundle.manifest.get("retrained", bundle.manifest["data"])
    return {
        name: int(counts[name])
        for name in ("trained", "failed", "insufficient_history", "without_rows")
        if name in counts
    }
