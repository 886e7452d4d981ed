"""What holds of the features and scores of a stream of scans, and is looked at after each run."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Final

import polars as pl

from anomaly_platform.kinds.base import StreamKind, midnight
from anomaly_platform.kinds.findings import ScoreLook, told
from anomaly_platform.kinds.formats import judged_by
from anomaly_platform.kinds.scan.rows import in_order
from anomaly_platform.kinds.scan.scoring import LEARNED, RULE_COLUMNS
from anomaly_platform.storage.tables.partitions import Partition
from anomaly_platform.streams import ScanStream

#: Codes per day whose features are computed again, one scan at a time.
SAMPLED_CODES: Final = 5
_ALWAYS_THERE: Final = (
    *("hour", "day_of_week", "month", "is_weekend", "is_business_hours", "epc_malformed"),
    *("event", "event_type_missing", "location_interpolated", "sequence_length"),
    *("current_position", "time_since_last_scan"),
)
_SCORES: Final = (
    *RULE_COLUMNS.values(),
    *("lstm_score", "svm_score", "ml_combined_score", "final_confidence"),
)
_RULES: Final = tuple(column.removesuffix("_score") for column in RULE_COLUMNS.values())
_READ: Final = (*_SCORES, "is_anomaly", "severity", "explanation")


def incomplete(kind: StreamKind[ScanStream], day: Partition) -> list[str]:
    """Return what is not known of every scan, or lies outside its bounds."""
    total: Counter[str] = Counter()
    for chunk in kind.parts.lake.chunks([day.path], columns=_ALWAYS_THERE):
        total.update({f"rows have no {name}": chunk[name].null_count() for name in _ALWAYS_THERE})
        outside = chunk.filter(~pl.col("time_since_last_scan").is_between(0.0, 720.0)).height
        total["rows have a time_since_last_scan outside 0…720 h"] += outside
    return told(day, total)


def _sample(kind: StreamKind[ScanStream], day: Partition) -> list[tuple[int, str]]:
    """Choose a few codes of the day, each with its bucket."""
    first = [
        chunk.group_by("bucket").agg(pl.col("epc_code").min())
        for chunk in kind.parts.lake.chunks([day.path], columns=["bucket", "epc_code"])
    ]
    if not first:
        return []
    codes = pl.concat(first).sort("bucket")
    chosen = codes.gather_every(max(1, codes.height // SAMPLED_CODES)).head(SAMPLED_CODES)
    return [(int(bucket), str(code)) for bucket, code in chosen.iter_rows()]


def replay(kind: StreamKind[ScanStream], day: Partition) -> tuple[int, list[str]]:
    """Compute a few codes of the day again from their look-back, one scan at a time."""
    from anomaly_platform.ml.features.scans.online import ScanState, step

    sample, features = _sample(kind, day), kind.stream.features
    when = date.fromisoformat(day.partition)

    def scans_of(days: Iterable[Partition]) -> list[pl.DataFrame]:
        parts = [
            kind.parts.lake.read(one.path, between={"bucket": (bucket, bucket)}).filter(
                epc_code=code
            )
            for one in days
            for bucket, code in sample
        ]
        return [part for part in parts if part.height]

    found, stored = scans_of(kind.history(when, when)), scans_of([day])
    if not found or not stored:
        return 0, []
    # Days of earlier versions lack the features that are new.
    names = [name for name in features.names if all(name in part.columns for part in stored)]
    expected = in_order(pl.concat(stored)).select("epc_code", *names)
    states: dict[str, ScanState] = {}
    rows: list[tuple[object, ...]] = []
    for event in in_order(pl.concat(found)).iter_rows(named=True):
        code = event["epc_code"]
        computed, states[code] = step(features, states.get(code, ScanState()), event)
        if event["event_time"] >= midnight(when):
            rows.append((code, *(computed[name] for name in names)))
    single = pl.DataFrame(rows, schema=expected.schema, orient="row")
    if single.equals(expected, null_equal=True):
        return expected.height, []
    return expected.height, [f"{day.partition}: a sample differs one scan at a time"]


def look_at_scores(kind: StreamKind[ScanStream], day: Partition, look: ScoreLook) -> None:
    """Add what is seen of a scored day."""
    problems: Counter[str] = Counter()
    judged: Counter[str] = Counter()
    ruled: Counter[str] = Counter()
    for chunk in kind.parts.lake.chunks([day.path], columns=_READ):
        problems.update(_range_problems(chunk))
        judged.update(judged_by(chunk, LEARNED))
        ruled.update(judged_by(chunk, _RULES))
        look.anomalies += int(chunk["is_anomaly"].sum())
    look.decided += day.rows
    look.add("score_range", told(day, problems))
    lacking = [*_silent(judged, day.rows), *_silent(ruled, day.rows)]
    silent = [f"{day.partition}: {problem}" for problem in lacking]
    look.add("every_detector_took_part", silent)


def _range_problems(rows: pl.DataFrame) -> dict[str, int]:
    flagged, confidence = pl.col("is_anomaly"), pl.col("final_confidence")
    grave = pl.col("severity").is_in(["MEDIUM", "HIGH"])
    wrong = {
        "rows have scores outside 0…100": pl.any_horizontal(
            ~pl.col(name).is_between(0, 100) for name in _SCORES
        ),
        "decisions contradict the confidence": flagged != (confidence >= 50),
        "severities contradict the decision": flagged != grave,
        "alarms say no reason": flagged & pl.col("explanation").is_null(),
    }
    return {what: rows.filter(condition).height for what, condition in wrong.items()}


def _silent(judged: Mapping[str, int], scans: int) -> list[str]:
    """Return the detectors that gave some or no scores on a day when another of them did."""
    if not any(judged.values()):
        return []
    return [
        f"{name} judged {count:,} of {scans:,} scans"
        for name, count in judged.items()
        if count < scans
    ]
