"""The models in use as one stack of arrays, in which compiled passes find each reading's by place.

What belongs here: where in the arrays things are, and the raw scores and p-values that come out.
Which models are in the stack, and what a p-value means, is `online_scoring`'s business.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from anomaly_platform.ml.calibration.conformal import P_FLOOR
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.features.metrics.kernels import Ints
from anomaly_platform.ml.series_model.input_kernels import FLOOR_SHARE
from anomaly_platform.ml.series_model.inputs import input_schema
from anomaly_platform.ml.series_model.level_shift import FROZEN_WORTH, OUT_OF_PLACE
from anomaly_platform.ml.series_model.model import DISTANCE_WEIGHT, RESTING_SHARE, SeriesModel

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_TEMPERED_AT: Final = 0.995


class Columns:
    """Where in a feature array the kernels find what they need."""

    def __init__(self, feature_set: MetricFeatureSet) -> None:
        place = {name: i for i, name in enumerate(feature_set.names)}
        first, last = feature_set.windows[0], feature_set.windows[-1]
        difference = f"diff_{feature_set.lags[0]}"

        def at(*names: str) -> Ints:
            return np.array([place[name] for name in names], dtype=np.int64)

        self.shortest = first
        self.inputs = len(input_schema(feature_set))
        self.history = at(
            *(f"{name}_{last}" for name in ("mean", "std", "q25", "q75", "median", "mad", "count"))
        )
        self.table = at(
            "value",
            difference,
            f"min_{first}",
            f"max_{first}",
            f"count_{last}",
            f"missing_{first}",
            f"jitter_{last}",
        )
        self.related = at(
            "value",
            difference,
            *(f"median_{w}" for w in feature_set.windows),
            *(f"std_{w}" for w in feature_set.windows),
            f"mad_{last}",
        )


class Room:
    """Where the kernels write what they find of (n,) readings.

    With one reading it is used again and again: to make these arrays takes longer than to fill
    them.
    """

    def __init__(self, n: int, columns: Columns) -> None:
        self.raw, self.p, self.score = np.empty(n), np.empty(n), np.empty(n)
        self.history = np.empty((columns.history.size, n))
        self.table = np.empty((columns.table.size, n))
        self.related = np.empty((columns.related.size, n))
        self.slots, self.times = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
        self.inputs = np.zeros((n, columns.inputs))
        self.forest, self.short, self.within = np.zeros(n), np.full(n, -1.0), np.zeros(n)
        self.effect, self.frozen = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.bool_)
        self.known = np.zeros(n, dtype=np.bool_)


class ModelStack:
    """The models of many series as arrays with a row each."""

    def __init__(self, size: int, like: SeriesModel, feature_set: MetricFeatureSet) -> None:
        from anomaly_platform.ml.scoring.online_kernels import CONSTANTS

        inputs = len(input_schema(feature_set))
        forest = like.forest.forest

        def room(*shape: int, dtype: npt.DTypeLike = np.float64) -> npt.NDArray[Any]:
            # Memory is taken from the system when a model is put there, not before.
            return np.empty((size, *shape), dtype=dtype)

        self.constants = room(CONSTANTS)
        self.periods = room(8, dtype=np.int64)
        self.medians, self.tails = room(inputs), room(inputs)
        self.spreads = room(like.inputs.spreads.size)
        self.seasons = [
            room(*profile.offset.shape, dtype=np.float32)
            for profile in _profiles(like)
            for _ in ("offset", "widening")
        ]
        self.distances = room(like.position.distances.size)
        self.raw_scores = room(like.position.raw_scores.size)
        self.most, self.last_logarithm = room(), room()
        self.feature = room(*forest.feature.shape, dtype=np.uint8)
        self.cut = room(*forest.threshold.shape, dtype=np.float32)
        self.path = room(*forest.path_length.shape, dtype=np.float32)
        self.scaling = room(*forest.scaling.shape)
        self.values = room(like.calibration.values.size)
        self.exceeding = room(like.calibration.exceeding.size, dtype=np.uint32)
        self.tail = room(3)

    def put(self, place: int, model: SeriesModel) -> None:
        """Lay a model into a row."""
        from anomaly_platform.ml.series_model.level_shift import _PROBABILITIES

        inputs, position = model.inputs, model.position
        forest, calibration = model.forest.forest, model.calibration
        rests = not int(calibration.exceeding[0]) > RESTING_SHARE * calibration.rows
        self.constants[place] = (
            FLOOR_SHARE * inputs.trailing,
            inputs.step,
            inputs.jitter,
            inputs.narrow,
            position.centre,
            position.unit,
            position.level,
            position.level_tail,
            position.swing,
            position.swing_limit,
            position.slack,
            position.ordinary,
            position.resting,
            forest.normaliser[0],
            float(rests),
            model.history,
        )
        self.medians[place], self.tails[place] = inputs.medians, inputs.tails
        self.spreads[place] = inputs.spreads
        for k, profile in enumerate(_profiles(model)):
            self.periods[place, 2 * k : 2 * k + 2] = profile.period, profile.phases
            self.seasons[2 * k][place] = profile.offset
            self.seasons[2 * k + 1][place] = profile.widening
        self.distances[place] = position.distances
        self.raw_scores[place] = position.raw_scores
        self.most[place] = np.interp(_TEMPERED_AT, _PROBABILITIES, position.raw_scores)
        self.last_logarithm[place] = np.log1p(position.distances[-1])
        self.feature[place], self.cut[place] = forest.feature, forest.threshold
        self.path[place], self.scaling[place] = forest.path_length, forest.scaling
        self.values[place], self.exceeding[place] = calibration.values, calibration.exceeding
        self.tail[place] = calibration.tail

    def score(
        self, slots: Ints, times: Ints, features: Floats, columns: Columns, raw: Floats, p: Floats
    ) -> Bools:
        """Write raw scores and p-values of the readings that have a model.

        `p` holds the fallback's p-values before, and still does where there is no model. Returns
        (n,) whether there is a model, and history enough for it to speak.
        """
        from anomaly_platform.ml.scoring.online_kernels import COUNT, NOTHING, TEMPERED

        n = slots.size
        room = Room(n, columns)
        room.slots, room.times = slots, times
        room.table, room.related = features[columns.table], features[columns.related]
        self._judge(room, columns.shortest)
        inputs, forest, short = room.inputs, room.forest, room.short
        within, effect, frozen = room.within, room.effect, room.frozen
        # What numpy.mean does, without what it looks at first.
        distance = np.sqrt(np.add.reduce(np.square(inputs), axis=1) / inputs.shape[1])
        related = forest + DISTANCE_WEIGHT * np.log1p(distance)
        if effect.any():
            tempered = np.minimum(related, self.most[slots])
            related = np.where(effect == TEMPERED, tempered, related)
            related[effect == NOTHING] = 0.0
        worth = np.zeros(n)
        placed = np.flatnonzero(short >= 0.0)
        if placed.size:
            beyond = np.log1p(short[placed]) - self.last_logarithm[slots[placed]]
            worth[placed] = within[placed] + np.maximum(beyond, 0.0)
        total = np.maximum(related, worth)
        if frozen.any():
            total[frozen] += FROZEN_WORTH
        modelled = slots >= 0
        raw[modelled] = total[modelled]
        self._p_values(room, features[columns.table[COUNT]], raw, p)
        return room.known

    def score_one(
        self, slot: int, time: int, features: Floats, columns: Columns, room: Room
    ) -> bool:
        """Do for one reading what `score` does; in `room` are its raw score and p-value."""
        from anomaly_platform.ml.scoring.online_kernels import COUNT, NOTHING, TEMPERED

        room.slots[0], room.times[0] = slot, time
        features.take(columns.table, 0, room.table, "clip")
        features.take(columns.related, 0, room.related, "clip")
        self._judge(room, columns.shortest)
        squares = np.square(room.inputs)
        distance = math.sqrt(np.add.reduce(squares, axis=1).item() / columns.inputs)
        related = room.forest.item() + DISTANCE_WEIGHT * _log1p(distance)
        effect = room.effect.item()
        if effect == NOTHING:
            related = 0.0
        elif effect == TEMPERED:
            related = _least(related, self.most.item(slot))
        short, worth = room.short.item(), 0.0
        if short >= 0.0:
            beyond = _log1p(short) - self.last_logarithm.item(slot)
            worth = room.within.item() + _most(beyond, 0.0)
        total = _most(related, worth)
        if room.frozen.item():
            total += FROZEN_WORTH
        room.raw[0] = total
        room.known[0] = False
        self._p_values(room, room.table[COUNT], room.raw, room.p)
        return bool(room.known.item())

    def _judge(self, room: Room, shortest: int) -> None:
        from anomaly_platform.ml.scoring.online_kernels import judge_rows

        judge_rows(
            room.slots,
            room.times,
            room.table,
            room.related,
            self.constants,
            self.periods,
            self.medians,
            self.tails,
            self.spreads,
            self.seasons[0],
            self.seasons[1],
            self.seasons[2],
            self.seasons[3],
            self.seasons[4],
            self.seasons[5],
            self.seasons[6],
            self.seasons[7],
            self.distances,
            self.raw_scores,
            self.feature,
            self.cut,
            self.path,
            self.scaling,
            shortest,
            OUT_OF_PLACE,
            room.inputs,
            room.forest,
            room.short,
            room.within,
            room.effect,
            room.frozen,
        )

    def _p_values(self, room: Room, counts: Floats, raw: Floats, p: Floats) -> None:
        from anomaly_platform.ml.scoring.online_kernels import p_of_rows

        p_of_rows(
            room.slots,
            raw,
            p,
            counts,
            self.constants,
            self.values,
            self.exceeding,
            self.tail,
            P_FLOOR,
            room.known,
            p,
        )


def _log1p(x: float) -> float:
    """NumPy's logarithm, as the batch takes it: the C library's may round otherwise."""
    return float(np.log1p(np.array((x,))).item())


def _least(a: float, b: float) -> float:
    """`numpy.minimum` of two numbers."""
    return a if a < b or math.isnan(a) else b


def _most(a: float, b: float) -> float:
    """`numpy.maximum` of two numbers."""
    return a if a > b or math.isnan(a) else b


def _profiles(model: SeriesModel) -> list[Any]:
    return [model.inputs.season, model.inputs.week, model.position.season, model.position.week]
