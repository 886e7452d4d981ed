"""Feature frames as arrays, and the columns that scoring adds to them.

What belongs here: their layout. What is written into them is `batch`'s business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from anomaly_platform.ml.arrays import Bools, Floats, Ints
from anomaly_platform.ml.features.metrics.batch import microseconds, series_offsets
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.scoring.explaining.numbers import COLUMNS, Explanation
from anomaly_platform.ml.series_runs.layout import RUN_COLUMNS

STATUSES = ("trained", "insufficient_history", "failed", "missing_value")
MISSING = STATUSES.index("missing_value")
INSUFFICIENT = STATUSES.index("insufficient_history")


def status_code(known: dict[str, object] | None) -> int:
    """Return the place among `STATUSES` of what a bundle says of a series."""
    return STATUSES.index("insufficient_history" if known is None else str(known["status"]))


@dataclass(frozen=True)
class FeatureTable:
    """A feature frame as arrays."""

    times: Ints
    offsets: Ints
    keys: list[tuple[str, str]]
    columns: list[Floats]
    present: Bools

    @classmethod
    def of(cls, frame: pl.DataFrame, feature_set: MetricFeatureSet) -> FeatureTable:
        """Return the arrays of a frame whose series are contiguous."""
        needed = ("entity", "metric", "event_time", *feature_set.names)
        if missing := [name for name in needed if name not in frame.columns]:
            raise ValueError(f"columns missing from the feature frame: {', '.join(missing)}")
        offsets = series_offsets(frame)
        keys = frame[offsets[:-1].tolist()].select("entity", "metric").rows()
        if len(set(keys)) < len(keys):
            raise ValueError("a series is not contiguous: sort the frame by series and time")
        columns = [
            frame[name].to_numpy().astype(np.float64, copy=False) for name in feature_set.names
        ]
        present = ~np.isnan(columns[feature_set.names.index("value")])
        return cls(microseconds(frame["event_time"]), offsets, keys, columns, present)

    def series(self) -> Iterator[tuple[tuple[str, str], slice]]:
        """Yield entity and metric, and the rows of each series."""
        for key, begin, end in zip(self.keys, self.offsets[:-1], self.offsets[1:], strict=True):
            yield key, slice(int(begin), int(end))


@dataclass(frozen=True)
class ScoredColumns:
    """The columns that scoring adds, in the making; NaN or False where there is nothing yet."""

    raw: Floats
    p: Floats
    alone: Floats
    score: Floats
    z: Floats
    iqr: Floats
    mad: Floats
    threshold: Floats
    entity: Floats
    status: npt.NDArray[np.uint8]
    trained: Bools
    moves: Bools
    decided: Bools
    anomaly: Bools
    entity_anomaly: Bools
    entity_call: Bools
    call: Bools
    novel: Bools
    caused: Bools
    bounds: Floats
    causes: dict[int, list[str]]
    reasons: dict[int, str]
    explanations: dict[int, Explanation]
    kinds: Ints
    runs: Floats
    deepest: dict[tuple[str, str], Floats]

    @classmethod
    def empty(cls, rows: int) -> ScoredColumns:
        """Return columns in which nothing has been said."""
        numbers = ("raw", "p", "alone", "score", "z", "iqr", "mad", "threshold", "entity")
        flags = ("trained", "moves", "decided", "anomaly", "call", "novel", "caused")
        flags_of_entity = ("entity_anomaly", "entity_call")
        arrays: dict[str, Any] = {name: np.full(rows, np.nan) for name in numbers}
        arrays |= {name: np.zeros(rows, dtype=np.bool_) for name in flags + flags_of_entity}
        return cls(
            **arrays,
            status=np.zeros(rows, dtype=np.uint8),
            causes={},
            reasons={},
            explanations={},
            kinds=np.zeros(rows, dtype=np.int64),
            runs=np.full((RUN_COLUMNS, rows), np.nan),
            deepest={},
            bounds=np.full((2, rows), np.nan),
        )

    def columns(self) -> list[pl.Series]:
        """Return the columns that scoring adds, in order."""
        status = pl.Series(self.status).replace_strict(
            dict(enumerate(STATUSES)), return_dtype=pl.String
        )
        named: dict[str, pl.Series] = {
            "raw_score": _numbers(self.raw),
            "p_value": _numbers(self.p),
            "score": _numbers(self.score),
            "is_anomaly": _flags(self.anomaly, self.decided),
            "threshold": _numbers(self.threshold),
            "status": status,
            "z_score": _numbers(self.z),
            "iqr_score": _numbers(self.iqr),
            "mad_score": _numbers(self.mad),
            "entity_score": _numbers(self.entity),
            "entity_is_anomaly": _flags(self.entity_anomaly, ~np.isnan(self.entity)),
            "is_call": _flags(self.call, ~np.isnan(self.p) | self.novel),
            "entity_is_call": _flags(self.entity_call, ~np.isnan(self.entity)),
            "causes": self._of_few(self.causes, pl.List(pl.String)),
            "reason": self._of_few(self.reasons, pl.String()),
            **self._explained(),
        }
        return [column.alias(name) for name, column in named.items()]

    def _explained(self) -> dict[str, pl.Series]:
        """Return the columns of the explanations, null where there is none."""
        told = {row: one.columns() for row, one in self.explanations.items()}
        return {
            name: self._of_few({row: one[name] for row, one in told.items()}, kind)
            for name, kind in COLUMNS.items()
        }

    def _of_few(self, values: Mapping[int, Any], kind: pl.DataType) -> pl.Series:
        """Return a column that has these values in these rows, and null in all others."""
        places = np.full(self.p.size, len(values))
        places[list(values)] = np.arange(len(values))
        return pl.Series([*values.values(), None], dtype=kind).gather(places)


def _numbers(values: Floats) -> pl.Series:
    return pl.Series(values).fill_nan(None)


def _flags(values: Bools, known: Bools) -> pl.Series:
    return pl.select(pl.when(pl.Series(known)).then(pl.Series(values))).to_series()
