"""Which rows each series of a stream trains on.

What belongs here: the windows, the feature files that hold them, and their rows.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from anomaly_platform.kinds.feedback import with_feedback
from anomaly_platform.kinds.parts import Parts
from anomaly_platform.kinds.training import Key, StageError, begin_of_data
from anomaly_platform.storage.tables.partitions import Partition
from anomaly_platform.streams import MetricStream

_NAMED = 10


@dataclass(frozen=True, slots=True)
class TrainingWindow:
    """From when to when each series of a stream trains.

    Attributes
    ----------
    series : polars.DataFrame
        ``entity``, ``metric``, ``since`` and ``until``, a row per series.
    days : list of Partition
        Feature files that hold rows of some window.
    """

    series: pl.DataFrame
    days: list[Partition]

    @property
    def watermark(self) -> int:
        """The newest ingested file that any of the days was made from."""
        return max((day.watermark for day in self.days), default=0)

    @property
    def bounds(self) -> tuple[datetime | None, datetime | None]:
        """Where the data of the first of the windows begin, and the last one ends."""
        since, until = self.series.select(pl.col("since").min(), pl.col("until").max()).row(0)
        if since is not None and self.days:
            since = begin_of_data(self.days, since)
        return since, until


def training_window(
    parts: Parts[MetricStream],
    *,
    window_days: int | None = None,
    wanted: Collection[Key] | None = None,
    asked: Collection[Key] | None = None,
) -> TrainingWindow:
    """Return each series' own window, up to its own last event.

    Parameters
    ----------
    parts, stream
        Whose series.
    window_days : int or None
        Length of the windows; None takes the policy's.
    wanted : collection of (entity, metric) or None
        Only the series of these entities; None takes all, without those that fell silent long
        before the stream's newest event.
    asked : collection of (entity, metric) or None
        Whose windows have that length; None is all. The others' are as the policy says.

    Raises
    ------
    StageError
        When the stream has never seen a wanted series; the text names them.
    """
    extents = parts.series.extents(parts.stream.name)
    policy = parts.stream.retraining
    newest = extents["last_event"].max()
    if wanted is not None:
        _refuse_unknown(parts.stream, wanted, extents)
        chosen = extents.filter(pl.col("entity").is_in({entity for entity, _ in wanted}))
    elif isinstance(newest, datetime):
        chosen = extents.filter(pl.col("last_event") >= newest - policy.max_silence)
    if not isinstance(newest, datetime):
        return TrainingWindow(extents.head(0), [])
    series = chosen.select(
        "entity",
        "metric",
        since=_since(policy.window, window_days, asked),
        until=pl.col("last_event"),
    )
    first = series.select(pl.col("since").dt.date().min()).item()
    days = parts.partitions.between(
        parts.stream.name, "features", first.isoformat(), f"{newest:%Y-%m-%d}"
    )
    needed = _days_of(series)
    return TrainingWindow(series, [day for day in days if day.partition in needed])


def _since(usual: timedelta, window_days: int | None, asked: Collection[Key] | None) -> pl.Expr:
    """Return where windows begin: a change of behaviour cuts one that nobody asked for."""
    end = pl.col("last_event")
    begin = pl.max_horizontal(end - usual, "changed_at")
    if window_days is None:
        return begin
    as_asked = end - timedelta(days=window_days)
    if asked is None:
        return as_asked
    is_asked = pl.struct("entity", "metric").is_in(
        [{"entity": entity, "metric": metric} for entity, metric in asked]
    )
    return pl.when(is_asked).then(as_asked).otherwise(begin)


def _refuse_unknown(stream: MetricStream, wanted: Collection[Key], extents: pl.DataFrame) -> None:
    unknown = sorted(set(wanted) - set(extents.select("entity", "metric").iter_rows()))
    if unknown:
        named = ", ".join(f"{entity}/{metric}" for entity, metric in unknown[:_NAMED])
        more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
        raise StageError(
            f"{stream.name} has never seen the series {named}{more}; "
            "`anomaly sql` on the table series lists those there are"
        )


def _days_of(series: pl.DataFrame) -> set[str]:
    spans = series.select(first=pl.col("since").dt.date(), last=pl.col("until").dt.date()).unique()
    days: set[str] = set()
    for first, last in spans.iter_rows():
        days.update((first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1))
    return days


def refuse_other_features(parts: Parts[MetricStream], window: TrainingWindow) -> None:
    """Refuse to train on days whose features are of windows or lags that the stream no longer has.

    Raises
    ------
    StageError
        With the days and the way out.
    """
    features = parts.stream.features
    others = [
        day.partition
        for day in window.days
        # Days that say that they have these features need not be opened.
        if day.stats.get("feature_set") != features.version
        and not set(features.names) <= set(parts.lake.columns(day.path))
    ]
    if not others:
        return
    name, windows = parts.stream.name, "/".join(map(str, features.windows))
    span = others[0] if len(others) == 1 else f"{others[0]} to {others[-1]}"
    raise StageError(
        f"{name} now has the windows {windows}, and the features of {span} were computed with "
        "other windows or lags. Nothing was trained; what serves goes on serving. Compute the days "
        f"anew and train: `anomaly run {name} --days {others[0]}:{others[-1]} --train`"
    )


def training_frames(parts: Parts[MetricStream], window: TrainingWindow) -> Iterator[pl.DataFrame]:
    """Yield the windows' rows in chunks of whole entities, without known anomalies.

    What files or people call an anomaly is no example of the ordinary, neither for the forest nor
    for the calibration.
    """
    labels = parts.labels.between(parts.stream.name)
    for frame in parts.lake.chunks([day.path for day in window.days]):
        rows = frame.join(window.series, on=["entity", "metric"], how="inner").filter(
            pl.col("event_time").is_between(pl.col("since"), pl.col("until"))
        )
        ordinary = ~pl.col("label").fill_null(value=False)
        yield with_feedback(rows, labels).filter(ordinary).sort("entity", "metric", "event_time")
