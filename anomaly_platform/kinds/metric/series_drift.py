"""Drift of a day's series against what their models were trained on.

What belongs here: measuring each series of a chunk, the policy's verdict on it, and the figures
over all series. How drift is measured is in ``ml.drift``; what follows from it is decided in
``streams.retraining``.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from anomaly_platform.kinds.base import Stats
from anomaly_platform.kinds.metric.bundles import DETECTOR, open_version
from anomaly_platform.kinds.metric.feature_drift import FeatureDrift, numbers_of
from anomaly_platform.kinds.parts import Parts
from anomaly_platform.ml.drift.days import DayChange, UsualDays
from anomaly_platform.storage.tables.drift import FEATURE_DRIFT_SCHEMA, SERIES_DRIFT_SCHEMA
from anomaly_platform.streams import MetricStream
from anomaly_platform.streams.base import RetrainingPolicy
from anomaly_platform.streams.drift import DRIFTED, judge_day

if TYPE_CHECKING:
    from anomaly_platform.ml.drift.distances import ReferenceDistribution
    from anomaly_platform.ml.drift.features import FeatureReferences

#: What :meth:`SeriesDrift.add` reads of a chunk.
READ = ("entity", "metric", "event_time", "value", "p_value", "is_anomaly", "status")
_DAY_SECONDS = 86_400.0
_REFERENCE_COLUMNS = (
    *("entity", "metric", "reference_edges", "reference_counts", "reference_missing"),
    *("reference_psi", "rows", "first_time", "last_time"),
    *("feature_edges", "feature_counts", "feature_usual_psi", "usual_days"),
)


@dataclass(frozen=True, slots=True)
class SeriesReference:
    """What a series was like in training.

    Attributes
    ----------
    distribution : ReferenceDistribution
        Of its values.
    usual_psi : float or None
        Largest PSI of a single training day.
    rows_per_day : float
        Readings of a usual day, above 0.
    features : FeatureReferences or None
        Of its other features; None in a bundle that was trained before there were any.
    days : UsualDays
        Its days; knows nothing in such a bundle.
    """

    distribution: "ReferenceDistribution"
    usual_psi: float | None
    rows_per_day: float
    features: "FeatureReferences | None" = None
    days: UsualDays = field(default_factory=UsualDays)


@dataclass(frozen=True, slots=True)
class FleetReference:
    """What the series of the bundle in service were like in training.

    Attributes
    ----------
    version
        Of the bundle; None without a champion.
    series
        By entity and metric.
    features
        What the references of features are about, in order.
    """

    version: int | None
    series: dict[tuple[str, str], SeriesReference]
    features: tuple[str, ...] = ()

    @property
    def of_features(self) -> dict[tuple[str, str], "FeatureReferences"]:
        """The references of features, of the series that have one."""
        known = ((key, one.features) for key, one in self.series.items())
        return {key: features for key, features in known if features is not None}


def fleet_reference(parts: Parts[MetricStream]) -> FleetReference:
    """Return what the champion knows of its series; nothing where none serves."""
    from anomaly_platform.ml.drift.features import watched_features
    from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet

    champion = parts.bundles.champion(parts.stream.name, DETECTOR)
    if champion is None:
        return FleetReference(None, {})
    bundle = open_version(parts, champion.version)
    definition = bundle.manifest["feature_schema"]["definition"]
    return FleetReference(
        champion.version,
        dict(series_references(bundle.series)),
        watched_features(MetricFeatureSet.from_definition(definition)),
    )


def series_references(
    series: pl.DataFrame,
) -> Iterator[tuple[tuple[str, str], SeriesReference]]:
    """Yield what a bundle's table of series says of each trained one, and its key."""
    from anomaly_platform.ml.drift.distances import ReferenceDistribution
    from anomaly_platform.ml.drift.features import FeatureReferences

    # A bundle that was trained before a column was added lacks it.
    columns = [
        pl.col(name) if name in series.columns else pl.lit(None).alias(name)
        for name in _REFERENCE_COLUMNS
    ]
    trained = series.filter(pl.col("status") == "trained").select(columns)
    for row in trained.iter_rows(named=True):
        distribution = ReferenceDistribution(
            ("value",),
            np.array([row["reference_edges"]]),
            np.array([row["reference_counts"]]),
            np.array([row["reference_missing"]]),
        )
        days = max(1.0, (row["last_time"] - row["first_time"]).total_seconds() / _DAY_SECONDS)
        features = None
        if row["feature_edges"] is not None:
            features = FeatureReferences.from_flat(
                row["feature_edges"], row["feature_counts"], row["feature_usual_psi"]
            )
        yield (
            (row["entity"], row["metric"]),
            SeriesReference(
                distribution,
                row["reference_psi"],
                row["rows"] / days,
                features,
                UsualDays(*(row["usual_days"] or ())),
            ),
        )


@dataclass
class SeriesDrift:
    """The drift of a day, gathered while its chunks pass; a few numbers per series are kept.

    Attributes
    ----------
    policy, reference
        How days are judged, and what with.
    of_features
        What is known of the same day's features.
    records
        A row of ``series_drift`` per series.
    """

    policy: RetrainingPolicy
    reference: FleetReference
    of_features: FeatureDrift | None = None
    records: list[dict[str, Any]] = field(default_factory=list)

    def add(self, chunk: pl.DataFrame) -> None:
        """Measure every series of a chunk that holds all of their rows of the day."""
        self.records.extend(self._measure(chunk))

    def _measure(self, chunk: pl.DataFrame) -> Iterator[dict[str, Any]]:
        from anomaly_platform.ml.drift.distances import score_psi
        from anomaly_platform.ml.features.metrics.batch import microseconds, series_spans

        rows = chunk.select(READ).sort("entity", "metric", "event_time")
        times = microseconds(rows["event_time"])
        values = numbers_of(rows["value"])
        p_values = numbers_of(rows["p_value"])
        flagged = rows["is_anomaly"].fill_null(value=False).to_numpy()
        for key, begin, end in series_spans(rows):
            known = self.reference.series.get(key)
            part = slice(begin, end)
            present = int(np.isfinite(values[part]).sum())
            record: dict[str, Any] = {
                "entity": key[0],
                "metric": key[1],
                "rows": end - begin,
                "missing_share": 1 - present / (end - begin),
                "anomaly_share": float(flagged[part].mean()),
                "verdict": "unknown",
                "features": None if self.of_features is None else self.of_features.drifted.get(key),
            }
            if known is not None:
                (found,) = known.distribution.compare(values[part, None])
                spread = score_psi(p_values[part])
                days = known.days.compare(times[part], values[part])
                change = days[0] if days else DayChange()
                record |= {
                    "psi": found.psi,
                    "psi_noise": found.psi_noise,
                    "usual_psi": known.usual_psi,
                    "ks": found.ks,
                    "score_psi": spread,
                    "volume_ratio": present / known.rows_per_day if known.rows_per_day else None,
                    "verdict": judge_day(
                        self.policy,
                        psi=found.psi,
                        psi_noise=found.psi_noise,
                        usual_psi=known.usual_psi,
                        score_psi=spread,
                        change=change,
                    ),
                    "change": change.kind,
                    "noise_ratio": _number(change.noise),
                    "swing_ratio": _number(change.swing),
                }
            yield record

    @property
    def series(self) -> pl.DataFrame:
        """A row per series, as ``series_drift`` keeps it."""
        return pl.DataFrame(self.records, schema=SERIES_DRIFT_SCHEMA)

    @property
    def features(self) -> pl.DataFrame:
        """Drift of readings, scores and features over all series, as ``feature_drift`` keeps it."""
        table = self.series
        found = [
            _over_series("value", table["psi"], table["ks"], table["usual_psi"]),
            _over_series("score", table["score_psi"], None),
        ]
        if self.of_features is not None:
            known = self.of_features.over_series().items()
            found += [_over_series(name, *figures) for name, figures in known]
        return pl.DataFrame([one for one in found if one["series"]], schema=FEATURE_DRIFT_SCHEMA)

    def stats(self) -> Stats:
        """Return the day's figures over all series."""
        table = self.series
        judged = table.filter(pl.col("verdict") != "unknown")
        stats: Stats = {}
        for row in self.features.iter_rows(named=True):
            for name in ("psi_median", "psi_p90", "ks_median", "ks_p90"):
                if row[name] is not None:
                    stats[(row["feature"], name)] = row[name]
        if judged.height:
            drifted = judged["verdict"].is_in(DRIFTED)
            stats[("day", "series_judged")] = judged.height
            stats[("day", "series_drifted")] = int(drifted.sum())
            stats[("day", "series_drifted_share")] = int(drifted.sum()) / judged.height
            stats[("day", "series_changed")] = table["change"].count()
            stats[("day", "series_severe")] = int((judged["verdict"] == "severe").sum())
        volume = table["volume_ratio"].drop_nulls()
        if volume.len():
            stats[("day", "volume_ratio")] = _quantile(volume, 0.5)
        rows = int(table["rows"].sum())
        if rows:
            missing = float((table["missing_share"] * table["rows"]).sum())
            stats[("day", "missing_share")] = missing / rows
        return stats


def _over_series(
    feature: str, psi: pl.Series, ks: pl.Series | None, usual: pl.Series | None = None
) -> dict[str, Any]:
    known = psi.drop_nulls()
    distances = None if ks is None else ks.drop_nulls()
    return {
        "feature": feature,
        "psi_median": _quantile(known, 0.5),
        "psi_p90": _quantile(known, 0.9),
        "ks_median": None if distances is None else _quantile(distances, 0.5),
        "ks_p90": None if distances is None else _quantile(distances, 0.9),
        "usual_psi_median": None if usual is None else _quantile(usual.drop_nulls(), 0.5),
        "series": known.len(),
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _quantile(values: pl.Series, q: float) -> float | None:
    return None if values.is_empty() else float(np.quantile(values.to_numpy(), q))
