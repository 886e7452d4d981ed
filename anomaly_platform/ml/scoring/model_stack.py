"""The models in use as one stack of arrays, in which compiled passes find each reading's by place.

What belongs here: where in the arrays things are, and the one pass in which a reading gets its raw
score and p-value, whether it comes alone or with its day. Which models are in the stack is
`online`'s business.
"""

from operator import attrgetter
from typing import Annotated, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from anomaly_platform.ml.addresses import Layout
from anomaly_platform.ml.arrays import AnyArray, Bools, Floats, Ints, Singles
from anomaly_platform.ml.calibration.conformal import P_FLOOR
from anomaly_platform.ml.detectors.isolation_forest import ForestArrays
from anomaly_platform.ml.detectors.statistical_kernels import HISTORY, MIN_COUNT, statistical_rows
from anomaly_platform.ml.detectors.statistical_kernels import P_FLOOR as FALLBACK_FLOOR
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.scoring import row_kernels
from anomaly_platform.ml.series_model.input_kernels import FLOOR_SHARE
from anomaly_platform.ml.series_model.inputs import input_schema, related_names
from anomaly_platform.ml.series_model.level_shift import level_names
from anomaly_platform.ml.series_model.model import RESTING_SHARE, SeriesModel


class Columns:
    """Where in a feature array the kernels find what they need."""

    def __init__(self, feature_set: MetricFeatureSet) -> None:
        place = {name: i for i, name in enumerate(feature_set.names)}
        last = feature_set.windows[-1]

        def at(*names: str) -> Ints:
            return np.array([place[name] for name in names], dtype=np.int64)

        self.shortest = feature_set.windows[0]
        self.inputs = len(input_schema(feature_set))
        self.history = at(*(f"{name}_{last}" for name in HISTORY))
        first = feature_set.windows[0]
        self.table = at(*level_names(feature_set), f"jitter_{last}", f"mean_{first}")
        self.related = at(*related_names(feature_set))


class RoomArrays(NamedTuple):
    """What compiled passes take of a `Room`, each array with so many axes."""

    slots: Annotated[Ints, 1]
    times: Annotated[Ints, 1]
    rules: Annotated[Floats, 2]
    logarithms: Annotated[Floats, 2]
    history: Annotated[Floats, 2]
    table: Annotated[Floats, 2]
    related: Annotated[Floats, 2]
    inputs: Annotated[Floats, 2]
    forest: Annotated[Floats, 1]
    short: Annotated[Floats, 1]
    effect: Annotated[Ints, 1]
    frozen: Annotated[Bools, 1]
    known: Annotated[Bools, 1]
    flagged: Annotated[Bools, 1]
    kinds: Annotated[Ints, 1]
    alone: Annotated[Floats, 1]
    score: Annotated[Floats, 1]


class Room:
    """Where the passes write what they find of (n,) readings.

    With one reading it is used again and again: to make these arrays takes longer than to fill
    them.

    Attributes
    ----------
    slots, times
        (n,) place of each reading's model, −1 for none; microseconds since 1970.
    rules
        (5, n) what the statistical rules say.
    raw, p, known
        (n,) raw scores and p-values, and whether there is a model that speaks.
    score, flagged
        (n,) for `row_kernels.decide_rows`.
    kinds, alone
        (n,) evidence of runs that decides (`series_runs.kernels`), and p-values without it.
    """

    def __init__(self, n: int, columns: Columns) -> None:
        self.slots, self.times = np.full(n, -1, dtype=np.int64), np.zeros(n, dtype=np.int64)
        self.rules, self.logarithms = np.empty((5, n)), np.empty((2, n))
        self.raw, self.p, self.score = self.rules[3], self.rules[4], np.empty(n)
        self.history = np.empty((columns.history.size, n))
        self.table = np.empty((columns.table.size, n))
        self.related = np.empty((columns.related.size, n))
        self.inputs = np.zeros((n, columns.inputs))
        self.forest, self.short = np.zeros(n), np.zeros(n)
        self.effect = np.zeros(n, dtype=np.int64)
        self.frozen, self.known, self.flagged = np.zeros((3, n), dtype=np.bool_)
        self.kinds, self.alone = np.zeros(n, dtype=np.int64), np.full(n, np.nan)

    @property
    def arrays(self) -> RoomArrays:
        """What compiled passes take."""
        return RoomArrays._make(_ARRAYS_OF(self))


_ARRAYS_OF = attrgetter(*RoomArrays._fields)


class Models(NamedTuple):
    """The models, an array per part of them: (slots, …), with so many axes."""

    constants: Annotated[Floats, 2]
    periods: Annotated[Ints, 2]
    units: Annotated[Floats, 3]
    spreads: Annotated[Floats, 2]
    season: Annotated[Singles, 4]
    week: Annotated[Singles, 4]
    level_season: Annotated[Singles, 4]
    level_week: Annotated[Singles, 4]
    feature: Annotated[npt.NDArray[np.uint8], 3]
    cut: Annotated[Singles, 3]
    path: Annotated[Singles, 3]
    scaling: Annotated[Floats, 3]
    knots: Annotated[Floats, 3]
    values: Annotated[Floats, 2]
    exceeding: Annotated[npt.NDArray[np.uint32], 2]
    tail: Annotated[Floats, 2]
    runs: Annotated[Floats, 2]
    visited: Annotated[Floats, 2]


_LAYOUT = Layout(Models)


class ModelStack:
    """The models of many series, and the pass in which readings are scored with them."""

    def __init__(self, size: int, like: SeriesModel) -> None:
        # Memory is taken from the system when a model is put there, not before.
        self.models = Models._make(
            np.empty((size, *part.shape[1:]), dtype=part.dtype) for part in _arrays_of(like)
        )

    @classmethod
    def of(cls, model: SeriesModel) -> Self:
        """Return a stack of one model."""
        stack = cls.__new__(cls)
        stack.models = _arrays_of(model)
        return stack

    def put(self, place: int, model: SeriesModel) -> None:
        """Lay a model into a row."""
        parts: tuple[AnyArray, ...] = _arrays_of(model)
        arrays: tuple[AnyArray, ...] = self.models
        for array, part in zip(arrays, parts, strict=True):
            array[place] = part[0]

    def history(self, place: int) -> float:
        """Return how many values the longest window must hold for a model to speak."""
        return float(self.models.constants[place, row_kernels.HISTORY])

    def moves(self, place: int) -> bool:
        """Return what `SeriesModel.moves` does."""
        return bool(self.models.constants[place, row_kernels.JITTER] > 0.0)

    def score(self, room: Room, columns: Columns, runs: Floats) -> None:
        """Write raw scores, p-values and `known` of the readings that have a model.

        Parameters
        ----------
        room
            After `judge_by_window`.
        columns
            What the features are.
        runs
            (`RUN_COLUMNS`, n), or (0, n) where no runs are judged.
        """
        measure(self.models, room, columns, runs)
        conclude(self.models, room)
        if runs.size:
            join_runs(self.models, room, runs)

    def score_series(self, times: Ints, features: Floats, columns: Columns) -> Room:
        """Score readings of the series whose model is the only one here.

        Parameters
        ----------
        times, features
            (n,) microseconds since 1970, (features, n); every reading has a value.
        columns
            What the features are.
        """
        room = Room(times.size, columns)
        room.slots[:], room.times = 0, times
        judge_by_window(features, columns, room)
        self.score(room, columns, np.empty((0, times.size)))
        return room


def forest_of(models: Models, place: int) -> ForestArrays:
    """Return the forest of one model: views, no copies."""
    own = models.constants[place, row_kernels.NORMALISER : row_kernels.NORMALISER + 1]
    feature, cut, path = models.feature[place], models.cut[place], models.path[place]
    return ForestArrays(feature, cut, path, models.scaling[place], own)


def judge_by_window(features: Floats, columns: Columns, room: Room) -> None:
    """Take (features, n) of readings in, and write what the statistical rules say of them."""
    features.take(columns.history, 0, room.history, "clip")
    features.take(columns.table, 0, room.table, "clip")
    features.take(columns.related, 0, room.related, "clip")
    statistical_rows(room.table[0], room.history, MIN_COUNT, FALLBACK_FLOOR, room.rules)


def measure(models: Models, room: Room, columns: Columns, runs: Floats) -> None:
    """Write what each reading is to its model, after `judge_by_window`; `runs` as in `score`."""
    row_kernels.measure_rows(models, room.arrays, columns.shortest, runs)
    np.log1p(room.logarithms, out=room.logarithms)


def conclude(models: Models, room: Room) -> None:
    """Write raw scores, p-values and `known`, after `measure`."""
    row_kernels.conclude_rows(models, room.arrays, P_FLOOR)


def join_runs(models: Models, room: Room, runs: Floats) -> None:
    """Lower p-values to what (`RUN_COLUMNS`, n) run columns say, after `conclude`."""
    row_kernels.join_rows(models, room.arrays, runs)


def _arrays_of(model: SeriesModel) -> Models:
    """Return a model alone, in place 0; refused where a part is not of the layout's type."""
    models = Models._make(part[None] for part in _parts(model))
    _LAYOUT.check(models)
    return models


def _parts(model: SeriesModel) -> list[AnyArray]:
    """Return a model's arrays in the order of `Models`."""
    inputs, level, calibration = model.inputs, model.position, model.calibration
    forest = model.detector.forest
    rests = not int(calibration.exceeding[0]) > RESTING_SHARE * calibration.rows
    profiles = (inputs.season, inputs.week, level.season, level.week)
    return [
        np.array(
            (
                FLOOR_SHARE * inputs.trailing,
                inputs.step,
                inputs.jitter,
                inputs.narrow,
                forest.normaliser[0],
                float(rests),
                model.history,
                level.most,
                np.log1p(level.distances[-1]),
                *level.constants,
                *level.alone,
                *inputs.quiet,
            )
        ),
        np.array([(one.period, one.phases) for one in profiles], dtype=np.int64).ravel(),
        np.array((inputs.medians, inputs.tails)),
        inputs.spreads,
        *(np.array((one.offset, one.widening), dtype=np.float32) for one in profiles),
        forest.feature,
        forest.threshold,
        forest.path_length,
        forest.scaling,
        np.array((level.distances, level.raw_scores)),
        calibration.values,
        calibration.exceeding,
        calibration.tail,
        model.runs.constants,
        model.visited,
    ]
