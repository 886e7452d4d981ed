from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the sequence model trains with torch")

from anomaly_platform.ml.backtest.sessions import (
    SessionDetector,
    SessionParameters,
    backtest_sessions,
    read_sessions,
)
from anomaly_platform.ml.detectors.sequence_lstm.parameters import TrainingParameters

SMALL = SessionParameters(
    folds=2,
    training=TrainingParameters(
        hidden=24, mixtures=1, batch_events=256, max_epochs=25, patience=25
    ),
)


def normal(count: int, seed: int) -> list[tuple[str, ...]]:
    """Open, a few reads and writes in any order, each write followed by a flush, then close."""
    rng = np.random.default_rng(seed)
    sessions = []
    for _ in range(count):
        middle: list[str] = []
        for _ in range(rng.integers(1, 7)):
            middle += ["read"] if rng.random() < 0.5 else ["write", "flush"]
        sessions.append(("open", *middle, "close"))
    return sessions


@pytest.fixture(scope="module")
def detector() -> SessionDetector:
    return SessionDetector.fit(normal(300, seed=0), seed=1, parameters=SMALL)


def test_sessions_that_break_the_grammar_stand_out(detector: SessionDetector) -> None:
    odd = [
        ("open", "write", "read", "close"),
        ("open", "read", "read"),
        ("open", "read", "explode", "close"),
        ("read", "close"),
        (),
    ]
    fresh = detector.score(normal(400, seed=9))
    found = detector.score(odd)
    assert found.is_anomaly.all()
    assert fresh.is_anomaly.mean() < 0.12
    assert ((found.score >= 0) & (found.score < 1)).all()


def test_a_verdict_says_which_event_and_what_was_expected(detector: SessionDetector) -> None:
    found = detector.score([("open", "write", "explode", "close"), ("open", "read", "read")])
    assert (found.came[0], found.expected[0], found.position[0]) == ("explode", "flush", 2)
    assert found.came[1] == "the end"
    assert found.position[1] == 3


def test_a_session_is_judged_by_itself_alone(detector: SessionDetector) -> None:
    sessions = normal(30, seed=3)
    together = detector.score(sessions).raw
    alone = [detector.score([session]).raw[0] for session in sessions]
    np.testing.assert_array_equal(alone, together)
    assert len(detector.score([])) == 0


def test_saved_and_loaded_it_says_the_same(detector: SessionDetector) -> None:
    again = SessionDetector.from_arrays(detector.to_arrays())
    sessions = normal(30, seed=3)
    np.testing.assert_array_equal(detector.score(sessions).score, again.score(sessions).score)


def test_equal_sessions_may_be_all_there_is() -> None:
    only = SessionDetector.fit([("a", "b")] * 40, seed=0, parameters=SMALL)
    scores = only.score([("a", "b"), ("a", "z")])
    assert scores.raw[1] > scores.raw[0] + 2


def test_too_few_sessions_are_refused() -> None:
    with pytest.raises(ValueError, match="3 training sessions"):
        SessionDetector.fit([("a",), ("b",), ("c",), ()], parameters=SMALL)
    with pytest.raises(ValueError, match="folds"):
        SessionParameters(folds=1)
    with pytest.raises(ValueError, match="alpha"):
        SessionParameters(alpha=0.0)


def test_files_are_read_plain_and_gzipped(tmp_path: Path) -> None:
    text = "5 22 5\n\n11 9 \n\n"
    (tmp_path / "a.txt").write_text(text)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(text.encode()))
    expected = [("5", "22", "5"), (), ("11", "9")]
    assert read_sessions(tmp_path / "a.txt") == read_sessions(tmp_path / "a.txt.gz") == expected


def test_the_backtest_writes_a_row_per_session_and_reports_progress(tmp_path: Path) -> None:
    train, test, out = (tmp_path / name for name in ("train.txt", "test.txt", "scores.csv"))
    train.write_text("\n".join(" ".join(s) for s in normal(80, seed=0)))
    test.write_text("open read close\nopen explode close\n")
    seen: list[object] = []
    quick = SessionParameters(
        folds=2, training=TrainingParameters(hidden=16, mixtures=1, max_epochs=2)
    )
    facts = backtest_sessions(
        train, test, out, parameters=quick, progress=lambda f: seen.append((f["fold"], f["epoch"]))
    )
    rows = list(csv.DictReader(out.open()))
    assert [row["session"] for row in rows] == ["0", "1"]
    assert {row["is_anomaly"] for row in rows} <= {"true", "false"}
    assert float(rows[1]["score"]) > float(rows[0]["score"])
    assert facts["test_sessions"] == 2
    assert facts["train_sessions"] == 80
    assert seen == [(1, 1), (1, 2), (2, 1), (2, 2)]
