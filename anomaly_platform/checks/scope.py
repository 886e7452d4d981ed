"""Which days a check looks at, and how it says what it saw."""

from __future__ import annotations

from collections.abc import Sequence

from dagster import AssetCheckExecutionContext, AssetCheckResult, AssetCheckSeverity

from anomaly_platform.assets.partitions import tagged_days
from anomaly_platform.platform import Platform
from anomaly_platform.storage.tables.partitions import Partition
from anomaly_platform.streams import Stream

#: Days that a check looks at when the run names none.
LATEST_DAYS = 7
_FIRST, _LAST = "0001-01-01", "9999-12-31"


def partitions_in_scope(
    context: AssetCheckExecutionContext, platform: Platform, stream: Stream, stage: str
) -> list[Partition]:
    """Return the stage's files of the run's days, or of the latest ones when it names none."""
    days = tagged_days(context.run.tags)
    first, last = (days[0].isoformat(), days[-1].isoformat()) if days else (_FIRST, _LAST)
    found = platform.warehouse.partitions.between(stream.name, stage, first, last)
    return found if days else found[-LATEST_DAYS:]


def verdict(
    stream: Stream,
    stage: str,
    check: str,
    problems: Sequence[str],
    seen: str,
    *,
    severity: AssetCheckSeverity = AssetCheckSeverity.ERROR,
    **metadata: float | str,
) -> AssetCheckResult:
    """Return a result that passes when there are no problems and names the first ones otherwise."""
    shown = "; ".join(problems[:5])
    more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
    return AssetCheckResult(
        asset_key=stream.key(stage),
        check_name=check,
        passed=not problems,
        severity=severity,
        description=(shown + more) if problems else seen,
        metadata=dict(metadata),
    )
