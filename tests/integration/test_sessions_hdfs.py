"""Sessions of a real file system: what the backtest promises, on data that is not in the tree."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the sequence model trains with torch")

from sklearn.metrics import average_precision_score

from anomaly_platform.ml.backtest.sessions import Session, SessionDetector, read_sessions

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "hdfs"
TRAINING_SESSIONS = 2855


def four_grams(session: Session) -> list[tuple[str, ...]]:
    padded = ("<",) * 3 + session + (">",)
    return [padded[i : i + 4] for i in range(len(padded) - 3)]


def unseen_four_grams(training: list[Session], judged: list[Session]) -> np.ndarray:
    known = {gram for session in training for gram in four_grams(session)}
    return np.array([sum(gram not in known for gram in four_grams(s)) for s in judged])


def rare_four_grams(training: list[Session], judged: list[Session]) -> np.ndarray:
    grams = Counter(gram for session in training for gram in four_grams(session))
    contexts: Counter[tuple[str, ...]] = Counter()
    for gram, count in grams.items():
        contexts[gram[:-1]] += count
    words = len({gram[-1] for gram in grams}) + 1

    def surprise(gram: tuple[str, ...]) -> float:
        return -float(np.log((grams[gram] + 0.1) / (contexts[gram[:-1]] + 0.1 * words)))

    return np.array([max(surprise(gram) for gram in four_grams(s)) for s in judged])


@pytest.mark.skipif(not DATA.exists(), reason="the HDFS sessions are not beside the repository")
def test_hdfs_sessions_are_told_apart_by_a_threshold_from_training_alone() -> None:
    normal = read_sessions(DATA / "normal_sessions.txt.gz")
    abnormal = read_sessions(DATA / "abnormal_sessions.txt.gz")
    training, judged = normal[:TRAINING_SESSIONS], normal[TRAINING_SESSIONS:] + abnormal
    truth = np.repeat([0, 1], [len(normal) - TRAINING_SESSIONS, len(abnormal)])
    scores = SessionDetector.fit(training, seed=42).score(judged)

    hits = int((scores.is_anomaly & (truth == 1)).sum())
    f1 = 2 * hits / (int(scores.is_anomaly.sum()) + int(truth.sum()))
    assert f1 >= 0.95

    first = {session: row for row, session in reversed(list(enumerate(judged)))}
    rows = np.array(sorted(first[session] for session in set(judged) - set(training)))
    assert scores.is_anomaly[rows][truth[rows] == 0].mean() <= 0.05
    area = average_precision_score(truth[rows], scores.raw[rows])
    for baseline in (unseen_four_grams, rare_four_grams):
        theirs = average_precision_score(truth[rows], baseline(training, judged)[rows])
        assert area >= theirs
