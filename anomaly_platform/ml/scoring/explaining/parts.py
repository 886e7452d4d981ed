"""Which parts of a series' evidence make a reading unusual, and which model inputs.

The evidence is minus the logarithm of the served p-value. It is shared out by Shapley's value among
the forest, the distance, the season, the level and the runs, by what the very same arithmetic gives
without them: without the forest its score is that of an ordinary reading, without the distance all
inputs are at their centre, without the season nothing is usual at any time, without level and runs
neither says anything. So the shares add up, and two parts that say the same share it evenly.
"""

from __future__ import annotations

import math
from itertools import combinations, pairwise
from typing import Any, NamedTuple

import numpy as np

from anomaly_platform.ml.arrays import Floats
from anomaly_platform.ml.compiled import compiled
from anomaly_platform.ml.detectors.forest_shapley import path_shapley
from anomaly_platform.ml.scoring.explaining.numbers import PARTS, InputShare
from anomaly_platform.ml.scoring.model_stack import (
    Columns,
    Models,
    Room,
    conclude,
    forest_of,
    join_runs,
    measure,
)
from anomaly_platform.ml.series_model.level_shift_kernels import ALONE, AS_IS
from anomaly_platform.ml.series_runs.layout import LENGTH

_PLAYERS = len(PARTS)
_ALL = 1 << _PLAYERS
#: Which coalitions each part is in.
_FOREST, _DISTANCE, _SEASON, _LEVEL, _RUNS = (
    (np.arange(_ALL) >> player & 1).astype(np.bool_) for player in range(_PLAYERS)
)


def _weights() -> Floats:
    """Return (parts, coalitions) what each coalition's evidence counts in Shapley's value."""
    weights = np.zeros((_PLAYERS, _ALL))
    for player in range(_PLAYERS):
        others = [other for other in range(_PLAYERS) if other != player]
        for size in range(_PLAYERS):
            share = math.factorial(size) * math.factorial(_PLAYERS - size - 1)
            for members in combinations(others, size):
                without = sum(1 << member for member in members)
                weights[player, without] = -share / math.factorial(_PLAYERS)
                weights[player, without | 1 << player] = share / math.factorial(_PLAYERS)
    return weights


_WEIGHTS = _weights()


class Shares(NamedTuple):
    """What (n,) readings are unusual for.

    Attributes
    ----------
    parts
        (n, 5) shares of the evidence in the order of `PARTS`; zeros where there is none.
    inputs
        Per reading, what each model input adds to the raw score, the largest first.
    usual
        (n,) the forest's score of an ordinary reading.
    """

    parts: Floats
    inputs: list[tuple[InputShare, ...]]
    usual: Floats


@compiled(error_model="numpy")
def _share_out(p: Any, weights: Any, parts: Any) -> None:  # pragma: no cover
    """Write shares of −ln p, which is 0 where p is NaN, as shares of their sum."""
    for i in range(parts.shape[0]):
        total = 0.0
        for player in range(weights.shape[0]):
            part = 0.0
            for coalition in range(weights.shape[1]):
                if p[i, coalition] > 0.0:
                    part -= weights[player, coalition] * math.log(p[i, coalition])
            parts[i, player] = part
            total += part
        for player in range(weights.shape[0]):
            parts[i, player] = parts[i, player] / total if total > 1e-9 else 0.0


def shares_of(
    models: Models, columns: Columns, room: Room, runs: Floats, names: tuple[str, ...]
) -> Shares:
    """Return what (n,) readings are unusual for.

    Parameters
    ----------
    models
        Those in use.
    columns
        What the features are.
    room
        After `judge_by_window`, every slot that of a model.
    runs
        (`RUN_COLUMNS`, n), or empty.
    names
        Of the model inputs.
    """
    plain = Room(room.slots.size, columns)
    timeless = models._replace(periods=np.zeros_like(models.periods))
    plain.slots, plain.times = room.slots, room.times
    plain.table, plain.related = room.table, room.related
    for one, its_models in ((room, models), (plain, timeless)):
        measure(its_models, one, columns, runs)
    inputs, usual = _inputs(models, room, names)
    return Shares(_parts(models, columns, room, plain, runs, usual), inputs, usual)


def _parts(
    models: Models,
    columns: Columns,
    seasonal: Room,
    plain: Room,
    runs: Floats,
    usual: Floats,
) -> Floats:
    n = seasonal.slots.size

    def chosen(name: str) -> Any:
        one, other = getattr(seasonal, name)[:, None], getattr(plain, name)[:, None]
        return np.where(_SEASON, one, other)

    room = Room(n * _ALL, columns)
    room.slots, room.times = (np.repeat(one, _ALL) for one in (seasonal.slots, seasonal.times))
    room.table = np.repeat(seasonal.table, _ALL, axis=1)
    room.rules[:] = np.repeat(seasonal.rules, _ALL, axis=1)
    room.forest[:] = np.where(_FOREST, chosen("forest"), usual[:, None]).ravel()
    logarithms = [
        np.where(_SEASON, one[:, None], other[:, None])
        for one, other in zip(seasonal.logarithms, plain.logarithms, strict=True)
    ]
    room.logarithms[0] = np.where(_DISTANCE, logarithms[0], 0.0).ravel()
    room.logarithms[1] = np.where(_LEVEL, logarithms[1], 0.0).ravel()
    room.short[:] = np.where(_LEVEL, chosen("short"), 0.0).ravel()
    room.effect[:] = np.where(_LEVEL, chosen("effect"), AS_IS).ravel()
    room.frozen[:] = (_LEVEL & chosen("frozen")).ravel()
    conclude(models, room)
    if runs.size:
        told = np.repeat(runs, _ALL, axis=1)
        told[LENGTH, np.tile(~_RUNS, n)] = np.nan
        join_runs(models, room, told)
    parts = np.empty((n, _PLAYERS))
    _share_out(room.p.reshape(n, _ALL), _WEIGHTS, parts)
    return parts


def _inputs(
    models: Models, room: Room, names: tuple[str, ...]
) -> tuple[list[tuple[InputShare, ...]], Floats]:
    """Return what each input of each reading adds, and the forest's score of an ordinary one."""
    slots, usual = room.slots, np.empty(room.slots.size)
    shares: list[tuple[InputShare, ...]] = []
    starts = [0, *(np.flatnonzero(slots[1:] != slots[:-1]) + 1).tolist(), slots.size]
    for start, stop in pairwise(starts):
        forest, rows = forest_of(models, slots.item(start)), slice(start, stop)
        within = np.clip(room.inputs[rows], forest.scaling[2], forest.scaling[3])
        found = path_shapley(forest, within)
        splits_to_score = forest.feature.shape[0] / float(forest.normaliser[0])
        usual[rows] = ordinary = 2.0 ** (-found.expected * splits_to_score)
        # A split is worth the same for every input of a reading: the score's mean slope there.
        slope = math.log(2.0) * splits_to_score * ordinary
        for alone, values, inputs, score, far in zip(
            room.effect[rows] == ALONE,
            found.values.tolist(),
            room.inputs[rows].tolist(),
            room.forest[rows].tolist(),
            room.logarithms[0, rows].tolist(),
            strict=True,
        ):
            if alone:
                shares.append(())
                continue
            shorter = math.fsum(-value for value in values)
            per_split = (score - ordinary) / shorter if abs(shorter) > 1e-6 else slope
            squares = [value**2 for value in inputs]
            whole = math.fsum(squares)
            added = [
                InputShare(name, per_split * -value, far * square / whole if whole > 0.0 else 0.0)
                for name, value, square in zip(names, values, squares, strict=True)
            ]
            added.sort(key=lambda one: -abs(one[1] + one[2]))
            shares.append(tuple(added))
    return shares, usual
