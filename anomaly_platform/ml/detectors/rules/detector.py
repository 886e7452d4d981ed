"""The five barcode rules: fake codes, duplicates, wrong places, wrong order, impossible jumps.

What belongs here: the model that holds what the rules know (reference data, route statistics,
parameters), and its verdicts over a frame. Unlike other detectors it reads scans and not feature
vectors, its scores are certainties from 0 to 100 and need no calibration, and it says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import polars as pl

from anomaly_platform.ml.arrays import Floats, Ints
from anomaly_platform.ml.columns import coded
from anomaly_platform.ml.detectors.rules import kernel as k
from anomaly_platform.ml.detectors.rules.blindness import BLIND_RULES, blind_rules
from anomaly_platform.ml.detectors.rules.codes import check_codes
from anomaly_platform.ml.detectors.rules.parameters import FIRES_AT, RULE_KINDS, RuleParameters
from anomaly_platform.ml.detectors.rules.places import FramePlaces, KnownPlaces
from anomaly_platform.ml.detectors.rules.reasons import Narrator
from anomaly_platform.ml.detectors.rules.routes import RouteStatistics
from anomaly_platform.ml.features.scans.arrays import Arrays, pack_texts, unpack_texts
from anomaly_platform.ml.features.scans.kernels import sequence_rows
from anomaly_platform.ml.features.scans.reference import ScanReference
from anomaly_platform.ml.features.scans.sequences import ScanSequences
from anomaly_platform.ml.frames import IntoDataFrame

__all__ = ["FIRES_AT", "RULE_COLUMNS", "RULE_KINDS", "RuleParameters", "RulesModel"]

#: The columns that `RulesModel.score` adds.
RULE_COLUMNS = (
    *(f"{kind}_{part}" for kind in RULE_KINDS for part in ("score", "reason")),
    BLIND_RULES,
)

_SHORTEST_WATCHED = 0.5  # of the limit: below it a travel time is not even watched


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
        strange = blank.strange_network(sequences.places, "window")
        places = blank._known.of(sequences)
        codes, measured = blank._walk(sequences, places, strangers=strange is None)
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
        strange: str | None = None,
        left_out: dict[str, str] | None = None,
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
        strange
            Why unknown places are not charged (`strange_network`); None charges them.
        left_out
            Receives the rules that failed, each with the reason, and their columns are null; None
            lets their errors through.

        Returns
        -------
        polars.DataFrame
            The scans by EPC, time and id (as `ScanFeatureSet.compute` returns them) and for each
            kind `<kind>_score` (0–100; the rule fires from 50 on, below it is worth watching) and
            `<kind>_reason` (null where it does not fire, or reasons are not wanted). A scan that
            contradicts an earlier one is the one that is charged. `blind_rules` names the rules
            that could not judge a scan, and why; null where each could.
        """
        sequences = scans if isinstance(scans, ScanSequences) else ScanSequences.of(scans)
        rows = np.arange(len(sequences.times))
        if since is not None:
            rows = rows[(sequences.frame["event_time"] >= since).to_numpy()]
        scores: dict[str, Floats] = {}
        said: dict[str, pl.Series] = {}
        schemes, codes = None, None
        places = self._known.of(sequences)
        with _leaving_out(_JOURNEY_RULES, left_out):
            walked, measured = self._walk(sequences, places, strangers=strange is None)
            found = self._scores(walked, measured)
            if reasons:
                said |= self._reasons(sequences, places, walked, measured, found, rows)
            scores, codes = found, walked
        with _leaving_out(("epcFake",), left_out):
            parts = sequences.epc_parts(self.parameters.code_pattern)
            fake = check_codes(sequences, parts, self._companies, self.parameters)
            schemes, scores["epcFake"] = parts["epc_scheme"], fake["epcFake_score"].to_numpy()
            if reasons:
                said["epcFake"] = fake["epcFake_reason"].gather(rows)
        unlisted = ~np.append(places.listed, True)[sequences.place]
        blind = blind_rules(sequences, schemes, codes, unlisted=unlisted, strange=strange)
        partial = ~(sequences.begins | self._known.at_beginning(places, sequences.place))
        frame = sequences.frame if since is None else sequences.frame[rows]
        frame = frame.with_columns(pl.Series("partial_sequence", partial[sequences.starts[rows]]))
        return _with_verdicts(
            frame, {kind: of[rows] for kind, of in scores.items()}, said, blind[rows]
        )

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
    def _known(self) -> KnownPlaces:
        return KnownPlaces(self.reference)

    def strange_network(self, places: pl.Series, of: str) -> str | None:
        """Return why unknown places are not to be charged, None where they are.

        They are where the reference knows at least half of the places of what is judged together
        (requirement B4).

        Parameters
        ----------
        places
            Of all scans that are judged together, null where there is none.
        of
            What that is, such as "request".
        """
        if not len(self._known):
            return None
        known, distinct = self._known.known(places)
        if 2 * known >= distinct:
            return None
        if not known:
            return f"no place of this {of} is known"
        return f"only {known} of {distinct} places of this {of} are known"

    def _walk(
        self, sequences: ScanSequences, places: FramePlaces, *, strangers: bool
    ) -> tuple[Ints, Floats]:
        """Walk along each EPC; `strangers` says whether a place that is not listed is wrong."""
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
            self._known.said_tiers(sequences),
            self._known.step_types(sequences, steps, step),
            places.listed if strangers and len(self._known) else np.ones_like(places.listed),
        )
        routes = self.routes.lookup(sequences.places)
        return k.walk(sequences.starts, sequences.epc, scans, places.world, routes, limits)

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
        places: FramePlaces,
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
            [kind.type for kind in self._known.kinds],
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


_JOURNEY_RULES = tuple(kind for kind in RULE_KINDS if kind != "epcFake")


@contextmanager
def _leaving_out(kinds: Iterable[str], left_out: dict[str, str] | None) -> Iterator[None]:
    """Note rules that fail, where somebody wants to know; else let their error through."""
    try:
        yield
    except Exception as error:
        if left_out is None:
            raise
        left_out |= dict.fromkeys(kinds, f"failed: {str(error) or type(error).__name__}")


def without_verdicts(sequences: ScanSequences) -> pl.DataFrame:
    """Return the scans as `RulesModel.score` does, where no rule said anything."""
    blind = pl.Series(BLIND_RULES, [None], dtype=pl.String)
    partial = pl.Series("partial_sequence", ~sequences.begins[sequences.starts])
    frame = sequences.frame.with_columns(partial)
    return _with_verdicts(frame, {}, {}, blind.new_from_index(0, frame.height))


def _with_verdicts(
    frame: pl.DataFrame,
    scores: Mapping[str, Floats],
    said: Mapping[str, pl.Series],
    blind: pl.Series,
) -> pl.DataFrame:
    """Add the columns of the rules; those of a rule that said nothing are null."""
    silent = pl.Series([None], dtype=pl.String).new_from_index(0, frame.height)
    columns: list[pl.Series] = []
    for kind in RULE_KINDS:
        score = scores.get(kind)
        column = silent.cast(pl.Float64) if score is None else pl.Series(score)
        columns += [column.alias(f"{kind}_score"), said.get(kind, silent).alias(f"{kind}_reason")]
    kept = [name for name in frame.columns if name not in RULE_COLUMNS]
    return frame[kept].hstack([*columns, blind])
