"""Scores scans with the barcode detectors: from features to confidences with reasons.

What belongs here: which detectors there are, that they see the same scans, and the columns that
come out. Each detector's own work is in `detectors`, the weighing in `fusion`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from typing import Final

import numpy as np
import polars as pl

from anomaly_platform.ml.arrays import Bools, Floats, Ints
from anomaly_platform.ml.calibration.conformal import THRESHOLD, Severity
from anomaly_platform.ml.detectors.one_class_svm_scans import (
    CalibratedSvm,
    Distance,
    SvmVerdicts,
)
from anomaly_platform.ml.detectors.rules.detector import (
    FIRES_AT,
    RULE_KINDS,
    RuleParameters,
    RulesModel,
    without_verdicts,
)
from anomaly_platform.ml.detectors.rules.routes import RouteStatistics
from anomaly_platform.ml.detectors.scan_habits.detector import HabitVerdicts, ScanHabits
from anomaly_platform.ml.detectors.scan_habits.legs import NothingOrdinaryError
from anomaly_platform.ml.detectors.sequence_lstm.calibrated import (
    CalibratedSequence,
    SequenceVerdicts,
    calibration_start,
    doubtful,
)
from anomaly_platform.ml.detectors.sequence_lstm.scans import lots_of
from anomaly_platform.ml.features.scans.names import SIX_PARTS
from anomaly_platform.ml.features.scans.reference import ScanReference
from anomaly_platform.ml.features.scans.sequences import ScanSequences
from anomaly_platform.ml.frames import IntoDataFrame, to_polars
from anomaly_platform.ml.scans.explanation import explain
from anomaly_platform.ml.scans.fusion import (
    HABITS,
    LSTM,
    RULES,
    SVM,
    BarcodeFusion,
    Fused,
    FusionWeights,
    run_side_by_side,
)

_LOG = logging.getLogger(__name__)
Verdicts = SequenceVerdicts | SvmVerdicts | HabitVerdicts

SCORE_COLUMNS: Final = (
    *("lstm_score", "svm_score", "ml_combined_score", "final_confidence"),
    *("is_anomaly", "severity", "ml_explanation", "business_step_inferred"),
)
EXPLAINED_FROM: Final = 20.0
"""Confidence from which on a scan is put into words: severity LOW."""
SCANS_PER_CHUNK: Final = 50_000


@dataclass(frozen=True)
class Together:
    """What scans are judged with: a request, a day or a file, of which they may be a part.

    Attributes
    ----------
    strange
        Why unknown places are not charged; None where they are (`RulesModel.strange_network`).
    unlearned
        Why the learned detectors cannot judge; None where they can.
    """

    strange: str | None = None
    unlearned: str | None = None

    @classmethod
    def of(
        cls, models: BarcodeModels, scans: pl.Series | ScanSequences, what: str = "request"
    ) -> Together:
        """Look at the places of all that is judged together.

        One place that was never seen is an anomaly; several, and no other, are another network.
        """
        places = scans.places if isinstance(scans, ScanSequences) else scans
        known, distinct = models.learned_places, places.drop_nulls().unique()
        unlearned = None
        if known and len(distinct) > 1 and known.isdisjoint(distinct):
            unlearned = f"no place of this {what} was learned"
        return cls(models.rules.strange_network(places, what), unlearned)


@dataclass(frozen=True)
class BarcodeModels:
    """The detectors in service; `lstm`, `svm` and `fusion` may be missing.

    With a learned detector but without `fusion`, rules and detector cannot be weighed, and the
    rules speak alone.
    """

    rules: RulesModel
    lstm: CalibratedSequence | None = None
    svm: CalibratedSvm | None = None
    fusion: BarcodeFusion | None = None

    @classmethod
    def of_rules(cls, reference: ScanReference, code_pattern: str = SIX_PARTS) -> BarcodeModels:
        """Return the rules alone, with what is known beforehand and nothing learned."""
        parameters = RuleParameters(code_pattern=code_pattern)
        return cls(RulesModel(reference, RouteStatistics.empty(), parameters))

    @cached_property
    def learned_places(self) -> frozenset[str]:
        """The places that the learned detectors have seen; none without them."""
        if self.lstm is not None:
            return frozenset(self.lstm.model.vocabularies["place"].values)
        return (
            frozenset() if self.svm is None else frozenset(self.svm.inputs.transitions["to_place"])
        )

    def score(
        self,
        features: IntoDataFrame | ScanSequences,
        *,
        since: datetime | None = None,
        threshold: float = THRESHOLD,
        limits: Mapping[str, float] | None = None,
        together: Together | None = None,
        left_out: dict[str, str] | None = None,
        beside: pl.DataFrame | None = None,
        until: datetime | None = None,
    ) -> pl.DataFrame:
        """Judge scans.

        Parameters
        ----------
        features
            Scan features with the look-back of their EPCs; or these in order already.
        since
            Return only scans at or after it.
        threshold
            Score at which the confidence is 50.
        limits
            Seconds for each detector, as online; None waits.
        together
            What these scans are a part of; they are all of it by default.
        left_out
            Receives the detectors and rules that failed or were late, each with the reason.
        beside, until
            Features of further codes' scans, of the same lots, and up to when all scans are in
            hand (`ScanHabits.judge`).

        Returns
        -------
        polars.DataFrame
            The scans by EPC, time and id with the rules' columns and `SCORE_COLUMNS`; scores are
            0–100, null for a detector that took no part.
        """
        ordered = features if isinstance(features, ScanSequences) else ScanSequences.of(features)
        together = together or Together.of(self, ordered)
        frame, missing = self._ruled(ordered, together, limits)
        tasks = self._learned(frame)
        if together.unlearned is not None:
            missing |= dict.fromkeys(tasks, together.unlearned)
            tasks = {}
        elif self.fusion is not None and self.fusion.habits is not None:
            judge = partial(self._habits, self.fusion.habits, together.strange)
            tasks[HABITS] = partial(judge, frame, beside, until)
        done = run_side_by_side(tasks, limits)
        missing |= done.left_out
        found = {name: verdicts.p_values for name, verdicts in done.results.items()}
        rules = rule_certainty(frame)
        fusion = self.fusion or BarcodeFusion({})
        habits = done.results.get(HABITS)
        fused = fusion.fuse(
            rules,
            found,
            after_violation=after_violation(frame),
            parted=habits.parted if isinstance(habits, HabitVerdicts) else None,
            threshold=threshold,
            left_out=missing,
        )
        if left_out is not None:
            left_out |= missing
        rows = np.arange(frame.height)
        if since is not None:
            rows = np.flatnonzero((frame["event_time"] >= since).to_numpy())
            frame = frame[rows]
        columns = self._score_columns(frame, rows, fused, done.results)
        return frame[[name for name in frame.columns if name not in SCORE_COLUMNS]].hstack(columns)

    def _learned(self, frame: pl.DataFrame) -> dict[str, Callable[[], Verdicts]]:
        """Return what lets sequence model and SVM judge; nothing where no fusion joins them."""
        judges = {} if self.fusion is None else {LSTM: self.lstm, SVM: self.svm}
        return {name: partial(one.judge, frame) for name, one in judges.items() if one is not None}

    def _score_columns(
        self, frame: pl.DataFrame, rows: Ints, fused: Fused, verdicts: Mapping[str, Verdicts]
    ) -> list[pl.Series]:
        """Return `SCORE_COLUMNS` of a frame, whose rows are those of what was fused."""
        final = fused.final[rows]
        said = np.flatnonzero(~(final < EXPLAINED_FROM))
        words = np.full(len(rows), "", dtype=object)
        words[said] = self._words(frame[said], rows[said], fused, verdicts)
        numbers = {
            "lstm_score": fused.lstm[rows],
            "svm_score": fused.svm[rows],
            "ml_combined_score": fused.ml[rows],
            "final_confidence": final,
        }
        return [
            *(pl.Series(name, values, nan_to_null=True) for name, values in numbers.items()),
            pl.Series("is_anomaly", final >= 50.0),
            pl.Series("severity", severities(final)),
            pl.Series("ml_explanation", words.tolist(), dtype=pl.String),
            self.rules.reference.place_features(frame)["business_step_inferred"],
        ]

    def _ruled(
        self, ordered: ScanSequences, together: Together, limits: Mapping[str, float] | None
    ) -> tuple[pl.DataFrame, dict[str, str]]:
        """Let the rules judge; return the scans with their columns, and the rules left out."""

        def judge() -> tuple[pl.DataFrame, dict[str, str]]:
            failed: dict[str, str] = {}
            strange = together.strange
            return self.rules.score(ordered, strange=strange, left_out=failed), failed

        done = run_side_by_side({RULES: judge}, limits)
        if RULES in done.results:
            return done.results[RULES]
        return without_verdicts(ordered), dict(done.left_out)

    def _habits(
        self,
        habits: ScanHabits,
        strange: str | None,
        frame: pl.DataFrame,
        beside: pl.DataFrame | None,
        until: datetime | None,
    ) -> HabitVerdicts:
        """Judge by habits; what broke a rule is no part of what a lot did."""
        if beside is not None:
            beside = self.rules.score(beside, reasons=False, strange=strange)
        return habits.judge(frame, beside, until)

    def in_chunks(
        self,
        features: IntoDataFrame,
        *,
        rows: int = SCANS_PER_CHUNK,
        threshold: float = THRESHOLD,
        together: Together | None = None,
        left_out: dict[str, str] | None = None,
    ) -> Iterator[pl.DataFrame]:
        """Judge a large request in chunks of whole lots, so that memory stays bounded.

        Yields frames as `score` returns them, of about `rows` scans each, ordered by lot.
        """
        frame = to_polars(features)
        together = together or Together.of(self, frame["location_id"])
        lots = frame.select("epc_code", lot=lots_of(frame))
        sizes = lots.group_by("lot").len().sort("lot")
        chunk = ((sizes["len"].cum_sum() - sizes["len"]) // rows).alias("chunk")
        chunks = lots.join(sizes.select("lot", chunk), on="lot", maintain_order="left")["chunk"]
        for number in chunk.unique().sort():
            yield self.score(
                frame.filter(chunks == number),
                threshold=threshold,
                together=together,
                left_out=left_out,
                until=frame.select(pl.col("event_time").max()).item(),
            )

    def _words(
        self,
        frame: pl.DataFrame,
        rows: Ints,
        fused: Fused,
        verdicts: Mapping[str, Verdicts],
    ) -> list[str]:
        """Explain the scans of `frame`, which have the numbers `rows` in `fused`."""
        sequence, svm, habits = (verdicts.get(name) for name in (LSTM, SVM, HABITS))
        places = self.rules.reference.place_names
        found = frame[[f"{kind}_reason" for kind in RULE_KINDS]]
        moves = frame[["previous_location", "place"]].iter_rows()
        alpha = 0.0 if self.fusion is None else self.fusion.alpha
        words = []
        for row, reasons, move in zip(rows.tolist(), found.iter_rows(), moves, strict=True):
            evidence = None
            if isinstance(sequence, SequenceVerdicts) and fused.lstm[row] >= EXPLAINED_FROM:
                evidence = sequence.explain(row)
            unusual: list[Distance] = []
            if isinstance(svm, SvmVerdicts) and fused.svm[row] >= 50.0:
                unusual = svm.distances(row)
            habit = ""
            if isinstance(habits, HabitVerdicts) and habits.p_values[row] <= alpha:
                habit = habits.explain(row, places)
            words.append(
                explain(
                    rules=[*(reason for reason in reasons if reason), *([habit] if habit else [])],
                    sequence=evidence,
                    unusual=unusual,
                    move=move,
                    left_out=fused.left_out,
                    places=places,
                )
            )
        return words


def fit_fusion(
    scans: pl.DataFrame,
    lstm: CalibratedSequence | None,
    svm: CalibratedSvm | None,
    *,
    weights: FusionWeights | None = None,
    alpha: float = 0.01,
) -> BarcodeFusion:
    """Calibrate the fusion on the last fifth of a training window.

    Parameters
    ----------
    scans
        Scan features of the window with the rules' scores.
    lstm, svm
        The learned detectors that there are, trained on the same window's first part.
    """
    late = (scans["event_time"] >= calibration_start(scans)).to_numpy()
    p_values = {}
    if lstm is not None:
        p_values[LSTM] = lstm.judge(scans).p_values[late]
    if svm is not None:
        p_values[SVM] = svm.judge(scans.filter(pl.Series(late))).p_values
    habits, parted = None, None
    if p_values:
        try:
            habits, verdicts = ScanHabits.fit(scans)
            p_values[HABITS], parted = verdicts.p_values[late], verdicts.parted[late]
        except NothingOrdinaryError as error:
            _LOG.info("scans are judged without habits: %s", error)
    return BarcodeFusion.fit(
        rule_certainty(scans)[late],
        p_values,
        after_violation=after_violation(scans)[late],
        lots=lots_of(scans.filter(pl.Series(late))).n_unique(),
        parted=parted,
        weights=weights,
        alpha=alpha,
        habits=habits,
    )


def after_violation(scans: pl.DataFrame) -> Bools:
    """(n,) scans of an EPC of which an earlier scan, in the frame, did not happen as reported."""
    wrong = doubtful(scans)
    if not wrong.any():
        return wrong
    ordered = (
        scans.select("epc_code", "event_time", "event_id")
        .with_columns(wrong=pl.Series(wrong))
        .with_row_index("row")
        .sort("epc_code", "event_time", "event_id")
        .with_columns(before=pl.col("wrong").cast(pl.Int8).cum_max().shift(1).over("epc_code"))
    )
    out = np.zeros(scans.height, dtype=bool)
    out[ordered["row"].to_numpy()] = (ordered["before"].fill_null(0) == 1).to_numpy()
    return out


def ruled(rules: RulesModel, scans: pl.DataFrame) -> pl.DataFrame:
    """Return scans that are judged together with the rules' scores, without their reasons."""
    strange = rules.strange_network(scans["location_id"], "window")
    return rules.score(scans, reasons=False, strange=strange)


def rule_certainty(scans: pl.DataFrame) -> Floats:
    """(n,) the highest of the rules' scores, 0–100."""
    scores = [scans[f"{kind}_score"].to_numpy() for kind in RULE_KINDS]
    return np.asarray(np.fmax.reduce(scores), dtype=np.float64)


def severities(confidence: Floats) -> list[str]:
    """Severity of each confidence: LOW from 20, MEDIUM from 50, HIGH from 80; NONE without one."""
    levels = np.array([Severity.NONE, Severity.LOW, Severity.MEDIUM, Severity.HIGH], dtype=object)
    steps = np.digitize(np.nan_to_num(confidence), [EXPLAINED_FROM, 50.0, 80.0])
    return [str(level) for level in levels[steps]]


__all__ = [
    "FIRES_AT",
    "HABITS",
    "RULES",
    "SCORE_COLUMNS",
    "BarcodeModels",
    "Together",
    "fit_fusion",
    "rule_certainty",
    "ruled",
]
