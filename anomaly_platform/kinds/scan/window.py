"""The scans that models learn from: from when to when, and which of the codes."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from anomaly_platform.kinds.base import midnight
from anomaly_platform.kinds.parts import Parts
from anomaly_platform.kinds.scan.rows import READ_FEATURES, in_order
from anomaly_platform.kinds.training import begin_of_data, no_features
from anomaly_platform.storage.lake.row_groups import BUCKETS
from anomaly_platform.storage.tables.partitions import Partition
from anomaly_platform.streams import ScanStream


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
    def bounds(self) -> tuple[datetime, datetime]:
        """Where its data begin and end."""
        return begin_of_data(self.days, self.since), self.until

    @property
    def lineage(self) -> list[str]:
        """What identifies the content: the days' files are named by their digests."""
        return [f"{self.since.isoformat()}…{self.until.isoformat()} {self.buckets}"] + [
            day.path for day in self.days
        ]


def scan_window(parts: Parts[ScanStream], *, window_days: int | None = None) -> ScanWindow:
    """Return the window up to the newest scan, so many days long or as the policy says.

    Raises
    ------
    StageError
        When there are no features to train on.
    """
    newest = parts.series.extents(parts.stream.name)["last_event"].max()
    if isinstance(newest, datetime):
        length = parts.stream.retraining.window
        if window_days is not None:
            length = timedelta(days=window_days)
        since = max(newest - length, midnight(parts.start))
        days = parts.partitions.between(
            parts.stream.name, "features", f"{since:%Y-%m-%d}", f"{newest:%Y-%m-%d}"
        )
        rows = sum(day.rows for day in days)
        if rows:
            share = min(1.0, parts.stream.max_training_scans / rows)
            return ScanWindow(since, newest, days, max(1, int(BUCKETS * share)))
    raise no_features(parts)


def read_window(parts: Parts[ScanStream], window: ScanWindow) -> pl.DataFrame:
    """Return the window's scan features, by code and time."""
    frames = [
        parts.lake.read(
            day.path, columns=list(READ_FEATURES), between={"bucket": (0, window.buckets - 1)}
        ).filter(pl.col("event_time").is_between(window.since, window.until))
        for day in window.days
    ]
    return in_order(pl.concat(frames))
