"""The one-class SVM over scans with its inputs and calibration: what a bundle of it holds."""

from dataclasses import dataclass
from typing import ClassVar, Final, Self

import numpy as np
import polars as pl

from anomaly_platform.ml.arrays import AnyArray, Arrays, Floats
from anomaly_platform.ml.calibration.conformal import Calibration
from anomaly_platform.ml.detectors.base import part_of, under
from anomaly_platform.ml.detectors.one_class_svm import FEATURES, OneClassSVM, SvmSearch
from anomaly_platform.ml.detectors.sequence_lstm.calibrated import calibration_start, doubtful
from anomaly_platform.ml.features.scans.inputs import ScanInputs
from anomaly_platform.ml.features.scans.reference import ScanReference

SHORTEST_HOURS: Final = 0.1
RAREST_MOVE: Final = 1e-4
"""Added before logarithms: six minutes, and a frequency below which a move was never seen."""
_READ: Final = [
    *("hour", "day_of_week", "is_weekend", "time_since_last_scan", "sequence_length"),
    *("manufacture_age_days", "place", "previous_location", "business_step"),
]
"""Of the scan features; the other inputs come with place and transition."""
NAMED: Final = 2
"""Features that an explanation names."""


@dataclass(frozen=True)
class SvmVerdicts:
    """Raw scores (n,), p-values (n,), and each feature's distance from usual, (n, features)."""

    raw: Floats
    p_values: Floats
    distance: Floats

    def unusual(self, row: int) -> list[tuple[str, float]]:
        """Name the features furthest from usual at one row, in standard deviations."""
        order = np.argsort(-np.abs(self.distance[row]), kind="stable")[:NAMED]
        return [(FEATURES[i], float(self.distance[row, i])) for i in order]


@dataclass(frozen=True)
class CalibratedSvm:
    """Inputs, one-class SVM and calibration. Fitted: use `fit` or `from_arrays`."""

    columns: ClassVar[tuple[str, ...]] = (
        *("hour", "day_of_week", "is_weekend", "place", "previous_location"),
        *("sequence_length", "time_since_last_scan", "manufacture_age_days"),
    )
    feature_schema: ClassVar[tuple[str, ...]] = FEATURES

    inputs: ScanInputs
    svm: OneClassSVM
    calibration: Calibration

    @classmethod
    def fit(
        cls,
        scans: pl.DataFrame,
        reference: ScanReference,
        *,
        seed: int = 42,
        search: SvmSearch | None = None,
    ) -> Self:
        """Learn on the first part of a window, calibrate on its last fifth.

        Parameters
        ----------
        scans
            Scan features of the window, with the rules' scores where there are any; scans that
            break a rule are left out.
        reference
            What is known about places.
        seed, search
            As in `OneClassSVM`.
        """
        cut = calibration_start(scans)
        believed = scans.filter(pl.Series(~doubtful(scans)))
        early = believed.filter(pl.col("event_time") < cut)
        inputs = ScanInputs.fit(early, reference)
        svm = OneClassSVM(FEATURES, search=search)
        svm.fit(_numbers(inputs, early), seed=seed)
        late = believed.filter(pl.col("event_time") >= cut)
        raw = svm.score(_numbers(inputs, late))
        return cls(inputs, svm, Calibration.fit(raw, tail_floor=svm.tail_floor))

    def judge(self, scans: pl.DataFrame) -> SvmVerdicts:
        """Score scan features; a row's verdict depends on the row alone."""
        X = _numbers(self.inputs, scans)
        raw = self.svm.score(X)
        return SvmVerdicts(raw, self.calibration.p_value(raw), self.svm.standardise(X))

    def to_arrays(self) -> dict[str, AnyArray]:
        """Everything that a p-value depends on."""
        return {
            **under("svm/", self.svm.to_arrays()),
            **under("svm/calibration/", self.calibration.to_arrays()),
            **self.inputs.to_arrays(),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Read what `to_arrays` returned."""
        return cls(
            ScanInputs.from_arrays(arrays),
            OneClassSVM.from_arrays(part_of(arrays, "svm/"), FEATURES),
            Calibration.from_arrays(part_of(arrays, "svm/calibration/")),
        )


def _numbers(inputs: ScanInputs, scans: pl.DataFrame) -> Floats:
    """(n, features) what the SVM reads: hours and frequencies as logarithms, the rest scaled.

    Both count by their ratio: between a move that nobody ever made and one in a hundred lies
    more than between one in a hundred and one in ten. A move between places that are not known
    is none, and counts as a usual one.
    """
    frame = inputs.enrich(scans[_READ])
    X = inputs.transform(frame, FEATURES)
    hours = inputs.transform(frame, ("time_since_last_scan",), scaled=False)[:, 0]
    frequency = frame["location_transition_frequency"].to_numpy()
    frequency = np.where(np.isnan(frequency), 1.0, frequency)
    X[:, FEATURES.index("time_since_last_scan")] = np.log(hours + SHORTEST_HOURS)
    X[:, FEATURES.index("location_transition_frequency")] = np.log(frequency + RAREST_MOVE)
    return X
