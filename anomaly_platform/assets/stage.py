"""What every stage's asset says of itself, whatever the stage, and what becomes of its errors."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
from dagster import (
    AssetDep,
    AssetsDefinition,
    AutomationCondition,
    DailyPartitionsDefinition,
    Failure,
    FreshnessPolicy,
    RetryRequested,
    asset,
)

from anomaly_platform import __version__
from anomaly_platform.assets.partitions import SINGLE_RUN
from anomaly_platform.kinds.training import StageError, TrainingInterruptedError
from anomaly_platform.platform import Platform
from anomaly_platform.storage.postgres.database import DatabaseError
from anomaly_platform.streams import Stream

#: A step whose database or trainer went away is tried again so often. Not a retry policy of
#: Dagster's: that would start the step again, too, when somebody cancels the run.
RETRIES = 2
_RETRY_SECONDS = 5
_GONE = (psycopg.OperationalError, DatabaseError, ConnectionError)


def stage_asset(
    stream: Stream,
    platform: Platform,
    stage: str,
    *,
    deps: Sequence[AssetDep | str] = (),
    tools: frozenset[str],
    tag: str,
    description: str,
    table: str,
    days: DailyPartitionsDefinition | None = None,
    resources: frozenset[str] = frozenset(),
    code_version: str = __version__,
    pool: str | None = None,
    automation_condition: AutomationCondition[Any] | None = None,
) -> Callable[[Callable[..., Any]], AssetsDefinition]:
    """Return the decorator of the asset ``[stream, stage]``.

    Parameters
    ----------
    deps
        What it is made from: stages of the stream by name, or with other partitions.
    tools
        What it is made with, for people.
    tag
        Of the stage.
    table
        In PostgreSQL, which holds its rows or where its files are.
    days
        Its partitions, several of which one run may work through.
    resources
        What it needs besides the platform.
    code_version
        Of what is computed; the platform's by default.
    pool
        The stream's by default.
    automation_condition
        When Dagster materializes it by itself.
    """
    decorator: Callable[[Callable[..., Any]], AssetsDefinition] = asset(
        key=stream.key(stage),
        deps=[stream.key(one) if isinstance(one, str) else one for one in deps],
        partitions_def=days,
        backfill_policy=None if days is None else SINGLE_RUN,
        kinds=set(tools),
        required_resource_keys={"platform", *resources},
        code_version=code_version,
        pool=pool or pool_of(stream),
        automation_condition=automation_condition,
        description=description,
        **said_of(stream, platform, tag=tag, table=table),
    )
    return decorator


def said_of(stream: Stream, platform: Platform, *, tag: str, table: str) -> dict[str, Any]:
    """Return what any stage's definition says: whose it is, where its rows are, when it is due."""
    return {
        "group_name": stream.name,
        "owners": list(stream.owners or platform.settings.owner_list),
        "tags": {"stage": tag},
        "metadata": {"dagster/table_name": table},
        "freshness_policy": _freshness(stream, platform, tag),
    }


def pool_of(stream: Stream) -> str:
    """Return the pool that lets one run of a stream go on at a time, whoever launches it."""
    return f"stream_{stream.name}"


def _freshness(stream: Stream, platform: Platform, tag: str) -> FreshnessPolicy | None:
    """Return from when on a stage is overdue: without new data, or beyond its models' age."""
    patience = timedelta(hours=platform.settings.overdue_hours)
    if not patience:
        return None
    if tag in ("model", "champion"):
        age = stream.retraining.max_age
        return FreshnessPolicy.time_window(warn_window=age, fail_window=age + patience)
    return FreshnessPolicy.time_window(warn_window=patience, fail_window=2 * patience)


@contextmanager
def as_failures() -> Iterator[None]:
    """Say in Dagster's terms why a stage cannot go on: never, or not before it is tried again."""
    try:
        yield
    except StageError as error:
        raise Failure(str(error)) from error
    except TrainingInterruptedError as error:
        raise RetryRequested(RETRIES, _RETRY_SECONDS) from error.__cause__
    except _GONE as error:
        raise RetryRequested(RETRIES, _RETRY_SECONDS) from error
