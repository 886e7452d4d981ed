"""Numbers of a day of scans: volumes, findings per rule and detector, quality, and drift.

A stream of scans is one population and not many series. Usual is what single days of the training
window showed against the same reference.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from anomaly_platform.kinds.base import Stats
from anomaly_platform.kinds.bundles import files_of
from anomaly_platform.kinds.feedback import with_feedback
from anomaly_platform.kinds.formats import judged_by
from anomaly_platform.kinds.parts import Parts
from anomaly_platform.kinds.quality import QUANTILES, decision_quality
from anomaly_platform.kinds.scan.rows import available_columns
from anomaly_platform.kinds.scan.scoring import LEARNED, RULE_COLUMNS, SCORED
from anomaly_platform.labelling.labels import SCAN_METRIC
from anomaly_platform.storage.tables.drift import FEATURE_DRIFT_SCHEMA, SERIES_DRIFT_SCHEMA
from anomaly_platform.storage.tables.partitions import Partition
from anomaly_platform.streams import ScanStream
from anomaly_platform.streams.drift import judge_day

if TYPE_CHECKING:
    from anomaly_platform.ml.drift.distances import FeatureDrift, ReferenceDistribution

_FIRES_AT: Final = 50.0
#: Stands in the place of an entity where a row is about all scans of a day.
ALL_CODES: Final = "*"
_COUNTED: Final = (
    *("location_interpolated", "business_step_inferred", "event_type_missing", "epc_malformed"),
)


def day_stats(
    parts: Parts[ScanStream],
    version: int | None,
    reference: ReferenceDistribution | None,
    day: date,
    scored: Partition,
) -> Stats:
    """Return the numbers of a scored day, and store its drift.

    Parameters
    ----------
    version, reference
        Of the set in service, and how the scans were distributed that it learned from; None
        without one.
    """
    rows = parts.lake.read(scored.path)
    stats = _volumes(rows)
    labelled = with_feedback(rows, parts.labels.of_day(parts.stream.name, day), SCORED.key)
    known = labelled.filter(pl.col("label").is_not_null())
    stats |= decision_quality(known["label"].to_numpy(), known["is_anomaly"].to_numpy())
    features = parts.partitions.get(parts.stream.name, "features", day.isoformat())
    if reference is None or features is None:
        return stats
    watched = parts.lake.read(features.path, columns=list(reference.features))
    found, record = _drift(parts, watched, rows, reference)
    parts.drift.replace_day(
        parts.stream.name,
        day,
        series=pl.DataFrame([record], schema=SERIES_DRIFT_SCHEMA),
        features=pl.DataFrame(_told(found, record["score_psi"]), schema=FEATURE_DRIFT_SCHEMA),
        bundle_version=version,
    )
    return {
        **stats,
        ("day", "volume_ratio"): record["volume_ratio"],
        ("score", "psi"): record["score_psi"],
        **{(f"feature/{one.feature}", "psi"): one.psi for one in found},
        **{(f"feature/{one.feature}", "ks"): one.ks for one in found},
        ("day", "psi_max"): max((one.psi for one in found if one.psi is not None), default=None),
    }


def _drift(
    parts: Parts[ScanStream],
    watched: pl.DataFrame,
    scored: pl.DataFrame,
    reference: ReferenceDistribution,
) -> tuple[list[FeatureDrift], dict[str, Any]]:
    """Measure a day's drift: of every feature, and all scans as a row of ``series_drift``."""
    from anomaly_platform.ml.drift.distances import score_psi
    from anomaly_platform.ml.scans.bundles import watched_numbers

    found = reference.compare(watched_numbers(watched))
    usual = parts.drift.usual_psi(parts.stream.name, parts.stream.scored_by)
    usual_rows = parts.drift.usual_rows(parts.stream.name, parts.stream.scored_by)
    decisive = _furthest(found, usual)
    judged = {
        "psi": decisive.psi,
        "psi_noise": decisive.psi_noise,
        "usual_psi": usual.get(decisive.feature),
        "score_psi": score_psi(learned_p_values(parts, scored)),
    }
    return found, {
        "entity": ALL_CODES,
        "metric": SCAN_METRIC,
        "rows": scored.height,
        **judged,
        "ks": decisive.ks,
        "volume_ratio": scored.height / usual_rows if usual_rows else None,
        "missing_share": decisive.missing_share,
        "anomaly_share": scored["is_anomaly"].fill_null(value=False).mean() or 0.0,
        "verdict": judge_day(parts.stream.retraining, change=None, **judged),
    }


def reference_of(parts: Parts[ScanStream]) -> tuple[int | None, ReferenceDistribution | None]:
    """Return the set in service, and how the scans were distributed that it learned from."""
    from anomaly_platform.ml.scans.bundles import read_reference

    champion = parts.bundles.champion(parts.stream.name, parts.stream.scored_by)
    if champion is None:
        return None, None
    _, folder = files_of(parts, parts.stream.scored_by, champion.version)
    return champion.version, read_reference(folder, available=available_columns(parts.stream))


def _volumes(rows: pl.DataFrame) -> Stats:
    anomalies = int(rows["is_anomaly"].sum())
    stats: Stats = {
        ("day", "scans"): rows.height,
        ("day", "codes"): rows["epc_code"].n_unique(),
        ("day", "anomalies"): anomalies,
        ("day", "anomaly_rate"): anomalies / rows.height if rows.height else None,
        **{("day", name): int(rows[name].sum()) for name in _COUNTED},
    }
    for kind, column in RULE_COLUMNS.items():
        stats[("rule", kind)] = int((rows[column] >= _FIRES_AT).sum())
    for detector, judged in judged_by(rows, (*LEARNED, "ml_combined")).items():
        fired = int((rows[f"{detector}_score"] >= _FIRES_AT).sum())
        stats[("detector", detector)] = fired if judged else None
    for severity, count in rows["severity"].value_counts().iter_rows():
        stats[("severity", severity)] = count
    for name, q in QUANTILES.items():
        stats[("confidence", name)] = rows["final_confidence"].quantile(q)
    return stats


def learned_p_values(parts: Parts[Any], scored: pl.DataFrame) -> npt.NDArray[np.float64]:
    """Return the p-values behind what the learned detectors said together, NaN without them."""
    from anomaly_platform.ml.calibration.conformal import p_of_score

    shown = scored["ml_combined_score"].fill_null(float("nan")).to_numpy()
    threshold = parts.threshold
    score = np.where(
        shown < 50.0,
        shown / 50.0 * threshold,
        threshold + (shown - 50.0) / 50.0 * (1.0 - threshold),
    )
    p_values = np.full(score.size, np.nan)
    known = np.isfinite(score)
    below_one = np.minimum(score[known], np.nextafter(1.0, 0.0))
    p_values[known] = p_of_score(below_one, parts.alpha)
    return p_values


def _furthest(found: list[FeatureDrift], usual: dict[str, float]) -> FeatureDrift:
    """Return the feature that lies furthest beyond what is usual for it."""

    def beyond(one: FeatureDrift) -> float:
        return -1.0 if one.psi is None else one.psi / max(usual.get(one.feature, one.psi), 0.01)

    return max(found, key=beyond)


def _told(found: list[FeatureDrift], spread: float | None) -> list[dict[str, Any]]:
    """Return a row of ``feature_drift`` per feature that was measured, and one of the scores."""
    measured = [(one.feature, one.psi, one.ks) for one in found if one.psi is not None]
    if spread is not None:
        measured.append(("score", spread, None))
    return [
        {
            "feature": feature,
            "psi_median": psi,
            "psi_p90": psi,
            "ks_median": ks,
            "ks_p90": ks,
            "series": 1,
        }
        for feature, psi, ks in measured
    ]
