"""Measures how well barcode detectors find injected anomalies (requirements B9, I4).

What belongs here: making known anomalies out of ordinary scans, and measuring a score against
them. Labels are never read.

Anomalies: one scan of a code is moved to another place, or to another hour, or says another event
type. Its features, and those of the scans after it, are computed anew, as they would have been.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import polars as pl

from anomaly_platform.ml.arrays import Bools, Floats, Ints
from anomaly_platform.ml.detectors.sequence_lstm.calibrated import calibration_start
from anomaly_platform.ml.evaluation.measures import auc_pr, auc_roc, confusion
from anomaly_platform.ml.features.scans.definition import ScanFeatureSet

CODES: Final = 2_000
"""Codes of the held-out part that quality is measured on, at most."""
INJECTED_SHARE: Final = 0.25
_HOURS = (4.0, 14.0)


@dataclass(frozen=True)
class HeldOut:
    """Scans of the calibration part with injected anomalies, and their look-back.

    scans: scan features; judged (n,): rows of the held-out part that count; injected (n,): the
    anomalies among them.
    """

    scans: pl.DataFrame
    judged: Bools
    injected: Bools


def inject_scans(scans: pl.DataFrame, feature_set: ScanFeatureSet, *, seed: int) -> HeldOut:
    """Put one anomaly into a quarter of the codes of the window's last fifth.

    Parameters
    ----------
    scans
        Scan features of a training window; not changed.
    feature_set
        Computes the features anew.
    seed
        Decides codes, scans and kinds.
    """
    cut = calibration_start(scans)
    late = scans.filter(pl.col("event_time") >= cut)["epc_code"].unique().sort()
    rng = np.random.default_rng(seed)
    chosen = late.gather(np.sort(rng.permutation(len(late))[:CODES]))
    frame = (
        scans.filter(pl.col("epc_code").is_in(chosen.implode()))
        .drop(*feature_set.names, strict=False)
        .sort("epc_code", "event_time", "event_id")
    )
    picks = _pick(frame, cut, rng)
    changed = _change(frame, picks, scans, rng).with_columns(
        _picked=pl.Series(np.isin(np.arange(frame.height), picks))
    )
    touched = changed.filter(pl.col("_picked"))["epc_code"].unique()
    features = feature_set.compute(changed)
    injected = features["_picked"].to_numpy()
    ordinary = ~features["epc_code"].is_in(touched.implode()).to_numpy()
    # Like is compared with like: first scans of a code are never changed.
    able = ((features["event_time"] >= cut) & (features["current_position"] > 1)).to_numpy()
    return HeldOut(features.drop("_picked"), (able & ordinary) | injected, injected)


def _pick(frame: pl.DataFrame, cut: datetime, rng: np.random.Generator) -> Ints:
    """Choose one late scan, not the first of its code, in a share of the codes."""
    rows = frame.with_row_index("row").with_columns(
        first=pl.col("epc_code").ne_missing(pl.col("epc_code").shift())
    )
    able = rows.filter((pl.col("event_time") >= cut) & ~pl.col("first"))
    groups = able.group_by("epc_code", maintain_order=True).agg("row")["row"].to_list()
    take = rng.permutation(len(groups))[: max(1, round(INJECTED_SHARE * len(groups)))]
    picked = [groups[i][int(rng.integers(len(groups[i])))] for i in np.sort(take)]
    return np.array(picked if groups else [], dtype=np.int64)


def _change(
    frame: pl.DataFrame, picks: Ints, scans: pl.DataFrame, rng: np.random.Generator
) -> pl.DataFrame:
    places = scans["location_id"].drop_nulls().unique().sort().to_list()
    words = scans["event_type"].drop_nulls().unique().sort().to_list()
    place, word = frame["location_id"].to_list(), frame["event_type"].to_list()
    moved = np.zeros(frame.height)
    for row in picks.tolist():
        kind = int(rng.integers(3))
        if kind == 0 and len(places) > 1:
            place[row] = _another(places, place[row], rng)
        elif kind == 1 and len(words) > 1:
            word[row] = _another(words, word[row], rng)
        else:
            moved[row] = rng.choice([-1.0, 1.0]) * rng.uniform(*_HOURS)
    shift = pl.duration(microseconds=pl.lit(pl.Series((moved * 3.6e9).astype(np.int64))))
    return frame.with_columns(
        pl.Series("location_id", place, dtype=pl.String),
        pl.Series("event_type", word, dtype=pl.String),
        event_time=pl.col("event_time") + shift,
    )


def _another(values: list[str], but: str | None, rng: np.random.Generator) -> str:
    others = [value for value in values if value != but]
    return others[int(rng.integers(len(others)))]


def measure(held: HeldOut, judge: Callable[[pl.DataFrame], tuple[Floats, Bools]]) -> dict[str, Any]:
    """Measure a detector on injected anomalies.

    Parameters
    ----------
    held
        As injected.
    judge
        From scan features to (n,) scores, higher = more anomalous, and (n,) decisions, in the
        order of the rows.

    Returns
    -------
    dict
        precision, recall, f1, auc_roc, auc_pr, false_positive_rate and test_samples; None where
        there is nothing to measure.
    """
    scores, flags = judge(held.scans)
    truth, rows = held.injected[held.judged], int(held.judged.sum())
    measured: dict[str, Any] = {"test_samples": rows, "test_anomalies": int(truth.sum())}
    if not truth.any() or truth.all():
        return measured | dict.fromkeys(("precision", "recall", "f1", "auc_roc", "auc_pr"))
    counts = confusion(truth, flags[held.judged])
    return measured | {
        "precision": counts.precision,
        "recall": counts.recall,
        "f1": counts.f1,
        "false_positive_rate": counts.false_positive_rate,
        "auc_roc": auc_roc(truth, scores[held.judged]),
        "auc_pr": auc_pr(truth, scores[held.judged]),
    }
