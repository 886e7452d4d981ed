"""The five barcode rules: fake codes, duplicates, wrong places, wrong order, impossible jumps.

What belongs here: the model that holds what the rules know (reference data, route statistics,
parameters), and its verdicts over a frame. Unlike other detectors it reads scans and not feature
vectors, its scores are certainties from 0 to 100 and need no calibration, and it says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from anomaly_platform.ml.arrays import Bools, Floats, Ints, SmallInts
from anomaly_platform.ml.columns import coded
from anomaly_platform.ml.detectors.rules import kernel as k
from anomaly_platform.ml.detectors.rules.codes import check_codes
from anomaly_platform.ml.detectors.rules.parameters import FIRES_AT, RULE_KINDS, RuleParameters
from anomaly_platform.ml.detectors.rules.reasons import Narrator
from anomaly_platform.ml.detectors.rules.routes import RouteStatistics
from anomaly_platform.ml.features.scans.arrays import Arrays, pack_texts, unpack_texts
from anomaly_platform.ml.features.scans.kernels import sequence_rows
from anomaly_platform.ml.features.scans.reference import ScanReference
from anomaly_platform.ml.features.scans.sequences import ScanSequences
from anomaly_platform.ml.frames import IntoDataFrame

__all__ = ["FIRES_AT", "RULE_COLUMNS", "RULE_KINDS", "RuleParameters", "RulesModel"]

#: The columns that `RulesModel.score` adds.
RULE_COLUMNS = tuple(f"{kind}_{part}" for kind in RULE_KINDS for part in ("score", "reason"))

_SHORTEST_WATCHED = 0.5  # of the limit: below it a travel time is not even watched


@dataclass(frozen=True)
class _Places:
    """A frame's places as the kernel and the narrator need them."""

    names: list[str]
    types: list[str]
    listed: Bools
    world: tuple[npt.NDArray[np.generic], ...]


class _Place(NamedTuple):
    """What is known of a place; of a place that is not listed, nothing."""

    kind: str
    name: str
    level: int
    latitude: float
    longitude: float


_NO_PLACE = _Place("", "", -1, float("nan"), float("nan"))


@dataclass(frozen=True)
class _KnownPlaces:
    """Reference data by what it is looked up by.

    Attributes
    ----------
    places
        By location id.
    kinds
        Codes of the types of places, in order.
    moves
        (kinds, kinds) between which types goods may move.
    prefixes, kinds_of_steps
        Code of the type of place that a stage, or a business step, belongs to.
    """

    places: Mapping[str, _Place]
    kinds: Mapping[str, int]
    moves: npt.NDArray[np.int8]
    prefixes: Mapping[str, int]
    kinds_of_steps: Mapping[str, int]


@dataclass(frozen=True)
class RulesModel:
    """What the rules know.

    Attributes
    ----------
    reference
        Places, companies, tiers, vehicles.
    routes
        How long each route takes, learned.
    parameters
        Limits and scores.
    """

    columns: ClassVar[tuple[str, ...]] = (
        *("entity", "event_id", "event_time", "location_id", "business_step", "event_type"),
    )
    feature_schema: ClassVar[tuple[str, ...]] = columns

    reference: ScanReference
    routes: RouteStatistics
    parameters: RuleParameters = field(default_factory=RuleParameters)

    @classmethod
    def fit(
        cls,
        scans: IntoDataFrame,
        reference: ScanReference,
        parameters: RuleParameters | None = None,
    ) -> RulesModel:
        """Learn route statistics.

        Parameters
        ----------
        scans
            Canonical scans of the training window. Labels are not read: medians and median
            deviations bear the violations that a training window holds.
        reference
            What is known beforehand.
        parameters
            The defaults if None.
        """
        parameters = parameters or RuleParameters()
        blank = cls(reference, RouteStatistics.empty(), parameters)
        sequences = ScanSequences.of(scans)
        codes, measured = blank._walk(sequences, blank._places(sequences))
        believable = (codes[:, k.TRIP] >= 0) & (codes[:, k.LOCATION] == 0)
        believable &= ~(measured[:, k.SPEED] > blank.top_speed_kmh)
        arrived = np.flatnonzero(believable)
        left = codes[arrived, k.TRIP]
        trips = pl.DataFrame(
            {
                "from_place": sequences.places.gather(sequences.place[left]),
                "to_place": sequences.places.gather(sequences.place[arrived]),
                "left": sequences.times[left],
                "arrived": sequences.times[arrived],
            }
        ).filter((sequences.place[left] >= 0) & (sequences.place[arrived] >= 0))
        return cls(reference, RouteStatistics.learn(trips, parameters.min_trips), parameters)

    def score(
        self,
        scans: IntoDataFrame | ScanSequences,
        *,
        since: datetime | None = None,
        reasons: bool = True,
    ) -> pl.DataFrame:
        """Judge scans.

        Parameters
        ----------
        scans
            Canonical scans with the look-back of their EPCs (30 days): a scan is judged by its
            history. Feature frames will do, and scans that are in order already.
        since
            Return only scans at or after it.
        reasons
            Whether to put findings into words.

        Returns
        -------
        polars.DataFrame
            The scans by EPC, time and id (as `ScanFeatureSet.compute` returns them) and for each
            kind `<kind>_score` (0–100; the rule fires from 50 on, below it is worth watching) and
            `<kind>_reason` (null where it does not fire, or reasons are not wanted). A scan that
            contradicts an earlier one is the one that is charged.
        """
        sequences = scans if isinstance(scans, ScanSequences) else ScanSequences.of(scans)
        places = self._places(sequences)
        codes, measured = self._walk(sequences, places)
        fake = check_codes(sequences, self._companies, self.parameters)
        rows = np.arange(len(sequences.times))
        if since is not None:
            rows = rows[(sequences.frame["event_time"] >= since).to_numpy()]
        scores = self._scores(codes, measured)
        scores["epcFake"] = fake["epcFake_score"].to_numpy()
        said: dict[str, pl.Series] = {}
        if reasons:
            said = self._reasons(sequences, places, codes, measured, scores, rows)
            said["epcFake"] = fake["epcFake_reason"].gather(rows)
        frame = sequences.frame if since is None else sequences.frame[rows]
        silent = pl.Series([None], dtype=pl.String).new_from_index(0, len(rows))
        columns: list[pl.Series] = []
        for kind in RULE_KINDS:
            columns.append(pl.Series(f"{kind}_score", scores[kind][rows]))
            columns.append(said.get(kind, silent).alias(f"{kind}_reason"))
        kept = [name for name in frame.columns if name not in RULE_COLUMNS]
        return frame[kept].hstack(columns)

    def to_arrays(self) -> Arrays:
        """Return everything as arrays for a bundle."""
        return {
            **self.reference.to_arrays(),
            **self.routes.to_arrays(),
            **pack_texts("rules.parameters", [self.parameters.to_json()]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[np.generic]]) -> RulesModel:
        """Read everything back from a bundle's arrays.

        Raises
        ------
        ValueError
            When an array is missing, or parameters are not this version's.
        """
        (parameters,) = unpack_texts("rules.parameters", arrays)
        return cls(
            ScanReference.from_arrays(arrays),
            RouteStatistics.from_arrays(arrays),
            RuleParameters.from_json(parameters),
        )

    @cached_property
    def top_speed_kmh(self) -> float:
        """The speed of the fastest vehicle."""
        fastest = self.reference.vehicles["max_speed_kmh"].max()
        return self.parameters.fallback_speed_kmh if fastest is None else float(str(fastest))

    @cached_property
    def _companies(self) -> frozenset[str]:
        return frozenset(self.reference.companies["company"])

    @cached_property
    def _known(self) -> _KnownPlaces:
        """The reference data as look-ups."""
        columns = (
            *("location_id", "location_type", "scan_location", "location_hierarchy"),
            *("latitude", "longitude"),
        )
        kinds = self.reference.locations["location_type"].unique().sort().to_list()
        number = {kind: code for code, kind in enumerate(kinds)}
        forward = self.reference.tier_moves
        moves = np.zeros((len(kinds),) * 2 if len(forward) else (0, 0), dtype=np.int8)
        for source, target, flow in forward.iter_rows():
            if source in number and target in number:
                bit = k.FORWARD if flow == "forward" else k.RETURN
                moves[number[source], number[target]] |= bit
        steps = self.reference.steps
        prefixes = {
            prefix.lower(): number.get(kind, -1)
            for prefix, kind in steps.select("event_prefix", "location_type").iter_rows()
        }
        kinds_of_step = steps.group_by("business_step").agg(pl.col("location_type").unique())
        by_step = {
            step: number.get(kinds[0], -1)
            for step, kinds in kinds_of_step.iter_rows()
            if len(kinds) == 1
        }
        return _KnownPlaces(
            {
                place: _Place(*known)
                for place, *known in self.reference.locations.select(columns).iter_rows()
            },
            number,
            moves,
            prefixes,
            by_step,
        )

    def _places(self, sequences: ScanSequences) -> _Places:
        known = self._known
        ids = sequences.places.to_list()
        found = [known.places.get(place, _NO_PLACE) for place in ids]
        listed = np.array([one is not _NO_PLACE for one in found], dtype=bool)
        return _Places(
            names=[
                place if one is _NO_PLACE else one.name
                for one, place in zip(found, ids, strict=True)
            ],
            types=[one.kind for one in found],
            listed=listed if known.places else np.ones(len(found), dtype=bool),
            world=(
                np.array([known.kinds.get(one.kind, -1) for one in found], dtype=np.int8),
                np.array([one.level for one in found], dtype=np.int8),
                np.array([one.latitude for one in found], dtype=np.float64),
                np.array([one.longitude for one in found], dtype=np.float64),
                known.moves,
            ),
        )

    def _walk(self, sequences: ScanSequences, places: _Places) -> tuple[Ints, Floats]:
        steps, step = coded(sequences.frame["business_step"])
        back = np.array([*(one.lower().startswith("return") for one in steps), -1], dtype=np.int8)
        parameters = self.parameters
        limits = np.array(
            [
                parameters.jump_z,
                np.log(parameters.jump_ratio),
                parameters.min_distance_km,
                self.top_speed_kmh,
                parameters.reread_seconds * 1e6,
            ]
        )
        scans = (
            sequences.times,
            sequences.place,
            sequences.stage,
            sequences.direction,
            back[step],
            self._step_kinds(sequences, steps, step),
            places.listed,
        )
        routes = self.routes.lookup(sequences.places)
        return k.walk(sequences.starts, sequences.epc, scans, places.world, routes, limits)

    def _step_kinds(
        self, sequences: ScanSequences, steps: list[str], step: SmallInts
    ) -> npt.NDArray[np.int8]:
        """(n,) code of the type of place that a scan's words belong to, −1 where they say none."""
        prefixes, by_step = self._known.prefixes, self._known.kinds_of_steps
        by_stage = np.array([*(prefixes.get(s, -1) for s in sequences.stages), -1], dtype=np.int8)
        said = by_stage[sequences.stage]
        of_step = np.array([*(by_step.get(one, -1) for one in steps), -1], dtype=np.int8)
        return np.where(said >= 0, said, of_step[step]).astype(np.int8)

    def _scores(self, codes: Ints, measured: Floats) -> dict[str, Floats]:
        p = self.parameters
        location = np.zeros(6)
        location[[k.UNKNOWN_PLACE, k.WRONG_STEP, k.AGAINST, k.SIDEWAYS, k.SKIPPED]] = (
            *(p.score_unknown_place, p.score_wrong_step, p.score_against),
            *(p.score_sideways, p.score_skipped),
        )
        order = np.zeros(8)
        order[[k.AFTER_SALE, k.CONTRADICTION, k.LATE_ORIGIN]] = (
            *(p.score_after_sale, p.score_contradiction, p.score_contradiction),
        )
        order[[k.MISSING_OUTBOUND, k.MISSING_INBOUND]] = p.score_missing
        order[[k.REPEATED_INBOUND, k.REPEATED_OUTBOUND]] = p.score_repeated
        far = np.minimum(
            np.abs(measured[:, k.Z]) / p.jump_z,
            np.abs(measured[:, k.LOG_RATIO]) / np.log(p.jump_ratio),
        )
        far = np.nan_to_num(far, nan=0.0)
        watched = np.clip((far - _SHORTEST_WATCHED) / (1.0 - _SHORTEST_WATCHED), 0.0, 1.0)
        # Just below the limit stays just below 50, whatever the rounding.
        below = np.minimum(FIRES_AT * watched, np.nextafter(FIRES_AT, 0.0))
        above = FIRES_AT + (100.0 - FIRES_AT) * (1.0 - np.exp(-(far - 1.0)))
        too_fast = np.nan_to_num(measured[:, k.SPEED], nan=0.0) / self.top_speed_kmh - 1.0
        impossible = np.where(too_fast > 0, 70.0 + 30.0 * (1.0 - np.exp(-too_fast)), 0.0)
        return {
            "epcDup": np.where(codes[:, k.DUPLICATE] >= 0, p.score_duplicate, 0.0),
            "locErr": location[codes[:, k.LOCATION]],
            "evtOrderErr": order[codes[:, k.ORDER]],
            "jump": np.maximum(np.where(far >= 1.0, above, below), impossible),
        }

    def _reasons(
        self,
        sequences: ScanSequences,
        places: _Places,
        codes: Ints,
        measured: Floats,
        scores: Mapping[str, Floats],
        rows: Ints,
    ) -> dict[str, pl.Series]:
        own, *_ = sequence_rows(
            sequences.starts, sequences.place, sequences.stage, sequences.direction
        )
        narrator = Narrator(
            sequences,
            places.names,
            places.types,
            codes=codes,
            measured=measured,
            own_place=np.where(own >= 0, sequences.place[own], -1).astype(np.int32),
        )
        say = {
            "epcDup": narrator.duplicate,
            "locErr": narrator.location,
            "evtOrderErr": narrator.order,
            "jump": lambda row: narrator.jump(row, self.top_speed_kmh),
        }
        said = {}
        for kind, words in say.items():
            fired = np.flatnonzero(scores[kind][rows] >= FIRES_AT)
            silent = pl.Series([None], dtype=pl.String).new_from_index(0, len(rows))
            said[kind] = (
                silent.scatter(fired, narrator.many(rows[fired], words)) if len(fired) else silent
            )
        return said
