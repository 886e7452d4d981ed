"""`anomaly backtest sessions`: from files to a row per session."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the sequence model trains with torch")

from anomaly_platform.ingest.files.sources import UnreadableFile
from tests.builders.commands import invoke

NORMAL = ("open read close\nopen write flush close\n" * 15) + "open read write flush close\n" * 10


def backtest(folder: Path, *, train: str) -> str:
    (folder / "train.txt.gz").write_bytes(gzip.compress(train.encode()))
    (folder / "test.txt").write_text("open read close\nopen explode explode close\n")
    return invoke(
        *("backtest", "sessions", "--train", folder / "train.txt.gz", "--seed", "7"),
        *("--test", folder / "test.txt", "--out", folder / "scores.csv"),
    )


def test_a_row_per_session_and_the_same_again_with_the_same_seed(tmp_path: Path) -> None:
    said = backtest(tmp_path, train=NORMAL)
    assert "Learned from 40 sessions (3 different ones)" in said
    assert "2 judged" in said
    scores = (tmp_path / "scores.csv").read_bytes()
    normal, odd = csv.DictReader(scores.decode().splitlines())
    assert (normal["session"], odd["session"]) == ("0", "1")
    assert 0 <= float(normal["score"]) < float(odd["score"]) < 1
    assert (normal["is_anomaly"], odd["is_anomaly"]) == ("false", "true")
    assert odd["came"] == "explode"
    backtest(tmp_path, train=NORMAL)
    assert (tmp_path / "scores.csv").read_bytes() == scores


def test_too_few_sessions_are_refused_by_the_files_names(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"train\.txt\.gz, test\.txt: 2 training sessions"):
        backtest(tmp_path, train="open close\nopen read close\n")
    assert not (tmp_path / "scores.csv").exists()
