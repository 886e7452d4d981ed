"""Prunes Dagster's runs, events and ticks that are older than the policy keeps them.

Belongs here: removal through Dagster's instance, which is the only one that knows its tables. A
run that is under way, or that a version in service came of, stays.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

from anomaly_platform.runtime.pruning import Pruned

if TYPE_CHECKING:
    from dagster import DagsterInstance

_AT_ONCE: Final = 200


def prune_runs(
    instance: DagsterInstance, *, before: dt.datetime, keep: set[str], dry_run: bool
) -> Pruned:
    """Remove runs that ended, made before a time, with all of their events.

    Parameters
    ----------
    instance : DagsterInstance
    before : datetime
    keep : set of str
        Runs that stay whatever their age.
    dry_run : bool
    """
    from dagster import DagsterRunStatus, RunsFilter

    ended = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
    chosen = RunsFilter(statuses=ended, created_before=before)
    gone: list[str] = []
    cursor = None
    while records := instance.get_run_records(chosen, limit=_AT_ONCE, cursor=cursor):
        cursor = records[-1].dagster_run.run_id
        gone += [one.dagster_run.run_id for one in records if one.dagster_run.run_id not in keep]
    if not dry_run:
        for run in gone:
            instance.delete_run(run)
    return Pruned("Dagster runs with their events", len(gone), None)


def prune_ticks(instance: DagsterInstance, *, before: dt.datetime, dry_run: bool) -> Pruned:
    """Remove the ticks of sensors and schedules from before a time."""
    count = 0
    # An instance in memory has no ticks.
    states = instance.all_instigator_state() if instance.schedule_storage else ()
    for state in states:
        which = state.instigator_origin_id, state.selector_id
        count += len(instance.get_ticks(*which, before=before.timestamp()))
        if not dry_run:
            instance.purge_ticks(*which, before=before.timestamp())
    return Pruned("ticks of sensors and schedules", count, None)
