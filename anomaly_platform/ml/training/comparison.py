"""Compares a challenger and the champion on the same rows.

The challenger was measured while it was trained, on the second half of its calibration part with
seeded injections (`quality`). Here the champion is measured on exactly these rows with exactly
these injections. Rows that people or files call anomalies were left out of both trainings; both
bundles score them as they would in service.
"""

from collections.abc import Collection, Iterable

import numpy as np
import polars as pl

from anomaly_platform.ml.bundles.bundle import Bundle
from anomaly_platform.ml.detectors.base import derive_seed
from anomaly_platform.ml.features.metrics.batch import microseconds, series_spans
from anomaly_platform.ml.scoring.batch import FleetScorer
from anomaly_platform.ml.series_model.model import calibration_start
from anomaly_platform.ml.training.extending import own_series
from anomaly_platform.ml.training.gates import MUCH_WORSE, Comparison
from anomaly_platform.ml.training.quality import measure

Key = tuple[str, str]


def comparable(challenger: Bundle, champion: Bundle) -> list[Key]:
    """Return the series that both have a model for and that the challenger measured anew."""
    new = own_series(challenger).filter(pl.col("balanced_accuracy").is_not_null())
    known = champion.series.filter(pl.col("slot").is_not_null()).select("entity", "metric")
    return new.join(known, on=["entity", "metric"], how="semi").select("entity", "metric").rows()


def compare(
    challenger: Bundle,
    champion: Bundle,
    keys: Collection[Key],
    frames: Iterable[pl.DataFrame],
) -> Comparison:
    """Measure the champion where the challenger was measured.

    Parameters
    ----------
    challenger, champion
        Open bundles on the same features.
    keys
        Series to compare, of `comparable`.
    frames
        Feature frames with all rows of the challenger's window of these series, sorted by series
        and time, with a column ``label``.
    """
    rows = {
        (row["entity"], row["metric"]): row
        for row in challenger.series.iter_rows(named=True)
        if (row["entity"], row["metric"]) in set(keys)
    }
    ours, theirs = FleetScorer(challenger), FleetScorer(champion)
    pairs: list[tuple[float, float, float, float]] = []
    found: list[tuple[bool, bool]] = []
    for frame in frames:
        for key, begin, end in series_spans(frame):
            if key not in rows:
                continue
            part = frame[begin:end]
            found += _known_anomalies(part, ours, theirs)
            quality = _champions_quality(key, part, theirs, ours)
            if quality is not None:
                ours_there = rows[key]["balanced_accuracy"], rows[key]["false_positive_rate"]
                pairs.append((*ours_there, *quality))
    figures = np.array(pairs, dtype=np.float64).reshape(len(pairs), 4)
    flagged = np.array(found, dtype=np.bool_).reshape(len(found), 2)
    return Comparison(
        series=len(pairs),
        challenger_accuracy=float(figures[:, 0].mean()) if pairs else 0.0,
        champion_accuracy=float(figures[:, 2].mean()) if pairs else 0.0,
        challenger_false_positive_rate=float(figures[:, 1].mean()) if pairs else None,
        champion_false_positive_rate=float(figures[:, 3].mean()) if pairs else None,
        much_worse=float((figures[:, 2] - figures[:, 0] > MUCH_WORSE).mean()) if pairs else 0.0,
        known_anomalies=len(found),
        challenger_found=float(flagged[:, 0].mean()) if found else 0.0,
        champion_found=float(flagged[:, 1].mean()) if found else 0.0,
    )


def _known_anomalies(
    part: pl.DataFrame, ours: FleetScorer, theirs: FleetScorer
) -> list[tuple[bool, bool]]:
    known = part.filter(pl.col("label").fill_null(value=False))
    if known.is_empty():
        return []
    flags = [scorer.score(known)["is_anomaly"].fill_null(value=False) for scorer in (ours, theirs)]
    return list(zip(*flags, strict=True))


def _champions_quality(
    key: Key, part: pl.DataFrame, champion: FleetScorer, challenger: FleetScorer
) -> tuple[float, float] | None:
    model = champion.load_model(*key)
    part = part.filter(~pl.col("label").fill_null(value=False))
    values = part["value"].to_numpy().astype(np.float64)
    present = np.flatnonzero(~np.isnan(values))
    start = calibration_start(present.size)
    middle = (present.size - start + 1) // 2
    if model is None or start + middle >= present.size:
        return None
    parameters = challenger.bundle.manifest["hyper_parameters"]
    quality = measure(
        model,
        model.calibration,
        microseconds(part["event_time"]),
        values,
        int(present[start + middle]),
        challenger.feature_set,
        alpha=champion.alpha,
        seed=derive_seed(int(parameters["seed"]), *key),
    )
    if quality.balanced_accuracy is None or quality.false_positive_rate is None:
        return None
    return quality.balanced_accuracy, quality.false_positive_rate
