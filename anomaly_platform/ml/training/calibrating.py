"""Calibrates a fleet: each series, short series together, and entities.

A series' own calibration comes with its fit. This module holds back what is too short for one of
its own until all series are known, and calibrates what each entity's series say together.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import polars as pl

from anomaly_platform.ml.arrays import AnyArray, Arrays, Floats, Ints
from anomaly_platform.ml.bundles.bundle import Bundle
from anomaly_platform.ml.calibration.conformal import Calibration
from anomaly_platform.ml.detectors.series_forest import SeriesForest
from anomaly_platform.ml.scoring.entities import EntityEvidence, at_times
from anomaly_platform.ml.training.fit import FittedSeries

_PARTS = ("values", "exceeding", "tail")
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
    together
        Of the entities whose metrics move together, that of all evidence; where the history was
        short, that of what moves apart.
    """

    arrays: dict[str, AnyArray]
    pool_index: dict[int, int]
    entity_index: dict[str, int]
    together: dict[str, Calibration]


@dataclass(frozen=True)
class KnownCalibrations:
    """The calibrations of a bundle that another one is made from; they keep their places.

    Attributes
    ----------
    arrays
        As in `FleetCalibrations`.
    pool_of_metric
        A pool that calibrates short series of the metric, and how many of its rows are of series
        of the metric.
    entity_index
        Place of each entity.
    """

    arrays: Arrays = field(default_factory=dict)
    pool_of_metric: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    entity_index: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, bundle: Bundle) -> Self:
        """Return the calibrations of a bundle."""
        names = [
            f"{kind}/{name}"
            for kind, column in (("pool", "pool_index"), ("entity", "entity_index"))
            if bundle.series[column].drop_nulls().len()
            for name in _PARTS
        ]
        arrays = {name: bundle.shared(name) for name in names}
        enough = math.ceil(1.0 / float(bundle.manifest["hyper_parameters"]["alpha"]))
        held_out = pl.col("calibration_rows")
        # A pool over all metrics has more rows than the short series of one.
        short = pl.when(held_out < enough).then(held_out).sum()
        pools = bundle.series.group_by("metric").agg(pl.col("pool_index").max(), short).drop_nulls()
        return cls(
            arrays,
            {
                metric: (place, min(rows, int(arrays["pool/tail"][place, 0])))
                for metric, place, rows in pools.iter_rows()
            },
            dict(bundle.series.select("entity", "entity_index").drop_nulls().iter_rows()),
        )

    def size(self, kind: str) -> int:
        """Return how many there are of `pool` or `entity`."""
        stacked = self.arrays.get(f"{kind}/tail")
        return 0 if stacked is None else len(stacked)

    def at(self, kind: str, index: int) -> Calibration:
        """Return one of them."""
        return Calibration.from_arrays(
            {name: self.arrays[f"{kind}/{name}"][index] for name in _PARTS}
        )

    def with_more(self, kind: str, calibrations: list[Calibration]) -> dict[str, AnyArray]:
        """Return the stacked arrays of a kind with more of it at the end."""
        stacked = {f"{kind}/{n}": self.arrays[f"{kind}/{n}"] for n in _PARTS if self.size(kind)}
        if not calibrations:
            return stacked
        if stacked:
            # Those fitted by an older version have fewer numbers.
            known = [self.at(kind, index).tail for index in range(self.size(kind))]
            stacked[f"{kind}/tail"] = np.stack(known)
        new = [calibration.to_arrays() for calibration in calibrations]
        for name in _PARTS:
            more = np.stack([part[name] for part in new])
            before = stacked.get(f"{kind}/{name}")
            stacked[f"{kind}/{name}"] = more if before is None else np.concatenate((before, more))
        return stacked


@dataclass
class _Entity:
    """The calibration part of an entity's series, one item each."""

    times: list[Ints] = field(default_factory=list)
    p_values: list[Floats] = field(default_factory=list)
    moves: list[bool] = field(default_factory=list)
    held_out: list[int] = field(default_factory=list)
    #: Slots of those whose p-values await a pool, by their place in the lists.
    waiting: dict[int, int] = field(default_factory=dict)
    #: Times, and what of the host moves apart then.
    apart: tuple[Ints, Floats] | None = None
    decides: bool = False

    def evidence(self) -> EntityEvidence:
        """Return the evidence of all series, at times of which all of them can tell."""
        times, p_values = self.times, self.p_values
        if any(there.size == rows for there, rows in zip(times, self.held_out, strict=True)):
            times = [there[-rows:] for there, rows in zip(times, self.held_out, strict=True)]
            p_values = [p[-rows:] for p, rows in zip(p_values, self.held_out, strict=True)]
        return EntityEvidence.align(times, p_values, self.moves)


@dataclass(frozen=True)
class _Short:
    """The rows held out of a series until its pool is known; its model is on disk already."""

    metric: str
    scores: Floats
    ordinary: Floats
    #: How many its own calibration knows.
    own_rows: int


class CalibrationPool:
    """Gathers calibrations while a fleet is trained.

    Parameters
    ----------
    alpha
        A calibration on fewer than 1/alpha rows is shared.
    known
        What a parent bundle has: its places stay, and what is new comes after. A series that is
        too short joins the parent's pool of its metric unless its own calibration knows more rows,
        and an entity with too little evidence keeps the calibration that it had.
    """

    def __init__(self, alpha: float, known: KnownCalibrations | None = None) -> None:
        self._enough = math.ceil(1.0 / alpha)
        self._known = known or KnownCalibrations()
        self._short: dict[int, _Short] = {}
        self._pools: list[Calibration] = []
        self._pool_index: dict[int, int] = {}
        self._open: dict[str, _Entity] = {}
        self._evidence: dict[str, Floats] = {}
        self._together: dict[str, Calibration] = {}

    def add(self, slot: int, key: tuple[str, str], fitted: FittedSeries) -> None:
        """Take a trained series; those of one entity must follow each other."""
        name, metric = key
        moves = fitted.model.moves
        self.add_evidence(name, fitted.times, fitted.p_values, fitted.held_out, moves=moves)
        scores, kept = fitted.scores[-fitted.held_out :], fitted.kept[-fitted.held_out :]
        if kept.sum() < self._enough:
            self._short[slot] = _Short(metric, scores, scores[kept], fitted.ordinary.size)
            entity = self._open[name]
            entity.waiting[len(entity.times) - 1] = slot

    def add_evidence(
        self, entity: str, times: Ints, p_values: Floats, held_out: int, *, moves: bool
    ) -> None:
        """Take the p-values of a series, those of the newest rows held out and maybe of more."""
        if entity not in self._open:
            self._close_finished()
        held = self._open.setdefault(entity, _Entity())
        held.times.append(times)
        held.p_values.append(p_values)
        held.moves.append(moves)
        held.held_out.append(held_out)

    def add_apart(self, entity: str, times: Ints, evidence: Floats, *, decides: bool) -> None:
        """Take what moves apart of an entity whose series were the last ones taken."""
        if entity in self._open:
            self._open[entity].apart, self._open[entity].decides = (times, evidence), decides

    def pooled_by(self, slot: int, calibration: Calibration) -> None:
        """Take the pool of a series that another bundle has trained."""
        self._pool_index[slot] = self._known.size("pool") + len(self._pools)
        self._pools.append(calibration)

    def finish(self) -> FleetCalibrations:
        """Calibrate what was held back and return everything."""
        self._share()
        for entity in self._open.values():
            pooled = {k: slot for k, slot in entity.waiting.items() if slot in self._pool_index}
            for place, slot in pooled.items():
                pool = self._pool(self._pool_index[slot])
                entity.p_values[place] = pool.p_value(self._short[slot].scores)
                entity.times[place] = entity.times[place][-entity.held_out[place] :]
            entity.waiting.clear()
        self._close_finished()
        entities = self._entity_calibrations()
        first = self._known.size("entity")
        return FleetCalibrations(
            {
                **self._known.with_more("pool", self._pools),
                **self._known.with_more("entity", list(entities.values())),
            },
            self._pool_index,
            {
                **self._known.entity_index,
                **{name: first + index for index, name in enumerate(entities)},
            },
            self._together,
        )

    def _pool(self, index: int) -> Calibration:
        known = self._known.size("pool")
        return self._known.at("pool", index) if index < known else self._pools[index - known]

    def _close_finished(self) -> None:
        """Fuse the entities that wait for nothing, so that little is held per entity."""
        for name in [name for name, entity in self._open.items() if not entity.waiting]:
            entity = self._open.pop(name)
            evidence = entity.evidence()
            fused = self._evidence[name] = evidence.fused()
            if entity.apart is None:
                continue
            total = entity.apart[1]
            if not entity.decides:
                later = evidence.times >= entity.apart[0][0]
                total = fused[later] + at_times(*entity.apart, evidence.times[later])
            if total.size >= self._enough:
                self._together[name] = Calibration.fit(total, tail_floor=EVIDENCE_TAIL_FLOOR)

    def _share(self) -> None:
        groups: dict[str, list[int]] = defaultdict(list)
        for slot, short in self._short.items():
            groups[short.metric].append(slot)
        rest: list[int] = []
        for metric, slots in groups.items():
            scores = [self._short[slot].ordinary for slot in slots]
            rows = sum(s.size for s in scores)
            place, rows = self._known.pool_of_metric.get(metric, (None, rows))
            # Whichever are more: the rows of all such series, or all rows of this one.
            limit = max(rows + 1, self._enough)
            sharing = [slot for slot in slots if self._short[slot].own_rows < limit]
            if place is not None:
                self._pool_index |= dict.fromkeys(sharing, place)
            elif rows < self._enough:
                rest += sharing
            elif sharing:
                self._assign(sharing, scores)
        if rest:
            self._assign(rest, [short.ordinary for short in self._short.values()])

    def _assign(self, slots: list[int], scores: list[Floats]) -> None:
        place = self._known.size("pool") + len(self._pools)
        self._pool_index |= dict.fromkeys(slots, place)
        together = np.concatenate(scores)
        self._pools.append(Calibration.fit(together, tail_floor=SeriesForest.tail_floor))

    def _entity_calibrations(self) -> dict[str, Calibration]:
        short = {n for n, evidence in self._evidence.items() if evidence.size < self._enough}
        for name in short & self._known.entity_index.keys():
            del self._evidence[name]
            short.remove(name)
        shared = None
        if short:
            together = np.concatenate([self._evidence[name] for name in sorted(short)])
            shared = Calibration.fit(together, tail_floor=EVIDENCE_TAIL_FLOOR)
        return {
            name: shared
            if name in short and shared is not None
            else Calibration.fit(evidence, tail_floor=EVIDENCE_TAIL_FLOOR)
            for name, evidence in self._evidence.items()
        }
