"""What the rules know of places: tiers, and between which of them goods may move.

What belongs here: looking up a frame's places and words in the reference data, as arrays for the
kernel and names for the reasons. Where no reference names a place's tier, the words of a scan do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from anomaly_platform.ml.arrays import Bools, SmallInts
from anomaly_platform.ml.columns import coded
from anomaly_platform.ml.detectors.rules import kernel as k
from anomaly_platform.ml.features.scans.reference import ScanReference
from anomaly_platform.ml.features.scans.sequences import ScanSequences
from anomaly_platform.ml.features.scans.tiers import TIERS, tier_of

_COLUMNS: Final = (
    *("location_id", "location_type", "scan_location", "location_hierarchy"),
    *("latitude", "longitude"),
)


class Kind(NamedTuple):
    """Places of one type and level; level −1 where it is not known."""

    type: str
    level: int
    listed: bool


class _Place(NamedTuple):
    """What is known of a place; of a place that is not listed, nothing."""

    type: str
    name: str
    level: int
    latitude: float
    longitude: float


_NO_PLACE: Final = _Place("", "", -1, float("nan"), float("nan"))


@dataclass(frozen=True)
class FramePlaces:
    """A frame's places as the kernel and the reasons need them.

    Attributes
    ----------
    names
        Of each place of the frame; the id where it is not listed.
    listed
        (places,) whether the reference has it.
    world
        What the kernel is told of places and kinds (see `kernel.walk`).
    """

    names: list[str]
    listed: Bools
    world: tuple[npt.NDArray[np.generic], ...]


class KnownPlaces:
    """Reference data by what it is looked up by."""

    def __init__(self, reference: ScanReference) -> None:
        self._places: Mapping[str, _Place] = {
            place: _Place(type_, name, level, _or_nan(latitude), _or_nan(longitude))
            for place, type_, name, level, latitude, longitude in reference.locations.select(
                _COLUMNS
            ).iter_rows()
        }
        # Of a place with neither type nor level the words of a scan name the tier.
        listed = sorted(
            {
                Kind(one.type, one.level, True)
                for one in self._places.values()
                if one.type or one.level >= 0
            }
        )
        self.kinds: tuple[Kind, ...] = (
            *listed,
            *(Kind(tier.name, tier.level, False) for tier in TIERS),
        )
        self._kind_of = {(one.type, one.level): code for code, one in enumerate(listed)}
        self._tier_codes = {tier.name: len(listed) + n for n, tier in enumerate(TIERS)}
        types = sorted({one.type for one in listed})
        self._type_of = {name: code for code, name in enumerate(types)}
        self._read_steps(reference.steps)
        self._moves = _faults(self.kinds, reference.tier_moves)

    def _read_steps(self, steps: pl.DataFrame) -> None:
        number = self._type_of
        self._by_prefix = {
            prefix.lower(): number.get(type_, -1)
            for prefix, type_ in steps.select("event_prefix", "location_type").iter_rows()
        }
        types = steps.group_by("business_step").agg(pl.col("location_type").unique())
        self._by_step = {
            step: number.get(named[0], -1) for step, named in types.iter_rows() if len(named) == 1
        }

    def __len__(self) -> int:
        return len(self._places)

    def known(self, places: pl.Series) -> tuple[int, int]:
        """Return how many of the distinct places are listed, and how many there are."""
        distinct = places.drop_nulls().unique().to_list()
        return sum(place in self._places for place in distinct), len(distinct)

    def of(self, sequences: ScanSequences) -> FramePlaces:
        """Look up the places of a frame."""
        ids = sequences.places.to_list()
        found = [self._places.get(place, _NO_PLACE) for place in ids]
        kinds = [self._kind_of.get((one.type, one.level), -1) for one in found]
        return FramePlaces(
            names=[
                place if one is _NO_PLACE else one.name
                for one, place in zip(found, ids, strict=True)
            ],
            listed=np.array([one is not _NO_PLACE for one in found], dtype=bool),
            world=(
                np.array(kinds, dtype=np.int16),
                np.array([self._type_of.get(one.type, -1) for one in self.kinds], dtype=np.int16),
                np.array([*(one.level for one in self.kinds), -1], dtype=np.int64),
                np.array([one.latitude for one in found], dtype=np.float64),
                np.array([one.longitude for one in found], dtype=np.float64),
                self._moves,
            ),
        )

    def at_beginning(self, places: FramePlaces, place: SmallInts) -> Bools:
        """(n,) whether a scan is at a place where goods enter the chain, one of level 0."""
        levels, kinds = places.world[2], places.world[0]
        return np.append(levels[kinds] == 0, False)[place]

    def said_tiers(self, sequences: ScanSequences) -> npt.NDArray[np.int16]:
        """(n,) code of the kind that a scan's words name: the step, else the event; −1 for none."""
        step = self._tiers_of(sequences.frame["business_step"])
        event = self._tiers_of(sequences.frame["event_type"])
        return np.where(step >= 0, step, event).astype(np.int16)

    def _tiers_of(self, words: pl.Series) -> npt.NDArray[np.int16]:
        distinct, code = coded(words)
        tiers = [tier_of(word) for word in distinct]
        codes = [-1 if tier is None else self._tier_codes[tier.name] for tier in tiers]
        return np.array([*codes, -1], dtype=np.int16)[code]

    def step_types(
        self, sequences: ScanSequences, steps: Sequence[str], step: SmallInts
    ) -> npt.NDArray[np.int16]:
        """(n,) code of the type of place that a scan's words belong to, −1 where they say none."""
        by_stage = [self._by_prefix.get(stage, -1) for stage in sequences.stages]
        said = np.array([*by_stage, -1], dtype=np.int16)[sequences.stage]
        by_step = [self._by_step.get(one, -1) for one in steps]
        of_step = np.array([*by_step, -1], dtype=np.int16)[step]
        return np.where(said >= 0, said, of_step).astype(np.int16)


def _or_nan(degrees: float | None) -> float:
    return float("nan") if degrees is None else degrees


def _faults(kinds: Sequence[Kind], tier_moves: pl.DataFrame) -> npt.NDArray[np.int8]:
    """(2, kinds, kinds) what is wrong with a move, undeclared and declared as a return."""
    flows: dict[tuple[str, str], set[str]] = {}
    for source, target, flow in tier_moves.iter_rows():
        flows.setdefault((source, target), set()).add(flow)
    written = {source for source, _ in flows}
    faults = np.zeros((2, len(kinds), len(kinds)), dtype=np.int8)
    for a, source in enumerate(kinds):
        for b, target in enumerate(kinds):
            if source.listed != target.listed:
                continue  # the levels of the reference need not be those that the words stand for
            for back in (0, 1):
                if source.type in written:
                    found = flows.get((source.type, target.type), set())
                    faults[back, a, b] = _by_file(source, target, found, back=bool(back))
                elif not back:
                    faults[back, a, b] = _by_level(source, target)
    return faults


def _by_file(source: Kind, target: Kind, flows: set[str], *, back: bool) -> int:
    """Say what is wrong with a move that the file of moves decides."""
    if "forward" in flows or (back and "return" in flows):
        return 0
    if source.type == target.type:
        return k.SIDEWAYS
    return k.SKIPPED if target.level > source.level else k.AGAINST


def _by_level(source: Kind, target: Kind) -> int:
    """Say what is wrong with an undeclared move by the hierarchy alone."""
    if source.level < 0 or target.level < 0:
        return 0
    a, b = tier_of(source.type), tier_of(target.type)
    rise = target.level - source.level
    # Warehouse and hub are of one level, and goods do not go from the hub to the warehouse.
    if rise == 0 and a is not None and b is not None and b.order < a.order:
        return k.AGAINST
    return k.AGAINST if rise < 0 else k.SKIPPED if rise > 1 else 0
