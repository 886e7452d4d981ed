"""What settings are worth: a bundle is trained with them and judged on held-out rows.

The way is that of every stream: features, bundle, scorer. Counted is what people meet: anomalies of
which a row is flagged, alarms (runs of flagged rows) that are none, and flagged rows where nothing
was injected. Counts of stretches of time add up, so that they can be drawn anew.
"""

import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from anomaly_platform.ml.arrays import Bools, Floats, Ints
from anomaly_platform.ml.backtest.series import runs_after_training
from anomaly_platform.ml.evaluation.measures import events_found
from anomaly_platform.ml.evaluation.vus import segments, vus
from anomaly_platform.ml.features.metrics.batch import series_spans
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.scoring.batch import FleetScorer
from anomaly_platform.ml.training.fit import FleetPolicy
from anomaly_platform.ml.training.fleet import train_fleet
from anomaly_platform.ml.training.manifest import Lineage
from anomaly_platform.ml.tuning.held_out import HeldOut
from anomaly_platform.ml.tuning.space import DetectorSettings

#: What is counted per unit, in the order of the columns.
COUNTS = ("events", "found", "alarms", "right", "clean", "flagged")
_LINEAGE = Lineage(stream="tuning", version="0", code_version="tuning")


@dataclass(frozen=True)
class Measured:
    """What settings are worth on some rows; a share of nothing is 0.

    Attributes
    ----------
    objective
        The F1 of events; where more rows are falsely flagged than the limit allows, lowered in
        proportion: twice as many halve it.
    event_f1, event_recall, alarm_precision
        Share of the anomalies that are found, of the alarms that are right, and their harmonic
        mean.
    false_positive_rate
        Share of the rows flagged where nothing was injected.
    """

    objective: float
    event_f1: float
    event_recall: float
    alarm_precision: float
    false_positive_rate: float

    @classmethod
    def of(cls, counts: Floats, limit: float) -> "Measured":
        """Return what (units, 6) counts say together."""
        return cls(*(float(one) for one in measure(counts.sum(axis=0), limit)))


def measure(sums: Floats, limit: float) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Return the figures of `Measured` for (…, 6) sums of counts."""
    events, found, alarms, right, clean, flagged = np.moveaxis(sums, -1, 0)
    recall = found / np.maximum(events, 1)
    precision = right / np.maximum(alarms, 1)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    false = flagged / np.maximum(clean, 1)
    objective = f1 * np.minimum(1.0, limit / np.maximum(false, 1e-12))
    return objective, f1, recall, precision, false


@dataclass(frozen=True)
class Judge:
    """Judges settings on held-out rows.

    Attributes
    ----------
    held_out
        What is learned from, and judged.
    feature_set, policy
        Of the stream; settings replace their part of them.
    new_folder
        Returns a new empty folder, which each bundle is made in and which then goes.
    """

    held_out: HeldOut
    feature_set: MetricFeatureSet
    policy: FleetPolicy
    new_folder: Callable[[], Path]

    def counts(self, settings: DetectorSettings, entities: Collection[str]) -> Floats:
        """Return (units, 6) counts; units of other entities have none."""
        return self._judged(settings, self.held_out.only(entities))[0]

    def counts_and_ranking(self, settings: DetectorSettings) -> tuple[Floats, float | None]:
        """Return the counts of all entities, and the series' mean VUS-PR over their scores."""
        return self._judged(settings, self.held_out, ranked=True)

    def _judged(
        self, settings: DetectorSettings, held: HeldOut, *, ranked: bool = False
    ) -> tuple[Floats, float | None]:
        features = replace(self.feature_set, windows=settings.windows)
        policy = replace(
            self.policy,
            alpha=settings.alpha,
            contamination=settings.contamination,
            trees=settings.trees,
            evaluate=False,
        )
        learned = features.compute(held.rows.filter(~pl.col("judged")))
        ordinary, folder = learned.filter(~pl.col("known")), self.new_folder()
        try:
            directory = folder / "bundle"
            with train_fleet([ordinary], features, policy, directory, lineage=_LINEAGE) as bundle:
                return self._count(FleetScorer(bundle), held, ranked=ranked)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _count(
        self, scorer: FleetScorer, held: HeldOut, *, ranked: bool
    ) -> tuple[Floats, float | None]:
        features, counts = scorer.feature_set, np.zeros((held.units, len(COUNTS)))
        begin = held.rows.filter("judged")["event_time"].min()
        clean = held.rows.select("value", truth=pl.col("known"))
        areas: list[float] = []
        for number, values in enumerate((clean, *held.rounds)):
            rows = held.rows.with_columns(values)
            recent = rows.filter(pl.col("event_time") > begin - features.lookback)  # type: ignore[operator]
            computed = features.compute(recent, since=begin)  # type: ignore[arg-type]
            # A series that began to be judged later has not been learned from here.
            scored = scorer.score(computed.filter("judged"), runs_after_training(scorer))
            flags = scored["is_anomaly"].fill_null(value=False).to_numpy()
            truth, units = scored["truth"].to_numpy(), scored["unit"].to_numpy()
            for _, first, end in series_spans(scored):
                part = slice(first, end)
                if number == 0:
                    _count_rows(truth[part], flags[part], units[part], counts)
                    continue
                _count_events(truth[part], flags[part], units[part], counts)
                if ranked and number == 1 and 0 < truth[part].sum() < end - first:
                    scores = scored["score"][first:end].fill_null(0.0).to_numpy()
                    areas.append(vus(truth[part], scores)[0])
        return counts, float(np.mean(areas)) if areas else None


def _count_rows(truth: Bools, flags: Bools, units: Ints, counts: Floats) -> None:
    """Add the rows in which nothing is known to be wrong, and those of them that are flagged."""
    np.add.at(counts[:, 4], units[~truth], 1.0)
    np.add.at(counts[:, 5], units[~truth & flags], 1.0)


def _count_events(truth: Bools, flags: Bools, units: Ints, counts: Floats) -> None:
    """Add anomalies and alarms to the units in which they begin."""
    for column, outer, inner in ((0, truth, flags), (2, flags, truth)):
        begins = units[segments(outer)[:, 0]]
        np.add.at(counts[:, column], begins, 1.0)
        np.add.at(counts[:, column + 1], begins, events_found(outer, inner).astype(np.float64))
