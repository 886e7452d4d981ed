"""Checks of a stream of scans, from ``features`` to ``monitoring_stats``.

What belongs here: what holds of scans only. Checks of ingested rows are common to all streams.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta

import polars as pl
from dagster import (
    AssetCheckExecutionContext,
    AssetChecksDefinition,
)

from anomaly_platform.assets.features import in_order
from anomaly_platform.checks.scope import Results, StageChecks, partitions_in_scope
from anomaly_platform.checks.scored import missing_rows, rate_verdict
from anomaly_platform.platform import Platform
from anomaly_platform.storage.tables.partitions import Partition
from anomaly_platform.streams import ScanStream

#: Codes per day whose features are computed again, one scan at a time.
SAMPLED_CODES = 5
_ALWAYS_THERE = (
    *("hour", "day_of_week", "month", "is_weekend", "is_business_hours", "epc_malformed"),
    *("event", "event_type_missing", "location_interpolated", "sequence_length"),
    *("current_position", "time_since_last_scan"),
)
_SCORES = (
    *("epc_fake_score", "epc_dup_score", "loc_err_score", "evt_order_err_score", "jump_score"),
    *("lstm_score", "svm_score", "ml_combined_score", "final_confidence"),
)


_LEARNED = ("lstm", "svm")
_READ = (*_SCORES, "is_anomaly", "severity", "explanation")


def build_scan_checks(stream: ScanStream) -> list[AssetChecksDefinition]:
    """Return the checks of the stages behind validation but the models'."""
    return [_feature_checks(stream), _scored_checks(stream)]


def _feature_checks(stream: ScanStream) -> AssetChecksDefinition:
    declared = StageChecks(
        stream,
        "features",
        {
            "complete": "What is known of every scan is there, and within its bounds.",
            "one_row_per_scan": "A day has as many rows as its validated scans.",
            "batch_equals_single_row": "Computed one scan at a time, a sample has the same values.",
        },
        blocking=("complete",),
    )

    @declared.define
    def checks(context: AssetCheckExecutionContext, platform: Platform) -> Results:
        days = partitions_in_scope(context, platform, stream, "features")
        incomplete, missing, unequal = [], [], []
        compared = 0
        for day in days:
            chunks = platform.lake.chunks([day.path], columns=_ALWAYS_THERE)
            incomplete += _told(day, (_incomplete(chunk) for chunk in chunks))
            valid = platform.warehouse.partitions.get(
                stream.name, "validated_events", day.partition
            )
            if valid is None or valid.rows != day.rows:
                missing.append(
                    f"{day.partition}: {day.rows} rows of {valid.rows if valid else 0} scans"
                )
            rows, problems = _replay(platform, stream, day)
            compared += rows
            unequal += problems
        seen = f"{sum(day.rows for day in days):,} rows of {len(days)} days"
        yield declared.verdict("complete", incomplete, seen)
        yield declared.verdict("one_row_per_scan", missing, seen)
        yield declared.verdict("batch_equals_single_row", unequal, f"{compared:,} scans compared")

    return checks


def _told(day: Partition, found: Iterable[Mapping[str, int]]) -> list[str]:
    """Add up what is wrong with a day's chunks; what did not occur is not told."""
    total: Counter[str] = Counter()
    for counts in found:
        total.update(counts)
    return [f"{day.partition}: {count:,} {what}" for what, count in total.items() if count]


def _incomplete(chunk: pl.DataFrame) -> dict[str, int]:
    outside = chunk.filter(~pl.col("time_since_last_scan").is_between(0.0, 720.0)).height
    return {
        **{f"rows have no {name}": chunk[name].null_count() for name in _ALWAYS_THERE},
        "rows have a time_since_last_scan outside 0…720 h": outside,
    }


def _sample(platform: Platform, day: Partition) -> list[tuple[int, str]]:
    """Choose a few codes of the day, each with its bucket."""
    first = [
        chunk.group_by("bucket").agg(pl.col("epc_code").min())
        for chunk in platform.lake.chunks([day.path], columns=["bucket", "epc_code"])
    ]
    if not first:
        return []
    codes = pl.concat(first).sort("bucket")
    chosen = codes.gather_every(max(1, codes.height // SAMPLED_CODES)).head(SAMPLED_CODES)
    return [(int(bucket), str(code)) for bucket, code in chosen.iter_rows()]


def _replay(platform: Platform, stream: ScanStream, day: Partition) -> tuple[int, list[str]]:
    """Compute a few codes of the day again from their look-back, one scan at a time."""
    from anomaly_platform.ml.features.scans.online import ScanState, step

    sample = _sample(platform, day)
    midnight = datetime.combine(date.fromisoformat(day.partition), time(), UTC)
    first = midnight.date() - timedelta(days=stream.lookback_days)
    earlier = platform.warehouse.partitions.between(
        stream.name, "validated_events", first.isoformat(), day.partition
    )

    def scans_of(paths: Iterable[str]) -> list[pl.DataFrame]:
        parts = [
            platform.lake.read(path, between={"bucket": (bucket, bucket)}).filter(epc_code=code)
            for path in paths
            for bucket, code in sample
        ]
        return [part for part in parts if part.height]

    found, stored = scans_of(p.path for p in earlier), scans_of([day.path])
    if not found or not stored:
        return 0, []
    history = in_order(pl.concat(found))
    expected = in_order(pl.concat(stored)).select("epc_code", *stream.features.names)
    states: dict[str, ScanState] = {}
    rows: list[tuple[object, ...]] = []
    for event in history.iter_rows(named=True):
        code = event["epc_code"]
        features, states[code] = step(stream.features, states.get(code, ScanState()), event)
        if event["event_time"] >= midnight:
            rows.append((code, *(features[name] for name in stream.features.names)))
    single = pl.DataFrame(rows, schema=expected.schema, orient="row")
    if single.equals(expected, null_equal=True):
        return expected.height, []
    return expected.height, [f"{day.partition}: a sample differs one scan at a time"]


def _scored_checks(stream: ScanStream) -> AssetChecksDefinition:
    declared = StageChecks(
        stream,
        "scored_events",
        {
            "scored_rows_equal_feature_rows": (
                "Every row of features is a row in PostgreSQL and in the lake."
            ),
            "score_range": "Scores lie in 0…100 and agree with decision, severity and reason.",
            "every_detector_took_part": "No detector of the serving set was left out.",
            "anomaly_rate": f"At most {stream.max_anomaly_rate:.0%} of the scans are alarms.",
        },
        warning=(
            "every_detector_took_part",
            "anomaly_rate",
        ),
    )

    @declared.define
    def checks(context: AssetCheckExecutionContext, platform: Platform) -> Results:
        days = partitions_in_scope(context, platform, stream, "scored_events")
        missing: list[str] = []
        wrong: list[str] = []
        silent: list[str] = []
        scans = anomalies = 0
        for day in days:
            missing += missing_rows(
                platform, stream, day, platform.warehouse.scan_scores.count_rows
            )
            problems: Counter[str] = Counter()
            judged: Counter[str] = Counter()
            for chunk in platform.lake.chunks([day.path], columns=_READ):
                problems.update(_range_problems(chunk))
                judged.update({name: chunk[f"{name}_score"].count() for name in _LEARNED})
                anomalies += int(chunk["is_anomaly"].sum())
            wrong += _told(day, [problems])
            silent += [f"{day.partition}: {problem}" for problem in _silent(judged, day.rows)]
            scans += day.rows
        seen = f"{scans:,} rows of {len(days)} days"
        yield declared.verdict("scored_rows_equal_feature_rows", missing, seen)
        yield declared.verdict("score_range", wrong, seen)
        yield declared.verdict("every_detector_took_part", silent, seen)
        yield rate_verdict(declared, anomalies, scans, "scans")

    return checks


def _range_problems(rows: pl.DataFrame) -> dict[str, int]:
    outside = rows.filter(pl.any_horizontal(~pl.col(name).is_between(0, 100) for name in _SCORES))
    decided = rows.filter(pl.col("is_anomaly") != (pl.col("final_confidence") >= 50))
    grave = pl.col("severity").is_in(["MEDIUM", "HIGH"])
    graded = rows.filter(pl.col("is_anomaly") != grave)
    mute = rows.filter(pl.col("is_anomaly") & pl.col("explanation").is_null())
    return {
        "rows have scores outside 0…100": outside.height,
        "decisions contradict the confidence": decided.height,
        "severities contradict the decision": graded.height,
        "alarms say no reason": mute.height,
    }


def _silent(judged: Mapping[str, int], scans: int) -> list[str]:
    """Return the detectors that gave some or no scores on a day when the other did."""
    if not any(judged.values()):
        return []
    return [
        f"{name} judged {judged[name]:,} of {scans:,} scans"
        for name in _LEARNED
        if judged[name] < scans
    ]
