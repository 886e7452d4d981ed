"""How the checks of a stage are declared, which days they see, and how they say what they saw."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetCheckSpec,
    multi_asset_check,
)

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


Results = Iterator[AssetCheckResult]


@dataclass(frozen=True)
class StageChecks:
    """The checks of one stage of a stream.

    Attributes
    ----------
    stream, stage
        Whose asset they belong to.
    descriptions
        What each check asks for, by its name.
    blocking
        Names of the checks that stop the run.
    warning
        Names of the checks that only warn.
    """

    stream: Stream
    stage: str
    descriptions: Mapping[str, str]
    blocking: Collection[str] = ()
    warning: Collection[str] = ()

    def define(
        self, results: Callable[[AssetCheckExecutionContext, Platform], Results]
    ) -> AssetChecksDefinition:
        """Return Dagster's definition of the checks, whose results a function yields."""

        @multi_asset_check(
            name=f"{self.stream.name}__{self.stage}_checks",
            specs=[
                AssetCheckSpec(
                    name,
                    asset=self.stream.key(self.stage),
                    blocking=name in self.blocking,
                    description=description,
                )
                for name, description in self.descriptions.items()
            ],
            required_resource_keys={"platform"},
        )
        def checks(context: AssetCheckExecutionContext) -> Results:
            yield from results(context, context.resources.platform)

        return checks

    def verdict(
        self, check: str, problems: Sequence[str], seen: str, **metadata: float | str
    ) -> AssetCheckResult:
        """Return a result that passes without problems and names the first ones otherwise."""
        shown = "; ".join(problems[:5])
        more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
        return AssetCheckResult(
            asset_key=self.stream.key(self.stage),
            check_name=check,
            passed=not problems,
            severity=AssetCheckSeverity.WARN if check in self.warning else AssetCheckSeverity.ERROR,
            description=(shown + more) if problems else seen,
            metadata=dict(metadata),
        )
