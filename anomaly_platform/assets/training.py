"""A metric stream's training, from a reserved version to a challenger in the index.

What belongs here: what is trained from what, and what becomes of it. How a series is trained is in
``ml.training``, whether a challenger serves in ``champion``.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from dagster import Failure

from anomaly_platform import __version__
from anomaly_platform.assets.model_files import open_path, open_version
from anomaly_platform.assets.training_alerts import (
    Within,
    tell_of_failure,
    tell_of_series,
)
from anomaly_platform.assets.training_config import Key, TrainingOrigin, origin_of
from anomaly_platform.assets.training_window import (
    TrainingWindow,
    training_frames,
    training_window,
)
from anomaly_platform.platform import DETECTOR, Platform
from anomaly_platform.streams import MetricStream

if TYPE_CHECKING:
    from anomaly_platform.ml.bundles.bundle import Bundle


def train(
    platform: Platform,
    stream: MetricStream,
    *,
    series: Collection[Key] | None = None,
    window_days: int | None = None,
    origin: TrainingOrigin | None = None,
) -> "tuple[int, Bundle]":
    """Train series on their windows, publish the bundle and enter it as a challenger.

    Parameters
    ----------
    platform, stream
        What to train.
    series : collection of (entity, metric) or None
        Only these; the new bundle has the champion as its parent and shares all other series with
        it. Without a champion, or after the features have changed, there is nothing to share, and
        every series is trained.
    window_days : int or None
        Days of history; None takes the stream's policy.
    origin : TrainingOrigin or None
        For the record.

    Raises
    ------
    Failure
        When there is nothing to train on, or the stream has never seen a series asked for.
    """
    parent = None if series is None else _parent(platform, stream)
    wanted = None if parent is None else series
    window = training_window(platform, stream, window_days=window_days, wanted=series)
    if series is not None and wanted is None:
        window = training_window(platform, stream, window_days=window_days)
    if not window.days:
        raise Failure(f"{stream.name} has no features to train on; materialize some days first")
    bundles = platform.warehouse.bundles
    known_origin = origin_of(origin, bundles.all(stream.name, DETECTOR))
    version = bundles.reserve_version(
        stream.name, DETECTOR, parent=None if parent is None else parent.version
    )
    training = _Training(platform, stream, version, window, known_origin)
    return version, training.run(parent, wanted or ())


@dataclass(frozen=True, slots=True)
class Parent:
    """A bundle that another is made from."""

    version: int
    bundle: "Bundle"


def _parent(platform: Platform, stream: MetricStream) -> Parent | None:
    from anomaly_platform.ml.training.extending import extends

    champion = platform.warehouse.bundles.champion(stream.name, DETECTOR)
    if champion is None:
        return None
    bundle = open_version(platform, stream, champion.version, verify="each")
    return Parent(champion.version, bundle) if extends(bundle, stream.features) else None


def rebase(
    platform: Platform, stream: MetricStream, challenger: int, parent: int
) -> "tuple[int, Bundle]":
    """Set a partial challenger on another parent: what it trained, and all else from there.

    The challenger gives way to the new version in the same transaction that enters it.

    Raises
    ------
    Failure
        When the challenger trained every series, or its features are not the parent's.
    """
    from anomaly_platform.ml.training.extending import extends, retrained_series

    donor = open_version(platform, stream, challenger, verify="each")
    new_parent = Parent(parent, open_version(platform, stream, parent, verify="each"))
    keys = retrained_series(donor)
    if keys is None or not extends(new_parent.bundle, stream.features):
        raise Failure(f"{stream.name} {challenger} cannot be set on version {parent}")
    record = platform.warehouse.bundles.get(stream.name, DETECTOR, challenger)
    parameters = {} if record is None else record.parameters
    origin = TrainingOrigin(
        *(str(parameters.get(name, "")) for name in ("run_id", "cause", "reason"))
    )
    window = training_window(platform, stream, wanted=keys)
    version = platform.warehouse.bundles.reserve_version(stream.name, DETECTOR, parent=parent)
    training = _Training(platform, stream, version, window, origin, challenger)
    return version, training.run(new_parent, keys, donor)


@dataclass(frozen=True, slots=True)
class _Training:
    """One training from its reserved version to its entry in the index."""

    platform: Platform
    stream: MetricStream
    version: int
    window: TrainingWindow
    origin: TrainingOrigin
    replaces: int | None = field(default=None)

    def run(
        self, parent: Parent | None, wanted: Collection[Key], donor: "Bundle | None" = None
    ) -> "Bundle":
        """Train, publish, register; a training that ends with an error is recorded as failed."""
        platform, stream = self.platform, self.stream
        path = f"models/{stream.name}/{DETECTOR}/{self.version:06d}"
        folder = platform.lake.new_folder()
        try:
            self._fit(folder / "bundle", parent, wanted, donor)
            platform.lake.publish_folder(folder / "bundle", path)
        except BaseException as error:
            # Also when the run is cancelled: nothing is left "in training" for ever.
            reason = f"{type(error).__name__}: {error}"
            tell = tell_of_failure(platform, stream.name, DETECTOR, self.version, reason)
            platform.warehouse.bundles.fail(
                stream.name,
                DETECTOR,
                self.version,
                reason,
                also=tell if isinstance(error, Exception) else None,
            )
            raise
        published = open_path(platform, path, verify="each")
        self._register(path, published)
        return published

    def _fit(
        self,
        directory: Path,
        parent: Parent | None,
        wanted: Collection[Key],
        donor: "Bundle | None",
    ) -> None:
        from anomaly_platform.ml.training.extending import extend_fleet
        from anomaly_platform.ml.training.fit import FleetPolicy
        from anomaly_platform.ml.training.fleet import train_fleet
        from anomaly_platform.ml.training.manifest import Lineage

        platform, settings = self.platform, self.platform.settings
        policy = FleetPolicy(
            alpha=platform.alpha_of(self.stream),
            threshold=platform.threshold_of(self.stream),
            seed=settings.seed,
            min_samples=settings.min_training_samples,
            contamination=settings.contamination,
        )
        lineage = Lineage(
            stream=self.stream.name,
            version=str(self.version),
            code_version=__version__,
            parent=None if parent is None else str(parent.version),
        )
        frames = training_frames(platform, self.stream, self.window)
        features = self.stream.features
        if parent is None:
            train_fleet(frames, features, policy, directory, lineage=lineage)
            return
        extend_fleet(
            parent.bundle,
            wanted,
            frames,
            features,
            policy,
            directory,
            lineage=lineage,
            donor=donor,
        )

    def _register(self, path: str, bundle: "Bundle") -> None:
        manifest = bundle.manifest
        counts = retrained_counts(bundle)
        self.platform.warehouse.bundles.register(
            self.stream.name,
            DETECTOR,
            self.version,
            path=path,
            digest=bundle.digest,
            trained_at=datetime.fromisoformat(manifest["trained_at"]),
            window_start=self.window.series.select(pl.col("since").min()).item(),
            window_end=self.window.series.select(pl.col("until").max()).item(),
            metrics={
                **manifest["metrics"],
                "series_trained": counts["trained"],
                "series_failed": counts["failed"],
                "series_insufficient_history": counts["insufficient_history"],
            },
            parameters={
                **manifest["hyper_parameters"],
                "watermark": self.window.watermark,
                **asdict(self.origin),
                "code_version": manifest["code_version"],
                "training_seconds": manifest["training_seconds"],
            },
            series=bundle.series.rename({"balanced_accuracy": "accuracy"}),
            replaces=self.replaces,
            also=None if self.replaces is not None else self._tell(bundle),
        )

    def _tell(self, bundle: "Bundle") -> Within:
        from anomaly_platform.ml.training.extending import own_series

        own = own_series(bundle)
        failed = own.filter(pl.col("status") == "failed")
        return tell_of_series(
            self.platform,
            self.stream.name,
            DETECTOR,
            self.version,
            failed_series=failed.select("entity", "metric", "reason").rows(),
        )


def retrained_counts(bundle: "Bundle") -> dict[str, int]:
    """Return how many series this bundle trained itself, by status."""
    counts = bundle.manifest.get("retrained", bundle.manifest["data"])
    return {
        name: int(counts[name])
        for name in ("trained", "failed", "insufficient_history", "without_rows")
        if name in counts
    }
