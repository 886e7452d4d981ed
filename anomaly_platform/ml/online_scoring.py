"""Scoring readings as they come, many series at once: the batch's bits without its frames.

`FleetScorer` is made for days: a few calls per series, which cost nothing beside thousands of rows
and everything beside one. An `OnlineScorer` holds the models of a bundle that are in use as one
stack of arrays, in which a compiled pass finds each reading's model by its place.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from anomaly_platform.ml.calibration import (
    P_FLOOR,
    CalibrationError,
    exponent_of,
    score_of_p,
)
from anomaly_platform.ml.detectors.statistical import MIN_COUNT
from anomaly_platform.ml.detectors.statistical import P_FLOOR as FALLBACK_FLOOR
from anomaly_platform.ml.features.kernels import Ints
from anomaly_platform.ml.features.metrics import MetricFeatureSet
from anomaly_platform.ml.training.inputs import input_schema
from anomaly_platform.ml.training.position import FROZEN_WORTH, OUT_OF_PLACE
from anomaly_platform.ml.training.series import DISTANCE_WEIGHT, RESTING_SHARE, SeriesModel

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Key = tuple[str, str]

#: What a model takes in the stack, roughly.
MODEL_BYTES: Final = 270_000
INSUFFICIENT: Final = "insufficient_history"
_FLOOR_SHARE: Final = 0.25
_TEMPERED_AT: Final = 0.995


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What readings are, each array (n,).

    Attributes
    ----------
    raw, p_value, score
        NaN where nothing can be said.
    is_anomaly, decided
        The decision, and whether there is one: without a model only alarms are decided.
    status
        `trained`, `insufficient_history` or `failed`.
    """

    raw: Floats
    p_value: Floats
    score: Floats
    is_anomaly: Bools
    decided: Bools
    status: list[str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one reading is.

    Attributes
    ----------
    raw, p_value, score
        None where nothing can be said.
    is_anomaly
        None where nobody decides: without a model only alarms are decided.
    status
        `trained`, `insufficient_history` or `failed`.
    """

    raw: float | None
    p_value: float | None
    score: float | None
    is_anomaly: bool | None
    status: str


class ModelSource(Protocol):
    """What an `OnlineScorer` needs to know of a bundle."""

    @property
    def feature_set(self) -> MetricFeatureSet:
        """What the models were trained on."""

    @property
    def alpha(self) -> float:
        """Share of normal readings that may lie above the standard threshold."""

    def status(self, entity: str, metric: str) -> str:
        """Return `trained`, `insufficient_history` or `failed`."""

    def load_model(self, entity: str, metric: str) -> SeriesModel | None:
        """Read a series' model, None where there is none."""


class OnlineScorer:
    """Scores single readings with one bundle. Not for use by two threads at the same time.

    Parameters
    ----------
    source
        The bundle's models.
    models_held
        Models in memory at most, least recently used out first (`MODEL_BYTES` each).

    Attributes
    ----------
    lookups, evictions
        Readings that were judged, and models that made room for others.
    """

    def __init__(self, source: ModelSource, *, models_held: int = 512) -> None:
        self.source = source
        self.feature_set = source.feature_set
        self._places: OrderedDict[Key, int] = OrderedDict()
        self._held = max(1, models_held)
        self._stack: _Stack | None = None
        self.lookups = self.evictions = 0
        self._columns = _Columns(self.feature_set)
        self._room = _Room(1, self._columns)
        self._exponent = exponent_of(source.alpha)

    def judge(
        self, keys: Sequence[Key], times: Ints, features: Floats, thresholds: Floats
    ) -> Verdicts:
        """Score readings.

        Parameters
        ----------
        keys
            (n,) entity and metric of each.
        times
            (n,) microseconds since 1970.
        features
            (features, n) in the order of `feature_set.names`; every reading has a value.
        thresholds
            (n,) score from which each is an anomaly.

        Returns
        -------
        Verdicts
            The bits of `FleetScorer.score`.
        """
        from anomaly_platform.ml.online_kernels import fallback_rows

        columns = self._columns
        n = len(keys)
        self.lookups += n
        raw, p = np.empty(n), np.empty(n)
        values = np.ascontiguousarray(features[0])
        fallback_rows(values, features[columns.history], MIN_COUNT, FALLBACK_FLOOR, raw, p)
        status = [self.source.status(*key) for key in keys]
        trained = np.zeros(n, dtype=np.bool_)
        # A request may name more series than are held at once.
        for start in range(0, n, self._held):
            part = slice(start, start + self._held)
            slots = self._slots(keys[part])
            trained[part] = slots >= 0
            if self._stack is not None and bool(trained[part].any()):
                known = self._stack.score(
                    slots, times[part], features[:, part], columns, raw[part], p[part]
                )
                for i in np.flatnonzero(trained[part] & ~known) + start:
                    status[i] = INSUFFICIENT
                trained[part] &= known
        usable = ~np.isnan(p)
        raw[~usable] = np.nan
        score = np.full(n, np.nan)
        if usable.all():
            score = score_of_p(p, self.source.alpha)
        elif usable.any():
            score[usable] = score_of_p(p[usable], self.source.alpha)
        flagged = np.zeros(n, dtype=np.bool_)
        flagged[usable] = score[usable] >= thresholds[usable]
        return Verdicts(raw, p, score, flagged, trained | flagged, status)

    def judge_one(self, key: Key, time: int, features: Floats, threshold: float) -> Verdict:
        """Score one reading: what `judge` says of it, in a fraction of the time.

        Parameters
        ----------
        key
            Entity and metric.
        time
            Microseconds since 1970.
        features
            (features, 1).
        threshold
            Score from which it is an anomaly.
        """
        from anomaly_platform.ml.calibration_kernels import scores_of_p
        from anomaly_platform.ml.online_kernels import fallback_rows

        self.lookups += 1
        room, columns = self._room, self._columns
        raw, p, score = room.raw, room.p, room.score
        features.take(columns.history, 0, room.history, "clip")
        fallback_rows(features[0], room.history, MIN_COUNT, FALLBACK_FLOOR, raw, p)
        status = self.source.status(*key)
        place = self._place(key)
        speaks = False
        if place is not None and self._stack is not None:
            speaks = self._stack.score_one(place, time, features, columns, room)
            if not speaks:
                status = INSUFFICIENT
        p_value = p.item()
        if math.isnan(p_value):
            return Verdict(None, None, None, False if speaks else None, status)
        if not 0.0 < p_value <= 1.0:
            raise CalibrationError("p-values must be in (0, 1]")
        scores_of_p(p, self._exponent, score)
        found = score.item()
        flagged = found >= threshold
        return Verdict(raw.item(), p_value, found, flagged if speaks or flagged else None, status)

    def history_needed(self, key: Key) -> int | None:
        """Return how many rows the longest window must hold for a series' model to speak.

        None where no model of the series is in memory, as it is after `judge`.
        """
        place = self._places.get(key)
        if place is None or self._stack is None:
            return None
        return int(np.ceil(self._stack.constants[place, -1]))

    @property
    def held(self) -> list[Key]:
        """The series whose models are in memory, the least recently used first."""
        return list(self._places)

    def warm(self, keys: Sequence[Key]) -> None:
        """Read the models of series, as many as are held, before they are needed."""
        self._slots(keys[: self._held])

    def _slots(self, keys: Sequence[Key]) -> Ints:
        """Return the place of each series' model, loading those that are not there; −1 for none."""
        slots = np.full(len(keys), -1, dtype=np.int64)
        wanted = set(keys)
        for i, key in enumerate(keys):
            place = self._place(key, wanted)
            if place is not None:
                slots[i] = place
        return slots

    def _place(self, key: Key, wanted: Collection[Key] = ()) -> int | None:
        """Return the place of a series' model; None where it has none."""
        place = self._places.get(key)
        if place is not None:
            self._places.move_to_end(key)
            return place
        model = self.source.load_model(*key)
        if model is None:
            return None
        place = self._free_place(wanted)
        if self._stack is None:
            self._stack = _Stack(self._held, model, self.feature_set)
        self._stack.put(place, model)
        self._places[key] = place
        return place

    def _free_place(self, wanted: Collection[Key]) -> int:
        if len(self._places) < self._held:
            return len(self._places)
        oldest = next(key for key in self._places if key not in wanted)
        self.evictions += 1
        return self._places.pop(oldest)


class _Columns:
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
            "value", difference, f"min_{first}", f"max_{first}", f"count_{last}", f"missing_{first}"
        )
        self.related = at(
            "value",
            difference,
            *(f"median_{w}" for w in feature_set.windows),
            *(f"std_{w}" for w in feature_set.windows),
            f"mad_{last}",
        )


class _Room:
    """Where the kernels write what they find of (n,) readings.

    With one reading it is used again and again: to make these arrays takes longer than to fill
    them.
    """

    def __init__(self, n: int, columns: _Columns) -> None:
        self.raw, self.p, self.score = np.empty(n), np.empty(n), np.empty(n)
        self.history = np.empty((columns.history.size, n))
        self.table = np.empty((columns.table.size, n))
        self.related = np.empty((columns.related.size, n))
        self.slots, self.times = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
        self.inputs = np.zeros((n, columns.inputs))
        self.forest, self.short, self.within = np.zeros(n), np.full(n, -1.0), np.zeros(n)
        self.effect, self.frozen = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.bool_)
        self.known = np.zeros(n, dtype=np.bool_)


class _Stack:
    """The models of many series as arrays with a row each."""

    def __init__(self, size: int, like: SeriesModel, feature_set: MetricFeatureSet) -> None:
        from anomaly_platform.ml.online_kernels import CONSTANTS

        inputs = len(input_schema(feature_set))
        forest = like.forest.forest

        def room(*shape: int, dtype: npt.DTypeLike = np.float64) -> npt.NDArray[Any]:
            # Memory is taken from the system when a model is put there, not before.
            return np.empty((size, *shape), dtype=dtype)

        self.constants = room(CONSTANTS)
        self.periods = room(8, dtype=np.int64)
        self.medians, self.tails = room(inputs), room(inputs)
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
        from anomaly_platform.ml.training.position import _PROBABILITIES

        inputs, position = model.inputs, model.position
        forest, calibration = model.forest.forest, model.calibration
        rests = not int(calibration.exceeding[0]) > RESTING_SHARE * calibration.rows
        self.constants[place] = (
            _FLOOR_SHARE * inputs.trailing,
            inputs.step,
            position.centre,
            position.unit,
            position.level,
            position.level_tail,
            position.slack,
            position.ordinary,
            position.resting,
            forest.normaliser[0],
            float(rests),
            model.history,
        )
        self.medians[place], self.tails[place] = inputs.medians, inputs.tails
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
        self, slots: Ints, times: Ints, features: Floats, columns: _Columns, raw: Floats, p: Floats
    ) -> Bools:
        """Write raw scores and p-values of the readings that have a model.

        `p` holds the fallback's p-values before, and still does where there is no model. Returns
        (n,) whether there is a model, and history enough for it to speak.
        """
        from anomaly_platform.ml.online_kernels import COUNT, NOTHING, TEMPERED

        n = slots.size
        room = _Room(n, columns)
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
        self, slot: int, time: int, features: Floats, columns: _Columns, room: _Room
    ) -> bool:
        """Do for one reading what `score` does; in `room` are its raw score and p-value."""
        from anomaly_platform.ml.online_kernels import COUNT, NOTHING, TEMPERED

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

    def _judge(self, room: _Room, shortest: int) -> None:
        from anomaly_platform.ml.online_kernels import judge_rows

        judge_rows(
            room.slots,
            room.times,
            room.table,
            room.related,
            self.constants,
            self.periods,
            self.medians,
            self.tails,
            *self.seasons,
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

    def _p_values(self, room: _Room, counts: Floats, raw: Floats, p: Floats) -> None:
        from anomaly_platform.ml.online_kernels import p_of_rows

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
