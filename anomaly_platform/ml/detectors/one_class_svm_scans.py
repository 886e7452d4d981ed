"""The one-class SVM over scans with its inputs and calibration: what a bundle of it holds."""

import math
from dataclasses import dataclass
from typing import ClassVar, Final, NamedTuple, Self

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
_LOGARITHMS: Final = {
    "time_since_last_scan": SHORTEST_HOURS,
    "location_transition_frequency": RAREST_MOVE,
}
"""Features that are read as logarithms, with what is added before."""


class Distance(NamedTuple):
    """How far a feature of a scan is from the scans learned from.

    Attributes
    ----------
    feature
        Its name.
    value, usual
        What it is, and its mean; of features that count by their ratio the geometric mean.
    deviations
        The distance in standard deviations, positive where the value is higher.
    """

    feature: str
    value: float
    usual: float
    deviations: float


@dataclass(frozen=True)
class SvmVerdicts:
    """What the one-class SVM says of scans.

    Attributes
    ----------
    raw, p_values
        (n,) scores and p-values.
    distance
        (n, features) each feature's distance from usual, in standard deviations.
    center, spread
        (features,) what is usual, and a standard deviation, in the features' own units.
    """

    raw: Floats
    p_values: Floats
    distance: Floats
    center: Floats
    spread: Floats

    def distances(self, row: int) -> list[Distance]:
        """Return each feature's distance from usual at one row, the furthest one first."""
        far = self.distance[row]
        values = self.center + self.spread * far
        return [
            Distance(
                FEATURES[i],
                _unread(FEATURES[i], values.item(i)),
                _unread(FEATURES[i], self.center.item(i)),
                far.item(i),
            )
            for i in np.argsort(-np.abs(far), kind="stable").tolist()
        ]


def _unread(feature: str, number: float) -> float:
    """Return a feature's value from the number that the SVM reads."""
    added = _LOGARITHMS.get(feature)
    return number if added is None else max(0.0, math.exp(number) - added)


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
        center, spread = self.svm.scale
        begin, unit = self.inputs.scale_of(FEATURES)
        for name in _LOGARITHMS:
            begin[FEATURES.index(name)], unit[FEATURES.index(name)] = 0.0, 1.0
        return SvmVerdicts(
            raw,
            self.calibration.p_value(raw),
            self.svm.standardise(X),
            begin + unit * center,
            unit * spread,
        )

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
