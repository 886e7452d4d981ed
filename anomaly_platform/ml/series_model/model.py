"""The model of one series, and how the series' rows are split to make it.

A `SeriesModel` is the inputs' constants, a detector over the inputs and a calibration. Here is also
how a series' rows are split, since fitting, calibrating and measuring must never share rows:

    |------------- fitted on (80 %) -------------|-- calibration (20 %) --|
                                                 | half A    | half B     |

The final calibration uses the whole calibration part. Quality is measured with a calibration on
half A and anomalies injected into half B. What a host's series say together (`ml.scoring.entities`)
is calibrated on p-values that each fifth of the calibration part got from the other four, since
p-values of rows that a calibration has seen would be too even.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from anomaly_platform.ml.arrays import AnyArray, Arrays, Columns, Floats
from anomaly_platform.ml.bundles.checking import BadModelError, checked
from anomaly_platform.ml.calibration.conformal import TAIL_NUMBERS, Calibration
from anomaly_platform.ml.detectors.base import part_of, under
from anomaly_platform.ml.detectors.series_forest import SeriesForest
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.series_model.input_kernels import QUIET_UNITS
from anomaly_platform.ml.series_model.inputs import InputModel, input_schema
from anomaly_platform.ml.series_model.level_shift import ALONE, PositionModel
from anomaly_platform.ml.series_model.outage import UNKNOWN
from anomaly_platform.ml.series_model.seasonality import PHASES, WEEK_PHASES
from anomaly_platform.ml.series_model.visited import VISITED_SIZE, nothing_visited, read_visited
from anomaly_platform.ml.series_runs.layout import RUN_CONSTANTS, STATE_SIZE
from anomaly_platform.ml.series_runs.model import RunModel

#: Share of a series' rows, the last ones, that is held out from fitting.
CALIBRATION_SHARE = 0.2
#: Blocks of the calibration part that judge each other.
CROSS_BLOCKS = 5
#: A series rests when at most this share of its calibration scores is above the lowest.
RESTING_SHARE = 0.05
#: Share of its rows from which on the longest window counts as whole, with a few of them missing.
OFTEN = 0.9
#: Share of what the longest window holds as a rule that must be there before a model is believed …
HISTORY_SHARE = 2.0 / 3.0
#: … or, where that is less, as many as all but this share of the calibration part's rows had.
HISTORY_QUANTILE = 0.01
_RUNS = "runs/"
_VISITED = "visited"


@dataclass(frozen=True)
class SeriesModel:
    """What scores the readings of one series (`scoring.model_stack`).

    Attributes
    ----------
    inputs
        Constants of the model inputs.
    detector
        What was fitted on them.
    position
        The usual levels.
    calibration
        From raw score to p-value.
    history
        Values that the longest window must hold for a reading to be like those of the calibration
        part (`required_history`).
    runs
        What is ordinary of its runs; says nothing in bundles that were made without.
    visited
        The ranges of its training rows (`visited`); none in bundles that were made without.
    """

    inputs: InputModel
    detector: SeriesForest
    position: PositionModel
    calibration: Calibration
    history: float = 0.0
    runs: RunModel = field(default_factory=RunModel.silent)
    visited: Floats = field(default_factory=nothing_visited)

    @property
    def moves(self) -> bool:
        """Whether most steps of the training part went anywhere."""
        return self.inputs.jitter > 0.0

    def to_arrays(self) -> dict[str, AnyArray]:
        """Return everything that scoring depends on, of the same shapes for every series."""
        return {
            **under("inputs/", self.inputs.to_arrays()),
            **under("forest/", self.detector.to_arrays()),
            **under("position/", self.position.to_arrays()),
            **under("calibration/", self.calibration.to_arrays()),
            "history": np.array([self.history]),
            **under(_RUNS, self.runs.to_arrays()),
            _VISITED: self.visited,
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays, feature_set: MetricFeatureSet) -> SeriesModel:
        """Return the model that wrote the arrays; its scores are the same to the bit.

        Raises
        ------
        BadModelError
            When the arrays are no model of these features.
        """
        names = input_schema(feature_set)
        inputs = InputModel.from_arrays(part_of(arrays, "inputs/"))
        position = PositionModel.from_arrays(part_of(arrays, "position/"))
        wanted = {"inputs": len(names), "spreads": max(len(feature_set.windows) - 2, 0)}
        found = {"inputs": inputs.season.offset.shape[0], "spreads": inputs.spreads.size}
        widths = [
            (one.season.offset.shape[1], one.week.offset.shape[1]) for one in (inputs, position)
        ]
        if found != wanted or widths != [(PHASES, WEEK_PHASES)] * 2:
            raise BadModelError(f"the model is of {found} and the phases {widths}, not of {wanted}")
        if position.season.offset.shape[0] != 1 or position.week.offset.shape[0] != 1:
            raise BadModelError("the profiles of the level are of more than the level")
        return cls(
            inputs,
            SeriesForest.from_arrays(part_of(arrays, "forest/"), names),
            position,
            Calibration.from_arrays(part_of(arrays, "calibration/")),
            float(checked(arrays, "history", (1,), low=0.0)[0]),
            RunModel.from_arrays(part_of(arrays, _RUNS)),
            read_visited(arrays, _VISITED),
        )


def has_shapes_of_today(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Return whether arrays of these names and shapes are of a model as it is fitted today."""
    today = {
        f"position/{ALONE}": UNKNOWN.shape,
        f"{_RUNS}constants": (RUN_CONSTANTS,),
        f"{_RUNS}last": (STATE_SIZE,),
        "calibration/tail": (TAIL_NUMBERS,),
        _VISITED: (VISITED_SIZE,),
        "inputs/quiet_units": (QUIET_UNITS,),
    }
    return all(shapes.get(name) == shape for name, shape in today.items())


def required_history(columns: Columns, feature_set: MetricFeatureSet) -> float:
    """Return how many values the longest window must hold for the calibration to mean anything.

    A window that is still filling up is another window: its level is that of the hours seen so
    far, and every reading after the first night looks high against it. A calibration part that
    itself had less to go on asks for no more, but for one value: beside none, all look alike. What
    a window holds as a rule is the series' own median, as it may report less often than its stream.

    Parameters
    ----------
    columns
        (c,) feature columns of the calibration part, c ≥ 1.
    feature_set
        What the columns are.
    """
    ordered = np.sort(columns[_count(feature_set)])
    held = ordered[int(HISTORY_QUANTILE * (ordered.size - 1))]
    whole, usual = feature_set.windows[-1], float(ordered[(ordered.size - 1) // 2])
    share = HISTORY_SHARE * (usual if usual < OFTEN * whole else whole)
    return max(1.0, min(float(held), float(int(share))))


def _count(feature_set: MetricFeatureSet) -> str:
    return f"count_{feature_set.windows[-1]}"


def calibration_start(rows: int) -> int:
    """Return the first row of the calibration part of a series of `rows` rows with a value."""
    return rows - max(1, round(CALIBRATION_SHARE * rows))
