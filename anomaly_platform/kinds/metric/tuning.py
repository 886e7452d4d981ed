"""The tuning of a metric stream: which of its rows are searched on, and what is compared.

What belongs here: reading rows from the lake, and keeping apart what must not be searched on. The
search itself is in ``ml.tuning``, what becomes of its proposal is the command's business.

Rows go to three places. The newest fifth of each series' training window is kept back: the best
settings are compared with today's there, once. Of the rows before it, those that the gates of the
version in service were measured on are left out. The rest is searched on.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from anomaly_platform import __version__
from anomaly_platform.kinds.feedback import with_feedback
from anomaly_platform.kinds.metric.bundles import DETECTOR, open_version
from anomaly_platform.kinds.metric.windows import training_window
from anomaly_platform.kinds.parts import Parts
from anomaly_platform.kinds.training import StageError, no_features
from anomaly_platform.streams import MetricStream

if TYPE_CHECKING:
    from anomaly_platform.ml.training.fit import FleetPolicy
    from anomaly_platform.ml.tuning.comparison import Comparison
    from anomaly_platform.ml.tuning.held_out import HeldOut
    from anomaly_platform.ml.tuning.search import Trial
    from anomaly_platform.ml.tuning.space import DetectorSettings

#: Series that are searched on at most, whole entities as far as they fit.
MOST_SERIES = 60
#: Newest rows that are searched on at most: of a series, and of all together.
MOST_ROWS = 20_000
MOST_ROWS_TOGETHER = 600_000
#: Share of the time that the search may take; the comparison needs the rest.
_SEARCH_SHARE = 0.7
#: A series' longest window holds this share of its rows at most.
_WINDOW_SHARE = 0.2
_LONGEST_LOOKBACK_DAYS = 366
_SERIES = ("entity", "metric")


@dataclass(frozen=True, slots=True)
class TuningOrder:
    """What is to be tuned.

    Attributes
    ----------
    trials : int
        Candidates that are tried.
    minutes : float or None
        How long it may take; None lets it end by itself.
    seed : int
        Of candidates and injected anomalies; the same one gives the same trials.
    most_false_positives : float or None
        Share of ordinary rows that may be flagged; None takes the stream's alpha.
    windows : bool
        Whether to search the windows, too.
    """

    trials: int = 24
    minutes: float | None = None
    seed: int = 42
    most_false_positives: float | None = None
    windows: bool = True


@dataclass(frozen=True)
class Tuning:
    """What is searched on, before anything is tried.

    Attributes
    ----------
    parts, order
        Whose tuning, and how it was asked for.
    searched, compared
        The rows of the search and those of the comparison.
    present : DetectorSettings
        Today's settings.
    field : list of DetectorSettings
        The candidates.
    """

    parts: Parts[MetricStream]
    order: TuningOrder
    searched: HeldOut
    compared: HeldOut
    present: DetectorSettings
    field: list[DetectorSettings]

    @property
    def limit(self) -> float:
        """Share of ordinary rows that may be flagged."""
        return self.order.most_false_positives or self.parts.alpha

    @property
    def described(self) -> dict[str, Any]:
        """What is searched and compared on, for people and the record."""
        return {
            **_extent("search", self.searched),
            **_extent("comparison", self.compared),
            "digest": self._digest,
            "candidates": len(self.field),
            "windows": self.order.windows,
            "most_false_positives": self.limit,
            "budget": {"trials": self.order.trials, "minutes": self.order.minutes},
            "judged_by": {
                "features": self.parts.stream.features.definition(),
                "policy": asdict(self._policy),
                "version": __version__,
            },
        }

    @property
    def _policy(self) -> FleetPolicy:
        """How all candidates are trained, but for what settings say."""
        from anomaly_platform.ml.training.fit import FleetPolicy

        return FleetPolicy(
            threshold=self.parts.threshold,
            seed=self.parts.seed,
            min_samples=self.parts.min_training_samples,
        )

    @property
    def _digest(self) -> str:
        """Digest of the rows, which tells whether a later tuning is on the same."""
        digest = hashlib.sha256()
        for held in (self.searched, self.compared):
            digest.update(held.rows.hash_rows().to_numpy().tobytes())
        return digest.hexdigest()[:16]

    def search(self, tell: Callable[[Trial], None]) -> DetectorSettings | None:
        """Return settings better than today's on the rows of the search, if there are any.

        Parameters
        ----------
        tell : callable
            Takes each trial when it has ended.

        Raises
        ------
        StageError
            When the time was up before anything could be compared.
        """
        from anomaly_platform.ml.tuning.judging import Measured
        from anomaly_platform.ml.tuning.search import search

        began, judge = time.monotonic(), self._judge(self.searched)
        minutes = self.order.minutes
        until = None if minutes is None else began + _SEARCH_SHARE * 60 * minutes

        def judged(settings: DetectorSettings, entities: Collection[str]) -> tuple[Measured, float]:
            start = time.monotonic()
            counts = judge.counts(settings, entities)
            return Measured.of(counts, self.limit), time.monotonic() - start

        try:
            return search(
                self.present,
                self.field,
                self.searched.entities,
                judged,
                out_of_time=lambda: until is not None and time.monotonic() > until,
                tell=tell,
            )
        except TimeoutError:
            needed = 2 * (time.monotonic() - began) / 60 / _SEARCH_SHARE
            raise StageError(
                f"{minutes:g} minutes were over before anything could be compared with today's "
                f"settings; give at least {max(needed, 0.1):.1f}"
            ) from None

    def compare(self, proposed: DetectorSettings) -> Comparison:
        """Compare settings with today's on the rows that were kept back."""
        from anomaly_platform.ml.tuning.comparison import compare

        judge = self._judge(self.compared)
        before, after = (judge.counts_and_ranking(one) for one in (self.present, proposed))
        hosts = len(self.compared.entities)
        return compare(before, after, hosts=hosts, limit=self.limit, seed=self.order.seed)

    def _judge(self, held: HeldOut) -> Any:
        from anomaly_platform.ml.tuning.judging import Judge

        stream, folder = self.parts.stream, self.parts.lake.new_folder
        return Judge(held, stream.features, self._policy, folder)


def prepare(parts: Parts[MetricStream], order: TuningOrder) -> Tuning:
    """Read what a tuning searches and compares on, and draw the candidates.

    Raises
    ------
    StageError
        When there is nothing, or too little, to search on.
    """
    from anomaly_platform.ml.tuning.held_out import HeldOut, TooLittleDataError, before_judged
    from anomaly_platform.ml.tuning.space import candidates

    rows = _rows(parts, order.seed)
    least, present = parts.min_training_samples, settings_of(parts)
    try:
        compared = HeldOut.of(rows, seed=order.seed + 1, min_samples=least)
        earlier = before_judged(rows).join(
            _reported(parts, rows), on=[*_SERIES, "event_time"], how="anti"
        )
        searched = HeldOut.of(earlier, seed=order.seed, min_samples=least)
    except TooLittleDataError as error:
        raise StageError(f"{parts.stream.name}: {error}") from None
    field = candidates(
        present,
        order.trials,
        seed=order.seed,
        longest_window=_longest_window(parts, searched) if order.windows else None,
    )
    return Tuning(parts, order, searched, compared, present, field)


def settings_of(parts: Parts[MetricStream]) -> DetectorSettings:
    """Return what the next training of the stream is told about its detector."""
    from anomaly_platform.ml.tuning.space import DetectorSettings

    stream = parts.stream
    return DetectorSettings(parts.alpha, stream.features.windows, parts.contamination, stream.trees)


def _rows(parts: Parts[MetricStream], seed: int) -> pl.DataFrame:
    """Return the readings of the training windows of a sample of the series."""
    window = training_window(parts)
    if not window.days:
        raise no_features(parts)
    sample, labels = _sample(window.series, seed), parts.labels.between(parts.stream.name)
    paths = [day.path for day in window.days]
    most = min(MOST_ROWS, MOST_ROWS_TOGETHER // max(sample.height, 1))
    columns = [*_SERIES, "event_time", "value", "label"]
    pieces = []
    for chunk in parts.lake.chunks(paths, columns=columns):
        here = chunk.join(sample, on=_SERIES, how="inner").filter(
            pl.col("event_time").is_between(pl.col("since"), pl.col("until"))
        )
        known = with_feedback(here.select(columns), labels).select(
            *_SERIES, "event_time", "value", known=pl.col("label").fill_null(value=False)
        )
        pieces.append(known.sort(*_SERIES, "event_time").group_by(_SERIES).tail(most))
    return pl.concat(pieces).sort(*_SERIES, "event_time")


def _sample(series: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Return the windows of whole entities at random, as many as fit."""
    names = series["entity"].unique().sort().shuffle(seed)
    place = pl.DataFrame({"entity": names, "place": np.arange(names.len())})
    return series.join(place, on="entity").sort("place", "metric").head(MOST_SERIES).drop("place")


def _reported(parts: Parts[MetricStream], rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that the gates of the version in service were measured on.

    They are the last ordinary ones of its training, as many as it calibrated on.
    """
    key = [*_SERIES, "event_time"]
    champion = parts.bundles.champion(parts.stream.name, DETECTOR)
    if champion is None:
        return rows.select(key).clear()
    with open_version(parts, champion.version) as bundle:
        trained = bundle.series.select(*_SERIES, "last_time", "calibration_rows").drop_nulls()
    seen = rows.join(trained, on=_SERIES).filter(pl.col("event_time") <= pl.col("last_time"))
    ordinary = pl.col("value").is_not_null() & ~pl.col("known")
    newer = ordinary.cast(pl.Int64).reverse().cum_sum().reverse().over(_SERIES)
    return seen.filter(newer <= pl.col("calibration_rows")).select(key)


def _longest_window(parts: Parts[MetricStream], held: HeldOut) -> int:
    """Return how many rows a window may hold: a part of the history, and a year at most."""
    rows = held.rows.group_by(_SERIES).len()["len"].max()
    year = _LONGEST_LOOKBACK_DAYS * 86_400 / parts.stream.features.frequency.total_seconds()
    return int(min(_WINDOW_SHARE * float(rows or 0), year, 10_000))  # type: ignore[arg-type]


def _extent(name: str, held: HeldOut) -> dict[str, Any]:
    judged = held.rows.filter("judged")
    times = judged["event_time"].dt.strftime("%Y-%m-%d %H:%M")
    return {
        name: {
            "entities": len(held.entities),
            "series": held.rows.select(_SERIES).n_unique(),
            "rows": held.rows.height,
            "judged_rows": judged.height,
            "judged_from": times.min(),
            "judged_until": times.max(),
            "known_anomalous_rows": int(judged["known"].sum()),
            "rounds_of_injection": len(held.rounds),
        }
    }
