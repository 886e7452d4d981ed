"""Checks of ``features``: complete, and the same one event at a time."""

from collections.abc import Iterator
from typing import Any

from dagster import AssetChecksDefinition

from anomaly_platform.checks.scope import Days, checks_of, rows_of
from anomaly_platform.kinds.base import StreamKind
from anomaly_platform.kinds.findings import Check, Finding
from anomaly_platform.platform import Platform

STAGE = "features"


def build_feature_checks(described: StreamKind[Any]) -> AssetChecksDefinition:
    """Return the checks of ``features``; what is not complete stops the run."""
    stream, complete = described.stream, described.feature_check
    each_row = f"one_row_per_{stream.event}"

    def look(platform: Platform, days_of: Days) -> Iterator[Finding]:
        kind, days = platform.kind(stream), days_of(STAGE)
        incomplete, missing, unequal = [], [], []
        compared = 0
        for day in days:
            incomplete += kind.look_at_features(day)
            valid = kind.parts.partitions.get(stream.name, "validated_events", day.partition)
            expected = valid.rows if valid else 0
            if valid is None or expected != day.rows:
                missing.append(f"{day.partition}: {day.rows} rows of {expected} {stream.event}s")
            rows, problems = kind.replay(day)
            compared += rows
            unequal += problems
        seen = rows_of(days)
        yield Finding(complete.name, incomplete, seen)
        yield Finding(each_row, missing, seen)
        yield Finding("batch_equals_single_row", unequal, f"{compared:,} {stream.event}s compared")

    checks = (
        complete,
        Check(each_row, f"A day has as many rows as its validated {stream.event}s."),
        Check(
            "batch_equals_single_row",
            f"Computed one {stream.event} at a time, a sample has the same values.",
        ),
    )
    return checks_of(stream, STAGE, checks, look)
