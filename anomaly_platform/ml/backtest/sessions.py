"""Detects anomalous sessions: complete sequences of event ids, without times.

Here belongs what is special about whole sessions: the end of a session as an event, one score per
session, and a threshold from the training sessions alone. The model is the sequence detector.

A session's raw score is the surprise of its most surprising event, its end included: one event
that cannot follow is enough, however long and ordinary the rest is. (Sums and means reward short
sessions, and grow with what is merely varied.)

The threshold. Most normal sessions repeat one that was seen before, and those are easy; what an
alarm must not be raised for is a normal session of a kind that is new. Training therefore counts
equal sessions once with a weight, and splits the *distinct* ones into folds. Each fold is scored
by the model that was trained without it, so that every calibration score belongs to a session
that its model never saw; the alarm rate `alpha` is a share of such new normal sessions. A session
is judged by the mean over the folds' models, which varies less than each of them (cross-conformal
prediction, Vovk 2015).
"""

import gzip
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl

from anomaly_platform.ml.arrays import AnyArray, Arrays, Bools, Floats, Ints, Singles
from anomaly_platform.ml.calibration.conformal import THRESHOLD, Calibration, score_of_p
from anomaly_platform.ml.detectors.base import part_of, under
from anomaly_platform.ml.detectors.sequence_lstm.detector import SequenceLSTM
from anomaly_platform.ml.detectors.sequence_lstm.events import (
    END,
    EventSequences,
    SequenceSpec,
    Vocabulary,
    untimed_sequences,
)
from anomaly_platform.ml.detectors.sequence_lstm.parameters import TrainingParameters

Session = tuple[str, ...]
Progress = Callable[[Mapping[str, object]], None]

SPEC = SequenceSpec(targets=("event",), timed=False, ended=True)


@dataclass(frozen=True)
class SessionParameters:
    """How a session detector is trained.

    Parameters
    ----------
    alpha
        Share of normal sessions of a kind never seen that may be flagged, in (0, 1). Of all
        normal sessions, most of which repeat a known one, far fewer are.
    folds
        Models trained, each without one part of the distinct sessions; at least 2.
    training
        Of each model.
    """

    alpha: float = 0.03
    folds: int = 4
    training: TrainingParameters = field(
        default_factory=lambda: TrainingParameters(
            batch_events=1024, max_epochs=40, patience=8, dropout=0.1
        )
    )

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise ValueError(f"folds is {self.folds}, at least 2 are needed")
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha is {self.alpha}, it lies between 0 and 1")


@dataclass(frozen=True)
class SessionScores:
    """Verdicts, a row per session.

    raw (n,) nats of surprise; p_value (n,); score (n,) in [0, 1); is_anomaly (n,) bool;
    position (n,) of the most surprising event, the session's length for its end; came and
    expected (n,) that event and the likeliest one, in words.
    """

    raw: Floats
    p_value: Floats
    score: Floats
    is_anomaly: Bools
    position: Ints
    came: tuple[str, ...]
    expected: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.score)


@dataclass(frozen=True)
class SessionDetector:
    """The sequence model's folds and their calibration. Fitted: use `fit` or `from_arrays`."""

    models: Sequence[SequenceLSTM]
    calibration: Calibration
    alpha: float

    @classmethod
    def fit(
        cls,
        sessions: Sequence[Sequence[str]],
        *,
        seed: int = 42,
        parameters: SessionParameters | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Train on normal sessions.

        Parameters
        ----------
        sessions
            Event ids of each session, at least two per fold. Empty sessions are left out.
        seed
            Decides everything random.
        progress
            Called after each epoch with its figures and `fold`, `folds`.

        Raises
        ------
        ValueError
            When there are too few sessions.
        """
        parameters = parameters or SessionParameters()
        distinct, weights = _distinct([tuple(s) for s in sessions if len(s)], parameters.folds)
        vocabulary = {"event": Vocabulary.learn([event for s in distinct for event in s])}
        everything = encode(distinct, vocabulary["event"], weights)
        order = np.random.default_rng(seed).permutation(len(distinct))
        fold_of = np.empty(len(distinct), dtype=np.int64)
        fold_of[order] = np.arange(len(distinct)) % parameters.folds
        models, scores = [], []
        for fold in range(parameters.folds):
            held = everything.take(np.flatnonzero(fold_of == fold))
            model = SequenceLSTM.fit(
                SPEC,
                vocabulary,
                everything.take(np.flatnonzero(fold_of != fold)),
                parameters=parameters.training,
                seed=seed + fold,
                progress=_of_fold(progress, fold, parameters.folds),
            )
            models.append(model)
            scores.append(np.maximum.reduceat(model.score(held), held.offsets[:-1]))
        return cls(models, Calibration.fit(np.concatenate(scores)), parameters.alpha)

    def score(self, sessions: Sequence[Sequence[str]]) -> SessionScores:
        """Judge complete sessions; a session's verdict depends on itself only."""
        if not len(sessions):
            none = np.empty(0)
            return SessionScores(none, none, none, none.astype(bool), none.astype(np.int64), (), ())
        vocabulary = self.models[0].vocabularies["event"]
        encoded = encode([tuple(session) for session in sessions], vocabulary)
        raw = np.zeros(len(encoded))
        for model in self.models[1:]:
            raw += np.maximum.reduceat(model.score(encoded), encoded.offsets[:-1])
        surprise = self.models[0].surprise(encoded)
        raw += np.maximum.reduceat(surprise.total, encoded.offsets[:-1])
        raw /= len(self.models)
        worst = np.array(
            [
                start + int(surprise.total[start:end].argmax())
                for start, end in zip(encoded.offsets[:-1], encoded.offsets[1:], strict=True)
            ]
        )
        position = worst - encoded.offsets[:-1]
        p_value = self.calibration.p_value(raw)
        score = score_of_p(p_value, self.alpha)
        return SessionScores(
            raw=raw,
            p_value=p_value,
            score=score,
            is_anomaly=score >= THRESHOLD,
            position=position,
            came=tuple(
                session[at] if at < len(session) else vocabulary.decode(END)
                for session, at in zip(sessions, position.tolist(), strict=True)
            ),
            expected=tuple(vocabulary.decode(int(code)) for code in surprise.expected[worst, 0]),
        )

    def to_arrays(self) -> dict[str, AnyArray]:
        """Everything that a verdict depends on."""
        arrays = under("calibration/", self.calibration.to_arrays())
        for fold, model in enumerate(self.models):
            arrays |= under(f"fold/{fold}/", model.to_arrays())
        return {"alpha": np.array([self.alpha]), **arrays}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Read what `to_arrays` returned."""
        folds = sorted({int(name.split("/")[1]) for name in arrays if name.startswith("fold/")})
        return cls(
            [SequenceLSTM.from_arrays(part_of(arrays, f"fold/{fold}/")) for fold in folds],
            Calibration.from_arrays(part_of(arrays, "calibration/")),
            float(arrays["alpha"][0]),
        )


def encode(
    sessions: Sequence[Session], vocabulary: Vocabulary, weights: Singles | None = None
) -> EventSequences:
    """Lay sessions out for the model, each with its end as the last event."""
    lengths = np.array([len(session) + 1 for session in sessions])
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    codes = np.full((offsets[-1], 1), END, dtype=np.int32)
    inside = np.ones(len(codes), dtype=bool)
    inside[offsets[1:] - 1] = False
    codes[inside, 0] = vocabulary.encode([event for session in sessions for event in session])
    return untimed_sequences(codes, offsets, weights)


def read_sessions(path: Path) -> list[Session]:
    """Read one session per line, event ids separated by blanks; plain or gzipped UTF-8.

    Blank lines at the end are no sessions; a blank line before is one without events.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        sessions = [tuple(line.split()) for line in file]
    while sessions and not sessions[-1]:
        sessions.pop()
    return sessions


def write_scores(path: Path, scores: SessionScores) -> None:
    """Write a CSV with a row per session: session (from 0), score, is_anomaly, and why."""
    table = {
        "session": np.arange(len(scores)),
        "score": [f"{score:.6f}" for score in scores.score],
        "is_anomaly": scores.is_anomaly,
        "p_value": [f"{p_value:.3g}" for p_value in scores.p_value],
        "position": scores.position,
        "came": scores.came,
        "expected": scores.expected,
    }
    pl.DataFrame(table).write_csv(path, line_terminator="\r\n")


def backtest_sessions(
    train: Path,
    test: Path,
    out: Path,
    *,
    seed: int = 42,
    parameters: SessionParameters | None = None,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Train on the sessions of one file, score those of another, write a CSV.

    Returns
    -------
    dict
        train_sessions, distinct_train_sessions, test_sessions, flagged, training_seconds,
        sessions_per_second.
    """
    normal, judged = read_sessions(train), read_sessions(test)
    began = time.perf_counter()
    detector = SessionDetector.fit(normal, seed=seed, parameters=parameters, progress=progress)
    trained = time.perf_counter()
    scores = detector.score(judged)
    seconds = time.perf_counter() - trained
    write_scores(out, scores)
    return {
        "train_sessions": len(normal),
        "distinct_train_sessions": len(set(normal)),
        "test_sessions": len(judged),
        "flagged": int(scores.is_anomaly.sum()),
        "training_seconds": trained - began,
        "sessions_per_second": len(judged) / max(seconds, 1e-9),
    }


def _distinct(sessions: list[Session], folds: int) -> tuple[list[Session], Singles]:
    """Distinct sessions and how often each occurs; all of them when hardly any differ."""
    counts = Counter(sessions)
    if len(counts) < 2 * folds:
        if len(sessions) < 2 * folds:
            raise ValueError(
                f"{len(sessions)} training sessions with events, at least {2 * folds} are needed"
            )
        return sorted(sessions), np.ones(len(sessions), dtype=np.float32)
    distinct = sorted(counts)
    return distinct, np.array([counts[session] for session in distinct], dtype=np.float32)


def _of_fold(progress: Progress | None, fold: int, folds: int) -> Progress | None:
    if progress is None:
        return None

    def report(figures: Mapping[str, object]) -> None:
        progress({**figures, "fold": fold + 1, "folds": folds})

    return report
