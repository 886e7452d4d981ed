"""Numbers of a day of readings: volumes, scores, quality, and the drift of each series."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import numpy.typing as npt
import polars as pl

from anomaly_platform.kinds.base import Stats
from anomaly_platform.kinds.feedback import with_feedback
from anomaly_platform.kinds.metric.feature_drift import feature_drift_of_day
from anomaly_platform.kinds.metric.series_drift import READ, FleetReference, SeriesDrift
from anomaly_platform.kinds.parts import Parts
from anomaly_platform.kinds.quality import QUANTILES, decision_quality
from anomaly_platform.storage.tables.partitions import Partition
from anomaly_platform.streams import MetricStream

_READ = (*READ, "score", "label")


def day_stats(
    parts: Parts[MetricStream], reference: FleetReference, day: date, scored: Partition
) -> Stats:
    """Return the numbers of a scored day, and store the drift of its series."""
    tally = _Tally()
    features = feature_drift_of_day(parts, day, reference.features, reference.of_features)
    drift = SeriesDrift(parts.stream.retraining, reference, features)
    labels = parts.labels.of_day(parts.stream.name, day)
    for chunk in parts.lake.chunks([scored.path], columns=_READ):
        tally.add(with_feedback(chunk, labels))
        drift.add(chunk)
    parts.drift.replace_day(
        parts.stream.name,
        day,
        series=drift.series,
        features=drift.features,
        bundle_version=reference.version,
    )
    counted = tally.volumes() | tally.quality() if tally.readings else {}
    return counted | drift.stats()


@dataclass(slots=True)
class _Tally:
    """What is counted of a day while its chunks pass; of a row it keeps the score and two flags."""

    readings: int = 0
    decided: int = 0
    anomalies: int = 0
    series: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    scores: list[pl.Series] = field(default_factory=list)
    labels: list[npt.NDArray[np.bool_]] = field(default_factory=list)
    flags: list[npt.NDArray[np.bool_]] = field(default_factory=list)

    def add(self, rows: pl.DataFrame) -> None:
        """Count rows, all of their series' rows of the day."""
        self.readings += rows.height
        self.decided += rows["is_anomaly"].count()
        self.anomalies += int(rows["is_anomaly"].sum())
        self.series += rows.select(pl.struct("entity", "metric").n_unique()).item()
        for status, count in rows["status"].value_counts().iter_rows():
            self.statuses[status] += count
        self.scores.append(rows["score"].drop_nulls())
        known = rows.filter(pl.col("label").is_not_null()).sort("entity", "metric", "event_time")
        self.labels.append(known["label"].to_numpy())
        self.flags.append(known["is_anomaly"].fill_null(value=False).to_numpy())

    def volumes(self) -> Stats:
        """Return counts, rates and the scores' quantiles."""
        scores = pl.concat(self.scores)
        return {
            ("day", "readings"): self.readings,
            ("day", "anomalies"): self.anomalies,
            ("day", "anomaly_rate"): self.anomalies / self.decided if self.decided else None,
            ("day", "series"): self.series,
            **{("status", status): count for status, count in self.statuses.items()},
            **{("score", name): scores.quantile(q) for name, q in QUANTILES.items()},
        }

    def quality(self) -> Stats:
        """Compare decisions with labels, where readings carry any."""
        from anomaly_platform.ml.evaluation.measures import events_found

        labels, flags = np.concatenate(self.labels), np.concatenate(self.flags)
        if labels.size == 0:
            return {}
        found = events_found(labels, flags)
        return {
            **decision_quality(labels, flags),
            # An incident is a run of anomalous readings.
            ("day", "labelled_anomalies"): found.size,
            ("day", "event_recall"): float(found.mean()) if found.size else None,
        }
