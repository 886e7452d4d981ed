"""A stage's checks in Dagster's terms: which days they look at, and how they say what they saw."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetCheckSpec,
    multi_asset_check,
)

from anomaly_platform.assets.partitions import tagged_days
from anomaly_platform.kinds.findings import Check, Finding
from anomaly_platform.platform import Platform
from anomaly_platform.storage.tables.partitions import Partition
from anomaly_platform.streams import Stream

#: Days that a check looks at when the run names none.
LATEST_DAYS = 7
_FIRST, _LAST = "0001-01-01", "9999-12-31"

Days = Callable[[str], list[Partition]]
"""From a stage to its files of the days that the checks look at."""


def checks_of(
    stream: Stream,
    stage: str,
    checks: Sequence[Check],
    look: Callable[[Platform, Days], Iterable[Finding]],
) -> AssetChecksDefinition:
    """Return a stage's checks.

    Parameters
    ----------
    stream, stage
        Whose result is looked at.
    checks
        What has to hold.
    look
        Says what each of the checks saw.
    """
    known = {check.name: check for check in checks}

    @multi_asset_check(
        name=f"{stream.name}__{stage}_checks",
        specs=[
            AssetCheckSpec(
                check.name,
                asset=stream.key(stage),
                blocking=check.blocking,
                description=check.description,
            )
            for check in checks
        ],
        required_resource_keys={"platform"},
    )
    def _checks(context: AssetCheckExecutionContext) -> Iterator[AssetCheckResult]:
        platform: Platform = context.resources.platform

        def days_of(one: str) -> list[Partition]:
            return _in_scope(context, platform, stream, one)

        for finding in look(platform, days_of):
            yield _result(stream, stage, known[finding.check], finding)

    return _checks


def _in_scope(
    context: AssetCheckExecutionContext, platform: Platform, stream: Stream, stage: str
) -> list[Partition]:
    """Return the stage's files of the run's days, or of the latest ones when it names none."""
    days = tagged_days(context.run.tags)
    first, last = (days[0].isoformat(), days[-1].isoformat()) if days else (_FIRST, _LAST)
    found = platform.warehouse.partitions.between(stream.name, stage, first, last)
    return found if days else found[-LATEST_DAYS:]


def _result(stream: Stream, stage: str, check: Check, finding: Finding) -> AssetCheckResult:
    """Return a result that passes when there are no problems and names the first ones otherwise."""
    problems = finding.problems
    shown = "; ".join(problems[:5])
    more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
    return AssetCheckResult(
        asset_key=stream.key(stage),
        check_name=check.name,
        passed=not problems,
        severity=AssetCheckSeverity.WARN if check.warns else AssetCheckSeverity.ERROR,
        description=(shown + more) if problems else finding.seen,
        metadata=dict(finding.figures),
    )


def rows_of(days: Sequence[Partition]) -> str:
    """Say how much was looked at."""
    return f"{sum(day.rows for day in days):,} rows of {len(days)} days"
