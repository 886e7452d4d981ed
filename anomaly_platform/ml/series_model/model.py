"""One series: fitting its model, and scoring readings with it.

A `SeriesModel` is the inputs' constants, a forest over the inputs and a calibration. Here is also
how a series' rows are split, since fitting, calibrating and measuring must never share rows:

    |------------- fitted on (80 %) -------------|-- calibration (20 %) --|
                                                 | half A    | half B     |

The final calibration uses the whole calibration part. Quality is measured with a calibration on
half A and anomalies injected into half B. What a host's series say together (`ml.fusion`) is
calibrated on p-values that each fifth of the calibration part got from the other four, since
p-values of rows that a calibration has seen would be too even.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly_platform.ml.calibration.conformal import Calibration
from anomaly_platform.ml.detectors.isolation_forest import IsolationForest
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.features.metrics.kernels import Ints
from anomaly_platform.ml.series_model.inputs import Columns, Floats, InputModel, input_schema
from anomaly_platform.ml.series_model.level_shift import FROZEN_WORTH, PositionModel
from anomaly_platform.ml.series_model.noise import growth

Arrays = dict[str, npt.NDArray[Any]]
Bools = npt.NDArray[np.bool_]

#: Share of a series' rows, the last ones, that is held out from fitting.
CALIBRATION_SHARE = 0.2
#: Blocks of the calibration part that judge each other.
CROSS_BLOCKS = 5
#: A series rests when at most this share of its calibration scores is above the lowest.
RESTING_SHARE = 0.05
#: Weight of the distance beside the forest's score; see `SeriesModel.raw_score`.
DISTANCE_WEIGHT = 1.0
#: The smallest scale of a raw score's tail beyond the calibration part.
TAIL_FLOOR = 0.05
#: Share of the longest window that must hold values before a model is believed …
HISTORY_SHARE = 2.0 / 3.0
#: … or, where that is less, as many as all but this share of the calibration part's rows had.
HISTORY_QUANTILE = 0.01


@dataclass(frozen=True)
class SeriesModel:
    """What scores the readings of one series.

    Attributes
    ----------
    inputs
        Constants of the model inputs.
    forest
        The forest over them.
    position
        The usual levels.
    calibration
        From raw score to p-value.
    history
        Values that the longest window must hold for a reading to be like those of the calibration
        part (`required_history`).
    """

    inputs: InputModel
    forest: IsolationForest
    position: PositionModel
    calibration: Calibration
    history: float = 0.0

    @property
    def moves(self) -> bool:
        """Whether most steps of the training part went anywhere."""
        return self.inputs.jitter > 0.0

    def raw_score(self, times: Ints, columns: Columns, feature_set: MetricFeatureSet) -> Floats:
        """Return (n,) raw scores of (n,) times and columns; every row must have a value.

        The larger of what the model inputs say (`combine`) and what the position is worth.
        """
        inputs = self.inputs.derive(times, columns, feature_set)
        grown = growth(columns, feature_set, self.inputs.jitter)
        places = self.position.places(times, columns, feature_set)
        related = combine(self.forest, inputs)
        related = self.position.temper(related, places, times, columns, feature_set)
        raw = np.maximum(related, self.position.worth(self.position.distance(places, grown)))
        raw[self.position.frozen(columns, feature_set)] += FROZEN_WORTH
        return raw

    def p_value(self, raw: Floats, fallback: Floats) -> Floats:
        """Return (n,) p-values of raw scores.

        A series that rested in its calibration part gave no measure of how unusual a change is:
        every change is infinitely far. There the trailing window has a say as well, so that the
        first change is an anomaly and the hundredth of the same day is not.

        Parameters
        ----------
        raw
            (n,) raw scores.
        fallback
            (n,) p-values of the readings against their trailing window, NaN where it is too short.
        """
        p = self.calibration.p_value(raw)
        above_lowest = int(self.calibration.exceeding[0])
        if above_lowest > RESTING_SHARE * self.calibration.rows:
            return p
        return np.fmax(p, fallback)

    def knows(self, columns: Columns, feature_set: MetricFeatureSet) -> Bools:
        """Return (n,) whether readings have history enough for the model to speak of them."""
        return np.asarray(columns[_count(feature_set)] >= self.history)

    def p_value_of_new(self, raw: Floats, fallback: Floats) -> Floats:
        """Return (n,) p-values of readings without history enough (`knows`).

        Both the model and the trailing window must find them unusual: the model's inputs are
        relations to a window that is not yet what it was in calibration, and the window alone
        takes the first morning after the first night for an incident. NaN where the window is
        too short even for the fallback. Parameters as in `p_value`.
        """
        return np.maximum(self.calibration.p_value(raw), fallback)

    def to_arrays(self) -> Arrays:
        """Return everything that scoring depends on, of the same shapes for every series."""
        parts = {
            "inputs": self.inputs.to_arrays(),
            "forest": self.forest.to_arrays(),
            "position": self.position.to_arrays(),
            "calibration": self.calibration.to_arrays(),
        }
        flat = {f"{part}/{name}": a for part, arrays in parts.items() for name, a in arrays.items()}
        return {**flat, "history": np.array([self.history])}

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, npt.NDArray[Any]], feature_set: MetricFeatureSet
    ) -> SeriesModel:
        """Return the model that wrote the arrays; its scores are the same to the bit."""

        def part(prefix: str) -> Arrays:
            return {
                name.removeprefix(prefix): array
                for name, array in arrays.items()
                if name.startswith(prefix)
            }

        return cls(
            InputModel.from_arrays(part("inputs/")),
            IsolationForest.from_arrays(part("forest/"), input_schema(feature_set)),
            PositionModel.from_arrays(part("position/")),
            Calibration.from_arrays(part("calibration/")),
            float(arrays["history"][0]),
        )


def combine(forest: IsolationForest, inputs: Floats) -> Floats:
    """Return (n,) raw scores of (n, inputs) model inputs, higher = more anomalous.

    The forest's score within the training range, plus the logarithm of the inputs' distance from
    ordinary in units of their rare distances. A forest saturates: once a reading is alone in its
    leaf, twice as far is the same to it, and several inputs that are slightly unusual at once
    isolate no earlier than one. The distance sees both, and grows without end, so the forest's
    own term for readings beyond the training range is not wanted here: with a dozen inputs, one
    of them leaves its range so often that this term alone would decide what is rare.
    """
    low, high = forest.forest.scaling[2], forest.forest.scaling[3]
    distance = np.sqrt(np.mean(np.square(inputs), axis=1))
    scores: Floats = forest.score(np.clip(inputs, low, high)) + DISTANCE_WEIGHT * np.log1p(distance)
    return scores


def required_history(columns: Columns, feature_set: MetricFeatureSet) -> float:
    """Return how many values the longest window must hold for the calibration to mean anything.

    A window that is still filling up is another window: its level is that of the hours seen so
    far, and every reading after the first night looks high against it. A calibration part that
    itself had less to go on asks for no more.

    Parameters
    ----------
    columns
        (c,) feature columns of the calibration part, c ≥ 1.
    feature_set
        What the columns are.
    """
    held = np.quantile(columns[_count(feature_set)], HISTORY_QUANTILE, method="lower")
    return min(float(held), float(int(HISTORY_SHARE * feature_set.windows[-1])))


def _count(feature_set: MetricFeatureSet) -> str:
    return f"count_{feature_set.windows[-1]}"


def calibration_start(rows: int) -> int:
    """Return the first row of the calibration part of a series of `rows` rows with a value."""
    return rows - max(1, round(CALIBRATION_SHARE * rows))
