"""The scans that barcode models learn from, and where their bundles are.

What belongs here: choosing and reading the training window, and the index's side of a bundle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from dagster import Failure, RetryRequested

from anomaly_platform import __version__
from anomaly_platform.assets.features import SCAN_SCHEMA, in_order
from anomaly_platform.assets.training_alerts import tell_of_failure, tell_of_series
from anomaly_platform.assets.training_config import TrainingOrigin, origin_of
from anomaly_platform.platform import Platform
from anomaly_platform.registry.bundles import BundleRecord
from anomaly_platform.storage.tables.partitions import Partition
from anomaly_platform.streams import ScanStream

if TYPE_CHECKING:
    from anomaly_platform.ml.bundles.tensor_file import AnyArray
    from anomaly_platform.ml.detectors.rules.detector import RulesModel

_BUCKETS = 64


@dataclass(frozen=True, slots=True)
class ScanWindow:
    """From when to when a stream of scans trains, and on which files.

    Attributes
    ----------
    since, until : datetime
        Both included; `until` is the stream's event watermark.
    days : list of Partition
        Feature files.
    buckets : int
        Codes of the buckets below it are learned from: all 64, or a sample of the codes.
    """

    since: datetime
    until: datetime
    days: list[Partition]
    buckets: int

    @property
    def watermark(self) -> int:
        """The newest ingested file that any of the days was made from."""
        return max(day.watermark for day in self.days)

    @property
    def lineage(self) -> list[str]:
        """What identifies the content: the days' files are named by their digests."""
        return [f"{self.since.isoformat()}…{self.until.isoformat()} {self.buckets}"] + [
            day.path for day in self.days
        ]


def scan_window(
    platform: Platform, stream: ScanStream, *, window_days: int | None = None
) -> ScanWindow:
    """Return the window up to the newest scan, so many days long or as the policy says.

    Raises
    ------
    Failure
        When there are no features to train on.
    """
    newest = platform.warehouse.series.extents(stream.name)["last_event"].max()
    if isinstance(newest, datetime):
        length = stream.retraining.window
        if window_days is not None:
            length = timedelta(days=window_days)
        since = max(
            newest - length,
            datetime.combine(platform.start_of(stream), time(), UTC),
        )
        days = platform.warehouse.partitions.between(
            stream.name, "features", f"{since:%Y-%m-%d}", f"{newest:%Y-%m-%d}"
        )
        rows = sum(day.rows for day in days)
        if rows:
            share = min(1.0, stream.max_training_scans / rows)
            return ScanWindow(since, newest, days, max(1, int(_BUCKETS * share)))
    raise Failure(f"{stream.name} has no features to train on; materialize some days first")


def read_window(platform: Platform, window: ScanWindow) -> pl.DataFrame:
    """Return the window's scan features, by code and time."""
    names = [name for name in SCAN_SCHEMA if name != "places_so_far"]
    bounds = {"bucket": (0, window.buckets - 1)}
    parts = [
        platform.lake.read(day.path, columns=names, between=bounds).filter(
            pl.col("event_time").is_between(window.since, window.until)
        )
        for day in window.days
    ]
    return in_order(pl.concat(parts))


def available_columns(stream: ScanStream) -> tuple[str, ...]:
    """Return the columns that stored scans have, under the names that models read."""
    return tuple(dict.fromkeys(("entity", *SCAN_SCHEMA, *stream.features.names)))


def newest_usable(platform: Platform, stream: ScanStream, detector: str) -> BundleRecord | None:
    """Return the newest bundle that waits to be judged or serves."""
    found = platform.warehouse.bundles.all(stream.name, detector)
    return next((b for b in found if b.status in ("challenger", "champion")), None)


def folder_of(platform: Platform, stream: ScanStream, detector: str, version: int) -> Path:
    """Return a bundle's folder.

    Raises
    ------
    Failure
        When the index does not know the version, or its files are gone.
    """
    record = platform.warehouse.bundles.get(stream.name, detector, version)
    if record is None or record.path is None:
        raise Failure(f"{stream.name} {detector} {version} has no files")
    return platform.lake.fetch_folder(record.path)


def read_rules(platform: Platform, stream: ScanStream) -> tuple[BundleRecord, RulesModel]:
    """Return the newest rules.

    Raises
    ------
    Failure
        When there are none yet.
    """
    from anomaly_platform.ml.detectors.rules.detector import RulesModel
    from anomaly_platform.ml.scans.bundles import read_detector

    record = newest_usable(platform, stream, "rules")
    if record is None:
        raise Failure(f"{stream.name} has no rules yet; materialize rules_model first")
    rules = read_detector(
        folder_of(platform, stream, "rules", record.version),
        "rules",
        available=available_columns(stream),
        expected_digest=record.digest,
    )
    if not isinstance(rules, RulesModel):
        raise TypeError("a bundle of rules held something else")
    return record, rules


@contextmanager
def new_version(platform: Platform, stream: ScanStream, detector: str) -> Iterator[int]:
    """Reserve a version; a training that ends with an error is recorded as failed."""
    bundles = platform.warehouse.bundles
    version = bundles.reserve_version(stream.name, detector)
    try:
        yield version
    except BaseException as error:
        # Also when the run is cancelled: nothing is left "in training" for ever.
        cause = error if error.__cause__ is None else error.__cause__
        reason = f"{type(cause).__name__}: {cause}"
        tell = tell_of_failure(platform, stream.name, detector, version, reason)
        # Neither of a cancelled run nor of one that goes on where it was killed.
        silent = isinstance(error, RetryRequested) or not isinstance(error, Exception)
        also = None if silent else tell
        bundles.fail(stream.name, detector, version, reason, also=also)
        raise


@dataclass(frozen=True, slots=True)
class Trained:
    """A detector that was fitted, before it is a bundle."""

    arrays: Mapping[str, AnyArray]
    metrics: Mapping[str, Any]
    hyper_parameters: Mapping[str, Any]
    data: Mapping[str, Any]
    seconds: float
    members: Mapping[str, Mapping[str, Any]] | None = None


def publish(
    platform: Platform,
    stream: ScanStream,
    detector: str,
    version: int,
    window: ScanWindow,
    trained: Trained,
    origin: TrainingOrigin | None = None,
) -> str:
    """Write a bundle, move it into the lake and enter it as a challenger; return its digest."""
    from anomaly_platform.ml.scans.bundles import ENTITY, METRIC, Origin, write_detector

    now = datetime.now(UTC)
    folder = platform.lake.new_folder()
    digest = write_detector(
        folder / "bundle",
        detector,
        trained.arrays,
        Origin(
            stream=stream.name,
            version=version,
            code_version=__version__,
            features=stream.features,
            trained_at=now,
            training_seconds=trained.seconds,
            window=(window.since, window.until),
        ),
        metrics=trained.metrics,
        hyper_parameters=trained.hyper_parameters,
        data=trained.data,
        members=trained.members,
    )
    path = f"models/{stream.name}/{detector}/{version:06d}"
    platform.lake.publish_folder(folder / "bundle", path)
    known_origin = origin_of(origin, platform.warehouse.bundles.all(stream.name, detector))
    platform.warehouse.bundles.register(
        stream.name,
        detector,
        version,
        path=path,
        digest=digest,
        trained_at=now,
        window_start=window.since,
        window_end=window.until,
        metrics=trained.metrics,
        parameters={
            **trained.hyper_parameters,
            "watermark": window.watermark,
            **asdict(known_origin),
            "code_version": __version__,
            "training_seconds": trained.seconds,
        },
        series=pl.DataFrame(
            {
                "entity": [ENTITY],
                "metric": [METRIC],
                "status": ["trained"],
                "rows": [int(trained.data.get("training_samples", 0))],
            }
        ),
        also=tell_of_series(platform, stream.name, detector, version, failed_series=[]),
    )
    return digest
