"""The enhanced response to a file of scans (requirement B8): its types, and how it is built.

What belongs here: names and shape of the answer, counting over it, and writing it in chunks, so
that a request of any size is answered in bounded memory (what grows is one small count per EPC).
How scores come about is in `scoring`.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Annotated, Final

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.alias_generators import to_camel

from anomaly_platform.ml.columns import runs
from anomaly_platform.ml.detectors.rules.blindness import read_blind_rules

RULE_FIELDS: Final = {
    "epcFake": "epc_fake",
    "epcDup": "epc_dup",
    "locErr": "loc_err",
    "evtOrderErr": "evt_order_err",
    "jump": "jump",
}
_LEARNED_FIELDS: Final = {
    "lstm_sequence_score": "lstm_score",
    "svm_outlier_score": "svm_score",
    "ml_combined_score": "ml_combined_score",
    "final_confidence": "final_confidence",
}
_AS_THEY_ARE: Final = (
    *("event_id", "epc_code", "severity", "ml_explanation", "location_interpolated"),
    *("business_step_inferred", "event_type_missing", "partial_sequence"),
)
FIRES_AT: Final = 50.0
NO_COMPANIES: Final = "no company is known, so that unknown ones are not found"


class _Model(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid"
    )


Id = int | float | str
"""An id as it came: a number stays one."""
_Score = Annotated[float, Field(ge=0, le=100)]


class EventVerdict(_Model):
    """One scan's findings; scores are 0–100, an anomaly from 50 on, null without that detector.

    `blindRules` names the rules that could not judge this scan; the reasons stand in the answer's
    own `blindRules`.
    """

    event_id: Id
    epc_code: str
    epc_fake: bool
    epc_fake_score: _Score | None
    epc_dup: bool
    epc_dup_score: _Score | None
    loc_err: bool
    loc_err_score: _Score | None
    evt_order_err: bool
    evt_order_err_score: _Score | None
    jump: bool
    jump_score: _Score | None
    lstm_sequence_score: _Score | None
    svm_outlier_score: _Score | None
    ml_combined_score: _Score | None
    final_confidence: _Score | None
    severity: str
    ml_explanation: str
    location_interpolated: bool = Field(alias="location_interpolated")
    business_step_inferred: bool = Field(alias="business_step_inferred")
    event_type_missing: bool = Field(alias="event_type_missing")
    partial_sequence: bool = Field(alias="partial_sequence")
    blind_rules: list[str]


_VERDICTS: Final = TypeAdapter(list[EventVerdict])


class Counts(_Model):
    """How many scans there are, and how many of them each rule fires at."""

    total_events: int = 0
    epc_fake_count: int = 0
    epc_dup_count: int = 0
    loc_err_count: int = 0
    evt_order_err_count: int = 0
    jump_count: int = 0


class EpcCounts(Counts):
    """The same for one EPC."""

    epc_code: str


class MlSummary(_Model):
    """What the learned detectors add to the rules.

    `totalMLAnomalies`: scans that something learned finds, habits too: `mlCombinedScore` is 50 or
    more, or no rule fires and `finalConfidence` is. `lstmDetections` and `svmDetections`: scans
    that each of the two alone scores 50 or more; `ruleOnlyDetections` and `mlOnlyDetections`: scans
    that only a rule, or only what is learned, finds; `averageConfidence`: mean `finalConfidence` of
    the scans that either finds, 0 when there are none.
    """

    total_ml_anomalies: int = Field(default=0, alias="totalMLAnomalies")
    lstm_detections: int = 0
    svm_detections: int = 0
    rule_only_detections: int = 0
    ml_only_detections: int = 0
    average_confidence: float = 0.0


class BlindRule(_Model):
    """A rule that could not judge so many of the scans, and why."""

    rule: str
    events: int
    reason: str


class BarcodeTotals(_Model):
    """The closing part of an answer.

    `leftOut`: detectors and rules that failed or were late; `silentDetectors`: learned detectors
    that have too little data to speak, and how much is missing; each with the reason.
    """

    file_anomaly_stats: Counts
    ml_summary_stats: MlSummary
    blind_rules: list[BlindRule] = []
    left_out: dict[str, str] = {}
    silent_detectors: dict[str, str] = {}


class BarcodeResponse(BarcodeTotals):
    """The whole answer."""

    file_id: Id | None
    event_history: list[EventVerdict] = Field(alias="EventHistory")
    epc_anomaly_stats: list[EpcCounts]


@dataclass
class Silence:
    """What did not take part in an answer, each with the reason; filled along the way.

    Attributes
    ----------
    left_out
        Detectors and rules that failed or were late.
    detectors
        Learned detectors that have too little data to speak.
    rules
        Rules that knew too little to judge the request, besides those that each scan names.
    """

    left_out: dict[str, str] = field(default_factory=dict)
    detectors: dict[str, str] = field(default_factory=dict)
    rules: dict[str, str] = field(default_factory=dict)


class ResponseBuilder:
    """Turns chunks of scored scans into verdicts, and counts as it goes.

    Chunks are frames as `BarcodeModels.score` returns them; scans of one EPC may be in several.
    """

    def __init__(self, event_ids: Mapping[int, Id] | None = None) -> None:
        self._ids = event_ids or {}
        self._blind: Counter[tuple[str, str]] = Counter()
        self._epcs: dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]] = {}
        self._ml = np.zeros(5, dtype=np.int64)
        self._confidence = 0.0
        self._found = 0

    def add(self, scored: pl.DataFrame) -> list[EventVerdict]:
        """Count a chunk and return its verdicts, in the order of its rows."""
        self._count(scored)
        columns = {name: scored[name].to_list() for name in _AS_THEY_ARE}
        if self._ids:
            rows = zip(scored["row_number"], columns["event_id"], strict=True)
            columns["event_id"] = [self._ids.get(row, own) for row, own in rows]
        for kind, name in RULE_FIELDS.items():
            scores = scored[f"{kind}_score"].to_list()
            columns[name] = [score is not None and score >= FIRES_AT for score in scores]
            columns[f"{name}_score"] = _rounded(scores)
        for shown, name in _LEARNED_FIELDS.items():
            columns[shown] = _rounded(scored[name].to_list())
        columns["blind_rules"] = [
            list(dict.fromkeys(rule for rule, _ in read_blind_rules(text)))
            for text in scored["blind_rules"]
        ]
        verdicts = zip(*columns.values(), strict=True)
        return _VERDICTS.validate_python([dict(zip(columns, one, strict=True)) for one in verdicts])

    def _count(self, scored: pl.DataFrame) -> None:
        fired = np.stack([_reach(scored[f"{kind}_score"]) for kind in RULE_FIELDS], axis=1)
        hits = np.column_stack([np.ones(len(fired), dtype=bool), fired])
        codes = scored["epc_code"]
        begins = np.flatnonzero(np.diff(runs(codes), prepend=-1))
        for epc, numbers in zip(
            codes[begins], np.add.reduceat(hits, begins, dtype=np.int64), strict=True
        ):
            self._epcs[epc] = self._epcs[epc] + numbers if epc in self._epcs else numbers
        for text, scans in scored["blind_rules"].drop_nulls().value_counts(sort=True).iter_rows():
            self._blind.update(dict.fromkeys(read_blind_rules(text), scans))
        rule = fired.any(axis=1)
        # Habits have no score of their own: they show in the final confidence alone.
        ml = _reach(scored["ml_combined_score"]) | (~rule & _reach(scored["final_confidence"]))
        lstm, svm = _reach(scored["lstm_score"]), _reach(scored["svm_score"])
        self._ml += [part.sum() for part in (ml, lstm, svm, rule & ~ml, ml & ~rule)]
        found = rule | ml
        self._confidence += float(
            scored["final_confidence"].cast(pl.Float64).to_numpy()[found].sum()
        )
        self._found += int(found.sum())

    def epc_stats(self) -> Iterator[EpcCounts]:
        """Yield the counts of every EPC, in the order of their first appearance."""
        for epc, numbers in self._epcs.items():
            yield EpcCounts(epc_code=epc, **_counts(numbers))

    def file_stats(self) -> Counts:
        """Return the counts over everything."""
        total = np.zeros(1 + len(RULE_FIELDS), dtype=np.int64)
        for numbers in self._epcs.values():
            total += numbers
        return Counts(**_counts(total))

    def blind(self, also: Mapping[str, str]) -> list[BlindRule]:
        """Return the rules that could not judge, with those that knew too little of any scan."""
        everything = sum(int(numbers[0]) for numbers in self._epcs.values())
        found = {**self._blind, **dict.fromkeys(also.items(), everything)}
        return [
            BlindRule(rule=rule, events=scans, reason=reason)
            for (rule, reason), scans in sorted(found.items())
            if scans
        ]

    def ml_stats(self) -> MlSummary:
        """Return the summary of the learned detectors."""
        ml, lstm, svm, rule_only, ml_only = (int(n) for n in self._ml)
        return MlSummary(
            total_ml_anomalies=ml,
            lstm_detections=lstm,
            svm_detections=svm,
            rule_only_detections=rule_only,
            ml_only_detections=ml_only,
            average_confidence=round(self._confidence / self._found, 2) if self._found else 0.0,
        )


def write_response(
    file: IO[str],
    chunks: Iterable[pl.DataFrame],
    file_id: Id | None = None,
    *,
    event_ids: Mapping[int, Id] | None = None,
    silence: Silence | None = None,
) -> BarcodeTotals:
    """Write the answer as JSON while the chunks come in; `BarcodeResponse` is its form.

    Parameters
    ----------
    file
        Receives the answer.
    chunks
        As `ResponseBuilder` takes them.
    file_id
        Named in the answer.
    event_ids
        Ids as they came, by the chunks' `row_number`; other scans have their own text.
    silence
        What did not take part; read when all chunks have come.
    """
    builder, silence = ResponseBuilder(event_ids), silence or Silence()
    file.write(f'{{"fileId":{json.dumps(file_id, ensure_ascii=False)},"EventHistory":[')
    _write_all(file, (verdict for chunk in chunks for verdict in builder.add(chunk)))
    file.write('],"epcAnomalyStats":[')
    _write_all(file, builder.epc_stats())
    totals = BarcodeTotals(
        file_anomaly_stats=builder.file_stats(),
        ml_summary_stats=builder.ml_stats(),
        blind_rules=builder.blind(silence.rules),
        left_out=silence.left_out,
        silent_detectors=silence.detectors,
    )
    file.write("]," + totals.model_dump_json(by_alias=True)[1:])
    return totals


def _write_all(file: IO[str], models: Iterable[_Model]) -> None:
    for i, model in enumerate(models):
        file.write("," * (i > 0) + model.model_dump_json(by_alias=True))


def _counts(numbers: np.ndarray[tuple[int], np.dtype[np.int64]]) -> dict[str, int]:
    names = ("total_events", *(f"{name}_count" for name in RULE_FIELDS.values()))
    return dict(zip(names, (int(n) for n in numbers), strict=True))


def _rounded(scores: list[float | None]) -> list[float | None]:
    return [None if score is None else round(score, 2) for score in scores]


def _reach(scores: pl.Series) -> npt.NDArray[np.bool_]:
    """(n,) whether a score is that of an anomaly; a missing one is not."""
    return np.asarray(scores.cast(pl.Float64).to_numpy() >= FIRES_AT)
