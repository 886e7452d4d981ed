"""Derives a model's inputs from scan features: learned frequencies and scales.

What belongs here: everything about features that must be learned, and therefore comes from a
bundle. Fitted on training data only; applying it never looks at other rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from anomaly_platform.ml.features.scans.arrays import Arrays, pack_frame, require, unpack_frame
from anomaly_platform.ml.features.scans.reference import ScanReference
from anomaly_platform.ml.frames import IntoDataFrame, to_polars

Floats = npt.NDArray[np.float64]

STANDARD: Final = ("hour", "day_of_week", "month", "time_since_last_scan")
MIN_MAX: Final = ("latitude", "longitude", "location_hierarchy")
ROBUST: Final = ("sequence_length", "current_position", "manufacture_age_days")
UNSCALED: Final = ("is_weekend", "is_business_hours", "location_transition_frequency")
INPUTS: Final = (*STANDARD, *MIN_MAX, *ROBUST, *UNSCALED)
_ORIGIN: Final = (
    pl.when(pl.col("sequence_length") == 1)
    .then(pl.lit(""))
    .otherwise(pl.col("previous_location"))
    .alias("from_place")
)
"""Where a scan's goods come from; empty for a first scan."""
_FREQUENCY: Final = (
    pl.when(pl.col("place").is_not_null() & pl.col("from_place").is_not_null())
    .then(pl.col("frequency").fill_null(0.0))
    .alias("location_transition_frequency")
)


@dataclass(frozen=True)
class ScanInputs:
    """Place features, transition frequencies and scales, as learned from training data.

    Attributes
    ----------
    reference
        What is known about places.
    transitions
        `from_place, to_place, frequency`: of the scans whose previous scan was at the first
        place, the share at the second. An empty first place stands for a first scan.
    center, scale
        (len(INPUTS),) per input: (x − center) / scale. Standard deviation, range or
        interquartile range, by group; 1 where that is 0.
    """

    reference: ScanReference
    transitions: pl.DataFrame
    center: Floats
    scale: Floats

    @classmethod
    def fit(cls, features: IntoDataFrame, reference: ScanReference) -> ScanInputs:
        """Learn from the features of training scans.

        Raises
        ------
        ValueError
            When there are no rows.
        """
        frame = reference.place_features(to_polars(features))
        if frame.is_empty():
            raise ValueError("nothing to learn from: no training scans")
        moves = frame.select(_ORIGIN, to_place="place").drop_nulls()
        transitions = (
            moves.group_by("from_place", "to_place")
            .len()
            .with_columns(
                frequency=pl.col("len").cast(pl.Float64) / pl.col("len").sum().over("from_place")
            )
            .drop("len")
            .sort("from_place", "to_place")
        )
        blank = cls(reference, transitions, np.zeros(len(INPUTS)), np.ones(len(INPUTS)))
        table = _numbers(blank.enrich(frame), INPUTS)
        known = np.ma.masked_invalid(table)
        center, scale = np.zeros(len(INPUTS)), np.ones(len(INPUTS))
        for column, name in enumerate(INPUTS):
            values = known[:, column].compressed()
            if len(values) == 0 or name in UNSCALED:
                continue
            if name in STANDARD:
                center[column], spread = values.mean(), values.std()
            elif name in MIN_MAX:
                center[column], spread = values.min(), np.ptp(values)
            else:
                low, center[column], high = np.quantile(values, [0.25, 0.5, 0.75])
                spread = high - low
            scale[column] = spread if spread > 0 else 1.0
        return cls(reference, transitions, center, scale)

    def enrich(self, features: IntoDataFrame) -> pl.DataFrame:
        """Add place features and `location_transition_frequency` (0 for a move never seen).

        The frequency is null where this scan or the one before has no place.
        """
        frame = self.reference.place_features(to_polars(features))
        kept = [name for name in frame.columns if name != "location_transition_frequency"]
        moved = (
            frame[kept]
            .with_columns(_ORIGIN)
            .join(
                self.transitions,
                left_on=["from_place", "place"],
                right_on=["from_place", "to_place"],
                how="left",
                maintain_order="left",
            )
            .with_columns(_FREQUENCY)
        )
        return moved[[*kept, "location_transition_frequency"]]

    def transform(
        self, features: IntoDataFrame, names: tuple[str, ...] = INPUTS, *, scaled: bool = True
    ) -> Floats:
        """Return model inputs.

        Parameters
        ----------
        features
            Scan features; enriched here when they are not yet.
        names
            Which inputs, in the order of the columns.
        scaled
            Scaled by group, or as they are.

        Returns
        -------
        (n, len(names)) float64
            Always finite: what is missing is the training data's center (0 when scaled), and for
            an input that is not scaled 0.

        Raises
        ------
        ValueError
            When a name is none of `INPUTS`.
        """
        if unknown := [name for name in names if name not in INPUTS]:
            raise ValueError(f"no such inputs: {unknown}")
        frame = to_polars(features)
        if "location_transition_frequency" not in frame.columns:
            frame = self.enrich(frame)
        chosen = [INPUTS.index(name) for name in names]
        center, scale = self.center[chosen], self.scale[chosen]
        table = _numbers(frame, names)
        table = np.where(np.isfinite(table), table, center)
        return (table - center) / scale if scaled else table

    def scale_of(self, names: tuple[str, ...]) -> tuple[Floats, Floats]:
        """Return copies of the center and scale of inputs, by which `transform` scales them."""
        chosen = [INPUTS.index(name) for name in names]
        return self.center[chosen], self.scale[chosen]

    def to_arrays(self) -> Arrays:
        """Return everything as arrays for a bundle."""
        return {
            **self.reference.to_arrays(),
            **pack_frame("inputs.transitions", self.transitions),
            "inputs.center": self.center,
            "inputs.scale": self.scale,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[np.generic]]) -> ScanInputs:
        """Read everything back from a bundle's arrays.

        Raises
        ------
        ValueError
            When an array is missing or of another length.
        """
        center = np.asarray(require("inputs.center", arrays), dtype=np.float64)
        scale = np.asarray(require("inputs.scale", arrays), dtype=np.float64)
        if not (np.isfinite(center).all() and (scale > 0).all() and np.isfinite(scale).all()):
            raise ValueError("the bundle's scales are not finite and positive")
        if center.shape != (len(INPUTS),) or scale.shape != (len(INPUTS),):
            raise ValueError(f"the bundle has {center.shape} scales, this version {len(INPUTS)}")
        transitions = unpack_frame("inputs.transitions", arrays)
        return cls(ScanReference.from_arrays(arrays), transitions, center, scale)


def _numbers(frame: pl.DataFrame, names: tuple[str, ...]) -> Floats:
    """(n, names) the columns as numbers, NaN for null."""
    columns = [frame[name].cast(pl.Float64).to_numpy() for name in names]
    return np.stack(columns).T
