"""Measure `anomaly backtest sessions` on the HDFS log sessions, beside 4-gram baselines.

One command, everything written to ``docs/measured/sessions_quality.md``::

    python benchmarks/sessions_quality.py --data ../shared/data/hdfs [--out docs/…]

The folder holds ``normal_sessions.txt.gz`` and ``abnormal_sessions.txt.gz``. The first 2,855 normal
sessions are learned from, as in the published splits; the others and all abnormal ones are judged
by the command itself, whose threshold comes from the training sessions alone.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

from anomaly_platform.ml.arrays import Floats
from anomaly_platform.ml.backtest.sessions import Session, read_sessions

ROOT = Path(__file__).resolve().parents[1]
TRAINING_SESSIONS = 2_855
FOLDS = 5
LEARNED_DISTINCT = 500
_COMMAND = "from anomaly_platform.cli.main import main; main()"


def four_grams(session: Session) -> list[tuple[str, ...]]:
    """Return every four events in a row, with the beginning and the end as events."""
    padded = ("<",) * 3 + session + (">",)
    return [padded[i : i + 4] for i in range(len(padded) - 3)]


def unseen_four_grams(training: list[Session], judged: list[Session]) -> Floats:
    """Score each session by its number of 4-grams that training did not have."""
    known = {gram for session in training for gram in four_grams(session)}
    counts = [sum(gram not in known for gram in four_grams(session)) for session in judged]
    return np.array(counts, dtype=np.float64)


def rarest_four_gram(training: list[Session], judged: list[Session]) -> Floats:
    """Score each session by the surprise of its most surprising 4-gram, smoothed by 0.1."""
    grams = Counter(gram for session in training for gram in four_grams(session))
    contexts: Counter[tuple[str, ...]] = Counter()
    for gram, count in grams.items():
        contexts[gram[:-1]] += count
    words = len({gram[-1] for gram in grams}) + 1

    def surprise(gram: tuple[str, ...]) -> float:
        return -float(np.log((grams[gram] + 0.1) / (contexts[gram[:-1]] + 0.1 * words)))

    return np.array([max(surprise(gram) for gram in four_grams(session)) for session in judged])


def backtest(training: list[Session], judged: list[Session], seed: int) -> pl.DataFrame:
    """Run the command on files, as a user would, and return the rows that it wrote."""
    with tempfile.TemporaryDirectory() as folder:
        train, test, out = (Path(folder) / name for name in ("train.txt", "test.txt", "scores.csv"))
        for path, sessions in ((train, training), (test, judged)):
            path.write_text("".join(" ".join(session) + "\n" for session in sessions))
        command = [sys.executable, "-c", _COMMAND, "backtest", "sessions"]
        files = ["--train", train, "--test", test, "--out", out]
        subprocess.run([*command, *files, "--seed", str(seed)], check=True)
        return pl.read_csv(out, schema_overrides={"came": pl.String, "expected": pl.String})


def five_folds(normal: list[Session], abnormal: list[Session], seed: int) -> list[str]:
    """Judge each fold of the distinct normal sessions by the others; return the table's rows.

    At most `LEARNED_DISTINCT` distinct sessions are learned from, with their repetitions, and all
    distinct abnormal ones are judged by each of the five detectors.
    """
    kinds = sorted(set(normal))
    odd = sorted(set(abnormal) - set(normal))
    rng = np.random.default_rng(seed)
    fold_of = np.empty(len(kinds), dtype=np.int64)
    fold_of[rng.permutation(len(kinds))] = np.arange(len(kinds)) % FOLDS
    rows, rates = [], []
    for fold in range(FOLDS):
        held = [kinds[row] for row in np.flatnonzero(fold_of == fold)]
        others = rng.permutation(np.flatnonzero(fold_of != fold))[:LEARNED_DISTINCT]
        learned = {kinds[row] for row in others}
        training = [session for session in normal if session in learned]
        flags = backtest(training, held + odd, seed)["is_anomaly"].to_numpy()
        rates.append((flags[: len(held)].mean(), flags[len(held) :].mean()))
        rows.append(f"| {fold + 1} | {len(held)} | {rates[-1][0]:.1%} | {rates[-1][1]:.1%} |")
    flagged, found = np.mean(rates, axis=0)
    return [*rows, f"| mean | | {flagged:.1%} | {found:.1%} |"]


def report(data: Path, seed: int) -> list[str]:
    """Measure, and return the page's lines."""
    normal = read_sessions(data / "normal_sessions.txt.gz")
    abnormal = read_sessions(data / "abnormal_sessions.txt.gz")
    training, judged = normal[:TRAINING_SESSIONS], normal[TRAINING_SESSIONS:] + abnormal
    truth = np.repeat([0, 1], [len(normal) - TRAINING_SESSIONS, len(abnormal)])
    scores = backtest(training, judged, seed)
    flags = scores["is_anomaly"].to_numpy()
    # Scores end in digits that ties do not survive; p-values keep the order of what is extreme.
    ours = -np.log(scores["p_value"].to_numpy())
    first = {session: row for row, session in reversed(list(enumerate(judged)))}
    unique = np.array(sorted(first[session] for session in set(judged) - set(training)))
    precision, recall, f1, _ = precision_recall_fscore_support(truth, flags, average="binary")
    rates = [flags[rows][truth[rows] == 0].mean() for rows in (np.arange(len(truth)), unique)]
    area = average_precision_score(truth[unique], ours[unique])
    found = flags[unique][truth[unique] == 1].mean()
    lines = [
        f"""# Sessions, measured

Written by `python benchmarks/sessions_quality.py`; do not edit.

`anomaly backtest sessions` on log sessions of HDFS (seed {seed}): learned from the
first {len(training):,} normal sessions ({len(set(training))} different ones). Of the
{len(judged):,} judged, {int(truth.sum()):,} are abnormal. The threshold comes from the
training sessions alone.

Duplicates counted, as the literature does:

| F1 | precision | recall | false-positive rate |
|--:|--:|--:|--:|
| {f1:.3f} | {precision:.3f} | {recall:.3f} | {rates[0]:.2%} |

Most test sessions repeat one that training had, and telling those apart is easy. Of the
{len(unique)} *different* sessions that training did not contain,
{int(truth[unique].sum())} are abnormal:

| scored by | AUC-PR | false-positive rate at the threshold | found |
|---|--:|--:|--:|
| `anomaly backtest sessions` | {area:.3f} | {rates[1]:.2%} | {found:.1%} |"""
    ]
    for name, baseline in (
        ("number of unseen 4-grams", unseen_four_grams),
        ("most surprising 4-gram", rarest_four_gram),
    ):
        area = average_precision_score(truth[unique], baseline(training, judged)[unique])
        lines.append(f"| {name} | {area:.3f} | – | – |")
    lines.append(f"""
## Sessions of a kind never seen

Each fold of the {len(set(normal))} different normal sessions is judged by what was learned from the
others, {LEARNED_DISTINCT} different ones at most, with their repetitions; no session of a fold
occurs in its training. Beside it each detector judges the different abnormal sessions:

| fold | normal sessions | flagged | abnormal found |
|--:|--:|--:|--:|""")
    return [*lines, *five_folds(normal, abnormal, seed), ""]


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the sessions")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/measured/sessions_quality.md")
    chosen = parser.parse_args()
    chosen.out.write_text("\n".join(report(chosen.data, chosen.seed)))
    print(f"{chosen.out} written")


if __name__ == "__main__":
    main()
