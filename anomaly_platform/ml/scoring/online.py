"""Scoring readings by row: many series at once as they come, or a whole series of a batch.

An `OnlineScorer` holds the models of a bundle that are in use as one stack of arrays, in which a
compiled pass finds each reading's model by its place.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from anomaly_platform.ml.addresses import Table
from anomaly_platform.ml.arrays import Bools, Floats, Ints
from anomaly_platform.ml.calibration.conformal import exponent_of
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.scoring import one_row, row_kernels
from anomaly_platform.ml.scoring.calls import first_state, told_from
from anomaly_platform.ml.scoring.explaining.explain import Judged
from anomaly_platform.ml.scoring.explaining.told import Explained, explained
from anomaly_platform.ml.scoring.explaining.words import Role
from anomaly_platform.ml.scoring.model_stack import (
    Columns,
    ModelStack,
    Room,
    judge_by_window,
)
from anomaly_platform.ml.series_model.model import SeriesModel
from anomaly_platform.ml.series_model.visited import nothing_visited
from anomaly_platform.ml.series_runs.layout import DEEPEST, LOOKS_AFTER, ORDINARY

Key = tuple[str, str]

#: What a model takes in the stack, roughly.
MODEL_BYTES: Final = 270_000
_MOST_MODELLESS: Final = 65_536
INSUFFICIENT: Final = "insufficient_history"


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What readings are, each array (n,).

    Attributes
    ----------
    raw, p_value, score
        NaN where nothing can be said.
    is_anomaly
        The decision.
    modelled
        Whether a model spoke; without one only alarms are decided.
    rules
        (3, n) z-score, IQR and MAD score.
    kinds, alone
        Evidence of runs that decides, 0 for none (`series_runs.kernels`); p-values without it, NaN
        where runs are not judged.
    status
        `trained`, `insufficient_history` or `failed`.
    """

    raw: Floats
    p_value: Floats
    score: Floats
    is_anomaly: Bools
    modelled: Bools
    rules: Floats
    kinds: Ints
    alone: Floats
    status: list[str]

    @classmethod
    def joined(cls, parts: Sequence[Verdicts]) -> Verdicts:
        """Return those of all parts, one after the other."""
        columns: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in parts], axis=-1)
            for name in cls.__slots__[:-1]
        }
        return cls(**columns, status=[status for part in parts for status in part.status])

    @property
    def decided(self) -> Bools:
        """Whether there is a decision."""
        return self.modelled | self.is_anomaly


class Verdict(NamedTuple):
    """What one reading is.

    Attributes
    ----------
    raw, p_value, score
        None where nothing can be said.
    is_anomaly
        None where nobody decides: without a model only alarms are decided.
    status
        `trained`, `insufficient_history` or `failed`.
    kind
        As in `Verdicts.kinds`.
    """

    raw: float | None
    p_value: float | None
    score: float | None
    is_anomaly: bool | None
    status: str
    kind: int = ORDINARY


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

    def trained_until(self, entity: str, metric: str) -> int | None:
        """Return when a series' newest training reading was, None where nobody knows."""


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
        #: Series that have no model, each at −1.
        self._modelless: dict[Key, int] = {}
        self._held = max(1, models_held)
        self._stack: ModelStack | None = None
        self._addresses: Table | None = None
        self.hits = self.misses = self.evictions = 0
        self._loads = 0
        self._columns = Columns(self.feature_set)
        self._names = len(self.feature_set.names)
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
            (features, n) in the order of `feature_set.names`, and behind them the run columns
            (`series_runs`), without which runs are not judged; every reading has a value.
        thresholds
            (n,) score from which each is an anomaly.
        """
        places = self._found(keys)
        if len(keys) <= self._held or None not in places:
            slots, status = self._slots(keys, places), list(starmap(self.source.status, keys))
            return self._judge(slots, status, times, features, thresholds)
        # A request may name more series than are held at once.
        parts = [
            self.judge(keys[part], times[part], features[:, part], thresholds[part])
            for part in (slice(at, at + self._held) for at in range(0, len(keys), self._held))
        ]
        return Verdicts.joined(parts)

    def judge_series(self, key: Key, times: Ints, features: Floats, threshold: float) -> Verdicts:
        """Score readings of one series; parameters as in `judge`."""
        n, keys = times.size, [key]
        (slot,), (status,) = self._slots(keys, self._found(keys)), [self.source.status(*key)]
        slots = np.full(n, slot, dtype=np.int64)
        return self._judge(slots, [status] * n, times, features, np.full(n, threshold))

    def _judge(
        self, slots: Ints, status: list[str], times: Ints, features: Floats, thresholds: Floats
    ) -> Verdicts:
        room = Room(slots.size, self._columns)
        room.slots, room.times = slots, times
        self._score(room, features, thresholds)
        for i in np.flatnonzero((slots >= 0) & ~room.known):
            status[i] = INSUFFICIENT
        return Verdicts(
            *(room.raw, room.p, room.score, room.flagged, room.known, room.rules[:3], room.kinds),
            *(room.alone, status),
        )

    def _score(self, room: Room, features: Floats, thresholds: Floats) -> None:
        judge_by_window(features, self._columns, room)
        room.kinds[:] = 0
        if self._stack is None:
            room.known[:] = False
        else:
            self._stack.score(room, self._columns, features[len(self.feature_set.names) :])
        row_kernels.decide_rows(
            room.p, thresholds, self._exponent, room.raw, room.score, room.flagged
        )

    def judge_one(self, key: Key, time: int, features: Floats, threshold: float) -> Verdict:
        """Score one reading: what `judge` says of it, in a fraction of the time.

        Parameters
        ----------
        key
            Entity and metric.
        time
            Microseconds since 1970.
        features
            (features, 1), or with run columns.
        threshold
            Score from which it is an anomaly.
        """
        room, loads = self._room, self._loads
        place = self._place(key)
        self._count(int(place is not None), self._loads - loads)
        slot, at = -1 if place is None else place, self._addresses
        if at is None:
            room.slots[0], room.times[0] = slot, time
            self._score(room, features, np.array((threshold,)))
            known, flagged, raw = False, room.flagged.item(), room.raw.item()
            p_value, score, kind = room.p.item(), room.score.item(), ORDINARY
        else:
            rows, shortest = at.rows, self._columns.shortest
            one_row.measure_row(rows, slot, time, features, self._names, shortest)
            np.log1p(room.logarithms, out=room.logarithms)
            known, flagged, raw, p_value, score, kind = one_row.conclude_row(
                rows, features, self._names, threshold, self._exponent
            )
        status = self.source.status(*key)
        if place is not None and not known:
            status = INSUFFICIENT
        decision = flagged if known or flagged else None
        if math.isnan(p_value):
            return Verdict(None, None, None, decision, status)
        return Verdict(raw, p_value, score, decision, status, kind)

    def history_needed(self, key: Key) -> int | None:
        """Return how many rows the longest window must hold for a series' model to speak.

        None where no model of the series is in memory, as it is after `judge`.
        """
        place = self._places.get(key)
        if place is None or self._stack is None:
            return None
        return math.ceil(self._stack.history(place))

    def moves(self, key: Key) -> bool:
        """Return whether most steps of a series' training part went anywhere (`SeriesModel.moves`).

        Its model is in memory, as it is after `judge`.
        """
        return self._stack is not None and self._stack.moves(self._places[key])

    def deepest(self, key: Key) -> Floats:
        """Return (n, 2) when the runs of a series were longest (`series_runs.layout.DEEPEST`).

        Its model is in memory, as it is after `judge`.
        """
        if self._stack is None:
            return np.empty((0, 2))
        return self._stack.models.runs[self._places[key], DEEPEST:LOOKS_AFTER].reshape(-1, 2).copy()

    def first_calls(self, key: Key) -> Floats:
        """Return the state at which a series' calls begin (`calls.tell`) with this bundle."""
        loads = self._loads
        place = self._place(key)
        self.misses += self._loads - loads
        if place is None or self._stack is None:
            return first_state(nothing_visited())
        return first_state(self._stack.models.visited[place])

    def explain(
        self,
        keys: Sequence[Key],
        times: Ints,
        features: Floats,
        kinds: Ints,
        thresholds: Floats,
        roles: Ints | None = None,
    ) -> list[Explained]:
        """Return why readings are unusual, in numbers and in words.

        Parameters
        ----------
        keys
            (n,) entity and metric of each; those of a series should follow each other.
        times, features, thresholds
            As in `judge`.
        kinds
            As in `Verdicts.kinds`.
        roles
            (n,) as what each is told (`explaining.words.Role`), as an anomaly by default.
        """
        if roles is None:
            roles = np.full(len(keys), Role.ANOMALY, dtype=np.int64)
        series = dict.fromkeys(keys)
        if len(series) > self._held:
            half = len(keys) // 2
            return [
                one
                for part in (slice(None, half), slice(half, None))
                for one in self.explain(
                    *(keys[part], times[part], features[:, part], kinds[part]),
                    *(thresholds[part], roles[part]),
                )
            ]
        places = {key: self._place(key, series) for key in series}
        slots = np.array(
            [-1 if (at := places[key]) is None else at for key in keys], dtype=np.int64
        )
        limits = told_from(thresholds, roles == Role.CALL, self.source.alpha)
        told: list[Explained | None] = [None] * len(keys)
        for known in (True, False):
            rows = np.flatnonzero((slots >= 0) == known)
            models = None if self._stack is None or not known else self._stack.models
            judged = Judged(
                *(models, slots[rows], self.feature_set, self._columns, times[rows]),
                *(features[:, rows], kinds[rows], limits[rows], self._exponent),
            )
            for row, one in zip(rows.tolist(), explained(judged, roles[rows]), strict=True):
                told[row] = one
        return [one for one in told if one is not None]

    @property
    def held(self) -> list[Key]:
        """The series whose models are in memory, the least recently used first."""
        return list(self._places)

    def warm(self, keys: Sequence[Key]) -> None:
        """Read the models of series, as many as are held, before they are needed."""
        for key in keys[: self._held]:
            self._place(key, keys)

    def _count(self, found: int, loaded: int) -> None:
        self.misses += loaded
        self.hits += found - loaded

    def _found(self, keys: Sequence[Key]) -> list[int | None]:
        """Return the place of each series' model, −1 for none, None where nobody has looked yet."""
        held, modelless = self._places.get, self._modelless.get
        return [held(key, modelless(key)) for key in keys]

    def _slots(self, keys: Sequence[Key], places: Sequence[int | None]) -> Ints:
        """Return the place of each series' model, loading those that are not there; −1 for none.

        `places` are what has been found of them.
        """
        held, loads = self._places, self._loads
        if None in places:
            wanted = set(keys)
            places = [self._place(key, wanted) for key in keys]
        elif held:
            for key in filter(held.__contains__, keys):
                held.move_to_end(key)
        slots = np.array([-1 if place is None else place for place in places], dtype=np.int64)
        self._count(int((slots >= 0).sum()), self._loads - loads)
        return slots

    def _place(self, key: Key, wanted: Collection[Key] = ()) -> int | None:
        """Return the place of a series' model; None where it has none."""
        place = self._places.get(key)
        if place is not None:
            self._places.move_to_end(key)
            return place
        model = self.source.load_model(*key)
        if model is None:
            if len(self._modelless) < _MOST_MODELLESS:
                self._modelless[key] = -1
            return None
        self._loads += 1
        place = self._free_place(wanted)
        if self._stack is None:
            self._stack = ModelStack(self._held, model)
            self._addresses = one_row.table_of(self._stack.models, self._room, self._columns)
        self._stack.put(place, model)
        self._places[key] = place
        return place

    def _free_place(self, wanted: Collection[Key]) -> int:
        if len(self._places) < self._held:
            return len(self._places)
        oldest = next(key for key in self._places if key not in wanted)
        self.evictions += 1
        return self._places.pop(oldest)
