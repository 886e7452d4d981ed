"""The enhanced response to a file of scans (requirement B8): its types, and how it is built.

What belongs here: names and shape of the answer, counting over it, and writing it in chunks, so
that a request of any size is answered in bounded memory (what grows is one small count per EPC).
How scores come about is in `scoring`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import IO, Final

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.alias_generators import to_camel

from anomaly_platform.ml.columns import runs

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
FIRES_AT: Final = 50.0


class _Model(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid"
    )


class EventVerdict(_Model):
    """One scan's findings; scores are 0–100, an anomaly from 50 on, null without that detector."""

    event_id: str
    epc_code: str
    epc_fake: bool
    epc_fake_score: float = Field(ge=0, le=100)
    epc_dup: bool
    epc_dup_score: float = Field(ge=0, le=100)
    loc_err: bool
    loc_err_score: float = Field(ge=0, le=100)
    evt_order_err: bool
    evt_order_err_score: float = Field(ge=0, le=100)
    jump: bool
    jump_score: float = Field(ge=0, le=100)
    lstm_sequence_score: float | None = Field(ge=0, le=100)
    svm_outlier_score: float | None = Field(ge=0, le=100)
    ml_combined_score: float | None = Field(ge=0, le=100)
    final_confidence: float = Field(ge=0, le=100)
    severity: str
    ml_explanation: str


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

    `totalMLAnomalies`: scans whose `mlCombinedScore` is 50 or more; `lstmDetections` and
    `svmDetections` likewise for each; `ruleOnlyDetections` and `mlOnlyDetections`: scans that only
    a rule, or only the learned detectors together, find; `averageConfidence`: mean
    `finalConfidence` of the scans that either finds, 0 when there are none.
    """

    total_ml_anomalies: int = Field(default=0, alias="totalMLAnomalies")
    lstm_detections: int = 0
    svm_detections: int = 0
    rule_only_detections: int = 0
    ml_only_detections: int = 0
    average_confidence: float = 0.0


class BarcodeResponse(_Model):
    """The whole answer."""

    file_id: str | None
    event_history: list[EventVerdict] = Field(alias="EventHistory")
    epc_anomaly_stats: list[EpcCounts]
    file_anomaly_stats: Counts
    ml_summary_stats: MlSummary


class ResponseBuilder:
    """Turns chunks of scored scans into verdicts, and counts as it goes.

    Chunks are frames as `BarcodeModels.score` returns them; scans of one EPC may be in several.
    """

    def __init__(self, file_id: str | None = None) -> None:
        self.file_id = file_id
        self._epcs: dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]] = {}
        self._ml = np.zeros(5, dtype=np.int64)
        self._confidence = 0.0
        self._found = 0

    def add(self, scored: pl.DataFrame) -> list[EventVerdict]:
        """Count a chunk and return its verdicts, in the order of its rows."""
        self._count(scored)
        columns = {name: scored[name].to_list() for name in ("event_id", "epc_code")}
        for kind, field in RULE_FIELDS.items():
            scores = scored[f"{kind}_score"].to_list()
            columns[field] = [score >= FIRES_AT for score in scores]
            columns[f"{field}_score"] = _rounded(scores)
        for field, name in _LEARNED_FIELDS.items():
            columns[field] = _rounded(scored[name].to_list())
        columns["severity"] = scored["severity"].to_list()
        columns["ml_explanation"] = scored["ml_explanation"].to_list()
        rows = zip(*columns.values(), strict=True)
        return _VERDICTS.validate_python([dict(zip(columns, row, strict=True)) for row in rows])

    def _count(self, scored: pl.DataFrame) -> None:
        fired = np.stack([_reach(scored[f"{kind}_score"]) for kind in RULE_FIELDS], axis=1)
        hits = np.column_stack([np.ones(len(fired), dtype=bool), fired])
        codes = scored["epc_code"]
        begins = np.flatnonzero(np.diff(runs(codes), prepend=-1))
        for epc, numbers in zip(
            codes[begins], np.add.reduceat(hits, begins, dtype=np.int64), strict=True
        ):
            self._epcs[epc] = self._epcs[epc] + numbers if epc in self._epcs else numbers
        rule, ml = fired.any(axis=1), _reach(scored["ml_combined_score"])
        lstm, svm = _reach(scored["lstm_score"]), _reach(scored["svm_score"])
        self._ml += [part.sum() for part in (ml, lstm, svm, rule & ~ml, ml & ~rule)]
        found = rule | ml
        self._confidence += float(scored["final_confidence"].to_numpy()[found].sum())
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
    file: IO[str], chunks: Iterable[pl.DataFrame], file_id: str | None = None
) -> BarcodeTotals:
    """Write the answer as JSON while the chunks come in; `BarcodeResponse` is its form."""
    builder = ResponseBuilder(file_id)
    file.write(f'{{"fileId":{json.dumps(file_id, ensure_ascii=False)},"EventHistory":[')
    _write_all(file, (verdict for chunk in chunks for verdict in builder.add(chunk)))
    file.write('],"epcAnomalyStats":[')
    _write_all(file, builder.epc_stats())
    totals = BarcodeTotals(
        file_anomaly_stats=builder.file_stats(), ml_summary_stats=builder.ml_stats()
    )
    file.write("]," + totals.model_dump_json(by_alias=True)[1:])
    return totals


class BarcodeTotals(_Model):
    """The closing part of an answer."""

    file_anomaly_stats: Counts
    ml_summary_stats: MlSummary


def _write_all(file: IO[str], models: Iterable[_Model]) -> None:
    for i, model in enumerate(models):
        file.write("," * (i > 0) + model.model_dump_json(by_alias=True))


def _counts(numbers: np.ndarray[tuple[int], np.dtype[np.int64]]) -> dict[str, int]:
    names = ("total_events", *(f"{field}_count" for field in RULE_FIELDS.values()))
    return dict(zip(names, (int(n) for n in numbers), strict=True))


def _rounded(scores: list[float | None]) -> list[float | None]:
    return [None if score is None else round(score, 2) for score in scores]


def _reach(scores: pl.Series) -> npt.NDArray[np.bool_]:
    """(n,) whether a score is that of an anomaly; a missing one is not."""
    return np.asarray(scores.cast(pl.Float64).to_numpy() >= FIRES_AT)
