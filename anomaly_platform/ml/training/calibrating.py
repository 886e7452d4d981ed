"""The calibrations of a fleet: of each series, of short series together, and of entities.

A series' own calibration comes with its fit. This module holds back what is too short for one of
its own until all series are known, and calibrates what each entity's series say together.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly_platform.ml.calibration import Calibration
from anomaly_platform.ml.features.kernels import Ints
from anomaly_platform.ml.fusion import EntityEvidence
from anomaly_platform.ml.training.fit import FittedSeries
from anomaly_platform.ml.training.inputs import Floats
from anomaly_platform.ml.training.series import TAIL_FLOOR

#: Smallest scale of the tail of an entity's evidence: a factor e in its mean p-value.
EVIDENCE_TAIL_FLOOR = 1.0


@dataclass(frozen=True)
class FleetCalibrations:
    """The calibrations that belong to no single series.

    Attributes
    ----------
    arrays
        `pool/…` stacked over pools, `entity/…` over entities.
    pool_index
        The pool that calibrates a slot, for slots whose own calibration is too short.
    entity_index
        Place of each entity.
    """

    arrays: dict[str, npt.NDArray[Any]]
    pool_index: dict[int, int]
    entity_index: dict[str, int]


@dataclass
class _Entity:
    """The calibration part of an entity's series, one item each."""

    times: list[Ints] = field(default_factory=list)
    p_values: list[Floats] = field(default_factory=list)
    #: Slots of those whose p-values await a pool, by their place in the lists.
    waiting: dict[int, int] = field(default_factory=dict)


class CalibrationPool:
    """Gathers calibrations while a fleet is trained.

    Parameters
    ----------
    alpha
        A calibration on fewer than 1/alpha rows is shared.
    """

    def __init__(self, alpha: float) -> None:
        self._enough = math.ceil(1.0 / alpha)
        self._short: dict[int, tuple[str, Floats]] = {}
        self._pools: list[Calibration] = []
        self._pool_index: dict[int, int] = {}
        self._open: dict[str, _Entity] = {}
        self._evidence: dict[str, Floats] = {}

    def add(self, slot: int, key: tuple[str, str], fitted: FittedSeries) -> None:
        """Take a trained series; those of one entity must follow each other."""
        name, metric = key
        if name not in self._open:
            self._close_finished()
        entity = self._open.setdefault(name, _Entity())
        if fitted.scores.size < self._enough:
            self._short[slot] = (metric, fitted.scores)
            entity.waiting[len(entity.times)] = slot
        entity.times.append(fitted.times)
        entity.p_values.append(fitted.p_values)

    def finish(self) -> FleetCalibrations:
        """Calibrate what was held back and return everything."""
        self._share()
        for entity in self._open.values():
            for place, slot in entity.waiting.items():
                pool = self._pools[self._pool_index[slot]]
                entity.p_values[place] = pool.p_value(self._short[slot][1])
            entity.waiting.clear()
        self._close_finished()
        entities = self._entity_calibrations()
        return FleetCalibrations(
            {**_stack("pool", self._pools), **_stack("entity", list(entities.values()))},
            self._pool_index,
            {name: index for index, name in enumerate(entities)},
        )

    def _close_finished(self) -> None:
        """Fuse the entities that wait for nothing, so that little is held per entity."""
        for name in [name for name, entity in self._open.items() if not entity.waiting]:
            entity = self._open.pop(name)
            self._evidence[name] = EntityEvidence.align(entity.times, entity.p_values).fused()

    def _share(self) -> None:
        groups: dict[str, list[int]] = defaultdict(list)
        for slot, (metric, _) in self._short.items():
            groups[metric].append(slot)
        rest: list[int] = []
        for slots in groups.values():
            scores = [self._short[slot][1] for slot in slots]
            if sum(s.size for s in scores) < self._enough:
                rest += slots
            else:
                self._assign(slots, scores)
        if rest:
            self._assign(rest, [scores for _, scores in self._short.values()])

    def _assign(self, slots: list[int], scores: list[Floats]) -> None:
        self._pool_index |= dict.fromkeys(slots, len(self._pools))
        self._pools.append(Calibration.pooled(scores, tail_floor=TAIL_FLOOR))

    def _entity_calibrations(self) -> dict[str, Calibration]:
        short = {n for n, evidence in self._evidence.items() if evidence.size < self._enough}
        result = {}
        shared = None
        if short:
            shared = Calibration.pooled(
                [self._evidence[name] for name in sorted(short)], tail_floor=EVIDENCE_TAIL_FLOOR
            )
        for name, evidence in self._evidence.items():
            if name in short and shared is not None:
                result[name] = shared
            else:
                result[name] = Calibration.fit(evidence, tail_floor=EVIDENCE_TAIL_FLOOR)
        return result


def _stack(prefix: str, calibrations: list[Calibration]) -> dict[str, npt.NDArray[Any]]:
    if not calibrations:
        return {}
    parts = [calibration.to_arrays() for calibration in calibrations]
    return {f"{prefix}/{name}": np.stack([part[name] for part in parts]) for name in parts[0]}
