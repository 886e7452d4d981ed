"""Drift of a day's scans against the scans that the models in service learned from.

What belongs here: measuring a day of a stream of scans, which is one population and not many
series, and the policy's verdict on it. Usual is what single days of the training window showed
against the same reference.
"""

from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from anomaly_platform.labelling.labels import SCAN_METRIC
from anomaly_platform.platform import Platform
from anomaly_platform.storage.tables.drift import FEATURE_DRIFT_SCHEMA, SERIES_DRIFT_SCHEMA
from anomaly_platform.streams import ScanStream
from anomaly_platform.streams.drift import judge_day

if TYPE_CHECKING:
    from anomaly_platform.ml.drift.distances import FeatureDrift, ReferenceDistribution

#: Stands in the place of an entity where a row is about all scans of a day.
ALL_CODES = "*"

Stats = dict[tuple[str, str], float | None]


def store_drift(
    platform: Platform,
    stream: ScanStream,
    day: date,
    watched: pl.DataFrame,
    scored: pl.DataFrame,
    reference: "ReferenceDistribution",
) -> Stats:
    """Measure a day's drift, store it, and return its numbers by (subject, stat).

    Parameters
    ----------
    platform : Platform
    stream : ScanStream
    day : date
    watched : polars.DataFrame
        The features whose drift is watched, a row per scan.
    scored : polars.DataFrame
        The day's scored rows.
    reference : ReferenceDistribution
        Of the scans that the set in service learned from.
    """
    from anomaly_platform.ml.drift.distances import score_psi
    from anomaly_platform.ml.scans.bundles import watched_numbers

    champion = platform.warehouse.bundles.champion(stream.name, stream.scored_by)
    version = None if champion is None else champion.version
    found = reference.compare(watched_numbers(watched))
    usual = platform.warehouse.drift.usual_psi(stream.name, stream.scored_by)
    spread = score_psi(learned_p_values(platform, stream, scored))
    decisive = _furthest(found, usual)
    volume_ratio = _volume_ratio(platform, stream, scored.height)
    record = {
        "entity": ALL_CODES,
        "metric": SCAN_METRIC,
        "rows": scored.height,
        "psi": decisive.psi,
        "psi_noise": decisive.psi_noise,
        "usual_psi": usual.get(decisive.feature),
        "ks": decisive.ks,
        "score_psi": spread,
        "volume_ratio": volume_ratio,
        "missing_share": decisive.missing_share,
        "anomaly_share": _share(scored["is_anomaly"]),
        "verdict": judge_day(
            stream.retraining,
            psi=decisive.psi,
            psi_noise=decisive.psi_noise,
            usual_psi=usual.get(decisive.feature),
            score_psi=spread,
        ),
    }
    features = [
        {
            "feature": one.feature,
            "psi_median": one.psi,
            "psi_p90": one.psi,
            "ks_median": one.ks,
            "ks_p90": one.ks,
            "series": 1,
        }
        for one in found
        if one.psi is not None
    ]
    if spread is not None:
        features.append({"feature": "score", "psi_median": spread, "psi_p90": spread, "series": 1})
    platform.warehouse.drift.replace_day(
        stream.name,
        day,
        series=pl.DataFrame([record], schema=SERIES_DRIFT_SCHEMA),
        features=pl.DataFrame(features, schema=FEATURE_DRIFT_SCHEMA),
        bundle_version=version,
    )
    stats: Stats = {("day", "volume_ratio"): volume_ratio, ("score", "psi"): spread}
    for one in found:
        stats[(f"feature/{one.feature}", "psi")] = one.psi
        stats[(f"feature/{one.feature}", "ks")] = one.ks
    measured = [one.psi for one in found if one.psi is not None]
    stats[("day", "psi_max")] = max(measured, default=None)
    return stats


def learned_p_values(
    platform: Platform, stream: ScanStream, scored: pl.DataFrame
) -> npt.NDArray[np.float64]:
    """Return the p-values behind what the learned detectors said together, NaN without them."""
    from anomaly_platform.ml.calibration.conformal import p_of_score

    shown = scored["ml_combined_score"].fill_null(float("nan")).to_numpy()
    threshold = platform.threshold_of(stream)
    score = np.where(
        shown < 50.0,
        shown / 50.0 * threshold,
        threshold + (shown - 50.0) / 50.0 * (1.0 - threshold),
    )
    p_values = np.full(score.size, np.nan)
    known = np.isfinite(score)
    below_one = np.minimum(score[known], np.nextafter(1.0, 0.0))
    p_values[known] = p_of_score(below_one, platform.alpha_of(stream))
    return p_values


def _furthest(found: "list[FeatureDrift]", usual: dict[str, float]) -> "FeatureDrift":
    """Return the feature that lies furthest beyond what is usual for it."""

    def beyond(one: "FeatureDrift") -> float:
        return -1.0 if one.psi is None else one.psi / max(usual.get(one.feature, one.psi), 0.01)

    return max(found, key=beyond)


def _volume_ratio(platform: Platform, stream: ScanStream, scans: int) -> float | None:
    usual = platform.warehouse.drift.usual_rows(stream.name, stream.scored_by)
    return None if not usual else scans / usual


def _share(flags: pl.Series) -> float:
    share = flags.fill_null(value=False).mean()
    return float(share) if isinstance(share, (int, float)) else 0.0
