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
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from anomaly_platform.ml.calibration.conformal import (
    CalibrationError,
    exponent_of,
    score_of_p,
)
from anomaly_platform.ml.detectors.statistical import MIN_COUNT
from anomaly_platform.ml.detectors.statistical import P_FLOOR as FALLBACK_FLOOR
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.features.metrics.kernels import Ints
from anomaly_platform.ml.scoring.model_stack import Columns, ModelStack, Room
from anomaly_platform.ml.series_model.model import SeriesModel

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Key = tuple[str, str]

#: What a model takes in the stack, roughly.
MODEL_BYTES: Final = 270_000
INSUFFICIENT: Final = "insufficient_history"


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
    hits, misses, evictions
        Readings whose model was in memory, models that had to be read for one, and models that made
        room for others. None ever falls; reading ahead (`warm`) is neither hit nor miss.
    """

    def __init__(self, source: ModelSource, *, models_held: int = 512) -> None:
        self.source = source
        self.feature_set = source.feature_set
        self._places: OrderedDict[Key, int] = OrderedDict()
        self._held = max(1, models_held)
        self._stack: ModelStack | None = None
        self.hits = self.misses = self.evictions = 0
        self._loads = 0
        self._columns = Columns(self.feature_set)
        self._room = Room(1, self._columns)
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
        from anomaly_platform.ml.scoring.online_kernels import fallback_rows

        columns = self._columns
        n = len(keys)
        raw, p = np.empty(n), np.empty(n)
        values = np.ascontiguousarray(features[0])
        fallback_rows(values, features[columns.history], MIN_COUNT, FALLBACK_FLOOR, raw, p)
        status = [self.source.status(*key) for key in keys]
        trained = np.zeros(n, dtype=np.bool_)
        # A request may name more series than are held at once.
        for start in range(0, n, self._held):
            part = slice(start, start + self._held)
            loads = self._loads
            slots = self._slots(keys[part])
            trained[part] = slots >= 0
            self._count(int(np.count_nonzero(trained[part])), self._loads - loads)
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
        from anomaly_platform.ml.calibration.kernels import scores_of_p
        from anomaly_platform.ml.scoring.online_kernels import fallback_rows

        room, columns = self._room, self._columns
        raw, p, score = room.raw, room.p, room.score
        features.take(columns.history, 0, room.history, "clip")
        fallback_rows(features[0], room.history, MIN_COUNT, FALLBACK_FLOOR, raw, p)
        status = self.source.status(*key)
        loads = self._loads
        place = self._place(key)
        self._count(int(place is not None), self._loads - loads)
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

    def _count(self, found: int, loaded: int) -> None:
        self.misses += loaded
        self.hits += found - loaded

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
        self._loads += 1
        place = self._free_place(wanted)
        if self._stack is None:
            self._stack = ModelStack(self._held, model, self.feature_set)
        self._stack.put(place, model)
        self._places[key] = place
        return place

    def _free_place(self, wanted: Collection[Key]) -> int:
        if len(self._places) < self._held:
            return len(self._places)
        oldest = next(key for key in self._places if key not in wanted)
        self.evictions += 1
        return self._places.pop(oldest)
