"""What sensors share: which runs of a stream are on their way, and how long failures wait."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import takewhile

from dagster import (
    DagsterInstance,
    DagsterRunStatus,
    DefaultSensorStatus,
    RunRecord,
    RunsFilter,
    sensor,
)

watching = partial(
    sensor, default_status=DefaultSensorStatus.RUNNING, required_resource_keys={"platform"}
)
"""Makes a sensor that has the platform and runs from the start."""

STREAM_TAG = "anomaly/stream"
STAGE_TAG = "anomaly/work"
REASON_TAG = "anomaly/reason"

_UNFINISHED = (
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
)
_FIRST_WAIT = timedelta(seconds=15)
_LONGEST_WAIT = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class RecentWork:
    """The newest runs of one kind of work on one stream.

    Attributes
    ----------
    under_way : bool
        Whether a run is queued or running.
    failures : int
        Runs that failed since the last one that succeeded.
    last_end : datetime or None
        When the newest finished run ended.
    """

    under_way: bool
    failures: int
    last_end: datetime | None


def work_tags(stream: str, work: str, reason: str) -> dict[str, str]:
    """Return the tags by which a run is found again and explains itself."""
    return {STREAM_TAG: stream, STAGE_TAG: work, REASON_TAG: reason}


def recent_work(instance: DagsterInstance, stream: str, work: str) -> RecentWork:
    """Look up the stream's newest runs of this kind."""
    tags = {STREAM_TAG: stream, STAGE_TAG: work}
    if instance.get_runs_count(RunsFilter(tags=tags, statuses=list(_UNFINISHED))):
        return RecentWork(under_way=True, failures=0, last_end=None)
    records = instance.get_run_records(RunsFilter(tags=tags), limit=10)
    ended = [record.dagster_run.status for record in records]
    failures = len(list(takewhile(DagsterRunStatus.SUCCESS.__ne__, ended)))
    return RecentWork(under_way=False, failures=failures, last_end=_end(records))


def _end(records: Sequence[RunRecord]) -> datetime | None:
    if not records:
        return None
    newest = records[0]
    if newest.end_time is not None:
        return datetime.fromtimestamp(newest.end_time, UTC)
    updated = newest.update_timestamp
    return updated if updated.tzinfo else updated.replace(tzinfo=UTC)


def wait_after(failures: int) -> timedelta:
    """Return how long to hold back after this many failures in a row.

    Examples
    --------
    >>> wait_after(0), wait_after(2), wait_after(50)
    (datetime.timedelta(0), datetime.timedelta(seconds=30), datetime.timedelta(seconds=900))
    """
    if failures == 0:
        return timedelta(0)
    doubled: timedelta = _FIRST_WAIT * (1 << min(failures - 1, 16))
    return min(doubled, _LONGEST_WAIT)


def reason_to_wait(recent: RecentWork, now: datetime) -> str | None:
    """Return why nothing is requested now, ``None`` when a run may be requested."""
    if recent.under_way:
        return "a run is under way"
    if recent.failures and recent.last_end is not None:
        due = recent.last_end + wait_after(recent.failures)
        if now < due:
            tries = f"{recent.failures} runs failed in a row"
            return f"{tries}; the next try is due at {due:%H:%M:%S} UTC"
    return None
