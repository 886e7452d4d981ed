"""Launches runs on this machine, and knows whether their process still lives.

Dagster's default launcher cannot tell a run whose process was killed from one that is busy, so
that such a run stays STARTED and holds its stream's slot. This one compares the process that
the run's events name with what the machine says; run monitoring then fails the dead ones.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from dagster._serdes import ConfigurableClassData

# The clock of the event and the kernel's start time of the process are read by different means.
_CLOCK_SLACK_SECONDS = 5.0


class LocalRunLauncher(DefaultRunLauncher):
    """The default launcher with a health check of its workers."""

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]
    ) -> Self:
        """Build the launcher from ``dagster.yaml``; it takes no settings."""
        return cls(inst_data=inst_data, **config_value)

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Tell run monitoring to ask."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Return FAILED when the run's process is gone, RUNNING otherwise."""
        if worker_is_dead(self._instance, run):
            return CheckRunHealthResult(
                WorkerStatus.FAILED, "its process ended without a word (killed, or out of memory)"
            )
        return CheckRunHealthResult(WorkerStatus.RUNNING)


def worker_is_dead(instance: DagsterInstance, run: DagsterRun) -> bool:
    """Return whether the process that executes `run` is known and no longer there."""
    import psutil

    records = instance.get_records_for_run(
        run.run_id, of_type=DagsterEventType.ENGINE_EVENT, ascending=False
    ).records
    for record in records:
        event = record.event_log_entry.dagster_event
        pid = event.pid if event is not None else None
        if pid is None:
            continue
        if pid == os.getpid():
            return False
        try:
            process = psutil.Process(pid)
            reused = process.create_time() > record.timestamp + _CLOCK_SLACK_SECONDS
            return reused or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True
    return False


def fail_dead_runs(instance: DagsterInstance) -> list[str]:
    """Fail every started run whose process is gone; return their ids.

    The daemon does the same while it runs; this is for a start without one.
    """
    failed = []
    unfinished = RunsFilter(statuses=[DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING])
    for run in instance.get_runs(unfinished):
        if worker_is_dead(instance, run):
            instance.report_run_failed(run, "The run's process was killed; it did not finish.")
            failed.append(run.run_id)
    return failed
