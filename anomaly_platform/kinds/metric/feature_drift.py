"""Drift of a day's features, series by series, against what their models were trained on.

What belongs here: measuring a stored day of features with the references of the bundle in service,
and what is kept of it. The verdict on a series comes from its readings and scores
(``series_drift``); its features say what about it has changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from anomaly_platform.kinds.parts import Parts
from anomaly_platform.streams import MetricStream
from anomaly_platform.streams.base import RetrainingPolicy
from anomaly_platform.streams.drift import DRIFTED, judge_distribution

if TYPE_CHECKING:
    from anomaly_platform.ml.drift.features import FeatureReferences

Floats = npt.NDArray[np.float64]

#: Of the features that drifted, so many are told for each series, the one furthest out first.
TOLD = 5


@dataclass
class FeatureDrift:
    """What is known of a day's features, gathered while its chunks pass.

    Attributes
    ----------
    policy
        From when on a feature counts as drifted.
    names
        The features, in the order of the references.
    references
        Of each series, by entity and metric.
    distances
        Per series measured: PSI, KS and the usual PSI, each an array of shape (d,).
    drifted
        Per series measured, as JSON: the features that drifted, with `psi`, `usual_psi` and `ks`.
    """

    policy: RetrainingPolicy
    names: tuple[str, ...]
    references: Mapping[tuple[str, str], FeatureReferences]
    distances: list[tuple[Floats, Floats, Floats]] = field(default_factory=list)
    drifted: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, chunk: pl.DataFrame) -> None:
        """Measure every series of a chunk that holds all of their rows of the day."""
        from anomaly_platform.ml.features.metrics.batch import series_spans

        rows = chunk.sort("entity", "metric")
        columns = {name: numbers_of(rows[name]) for name in self.names}
        for key, begin, end in series_spans(rows):
            known = self.references.get(key)
            if known is None:
                continue
            day = {name: column[begin:end] for name, column in columns.items()}
            psi, noise, ks = known.compare(day, self.names)
            self.distances.append((psi, ks, known.usual_psi.astype(np.float64)))
            self.drifted[key] = self._told(psi, noise, ks, known.usual_psi)

    def _told(
        self, psi: Floats, noise: Floats, ks: Floats, usual_psi: npt.NDArray[np.float32]
    ) -> str:
        found = []
        for at in np.flatnonzero(np.isfinite(psi) & np.isfinite(usual_psi)).tolist():
            far, usual = float(psi[at]), float(usual_psi[at])
            if judge_distribution(self.policy, far, float(noise[at]), usual) in DRIFTED:
                told = {
                    "feature": self.names[at],
                    "psi": round(far, 4),
                    "usual_psi": round(usual, 4),
                    "ks": round(float(ks[at]), 4),
                }
                found.append((far / max(usual, self.policy.drift_psi), at, told))
        found.sort(reverse=True)
        return json.dumps([told for _, _, told in found[:TOLD]])

    def over_series(self) -> dict[str, tuple[pl.Series, pl.Series, pl.Series]]:
        """Return PSI, KS and usual PSI of each feature; null where there was too little."""
        if not self.distances:
            return {}
        psi, ks, usual = np.swapaxes(np.array(self.distances), 0, 1)
        return {
            name: (_nullable(psi[:, at]), _nullable(ks[:, at]), _nullable(usual[:, at]))
            for at, name in enumerate(self.names)
        }


def feature_drift_of_day(
    parts: Parts[MetricStream],
    day: date,
    names: tuple[str, ...],
    references: Mapping[tuple[str, str], FeatureReferences],
) -> FeatureDrift:
    """Measure a day's features; nothing where its file or a reference is missing.

    Parameters
    ----------
    parts, stream, day
        Whose features, and of which UTC date.
    names
        The features that the references are about, in order.
    references
        By entity and metric.
    """
    found = FeatureDrift(parts.stream.retraining, names, references)
    source = parts.partitions.get(parts.stream.name, "features", day.isoformat())
    # Features of another definition cannot be compared with those of the training.
    if source is None or not references or not set(names) <= set(parts.stream.features.names):
        return found
    for chunk in parts.lake.chunks([source.path], columns=("entity", "metric", *names)):
        found.add(chunk)
    return found


def numbers_of(column: pl.Series) -> Floats:
    """Return a column as float64, NaN where it is null."""
    numbers: Floats = column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return numbers


def _nullable(values: Floats) -> pl.Series:
    return pl.Series(values, dtype=pl.Float64).fill_nan(None)
