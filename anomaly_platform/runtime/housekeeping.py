"""Prunes rows, models, files, runs and ticks, in the order in which they have to go.

Belongs here: putting the parts together for the command line and the daily schedule.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING

from anomaly_platform.runtime.pruned_runs import prune_runs, prune_ticks
from anomaly_platform.runtime.pruning import (
    Pruned,
    prunable_versions,
    prune_files,
    prune_models,
    prune_rows,
)
from anomaly_platform.settings import Settings
from anomaly_platform.storage.lake.lake import Lake
from anomaly_platform.storage.postgres.transactions import Transactions

if TYPE_CHECKING:
    from dagster import DagsterInstance


def prune(
    settings: Settings,
    transactions: Transactions,
    lake: Lake,
    instance: DagsterInstance,
    *,
    dry_run: bool,
    now: dt.datetime | None = None,
) -> Iterator[Pruned]:
    """Remove what is no longer needed, by the policy of the settings.

    Parameters
    ----------
    settings : Settings
        Ages from which things go.
    transactions, lake, instance
        Tables, files and runs.
    dry_run : bool
        Only say what would go.
    now : datetime or None
        The clock by default.

    Yields
    ------
    Pruned
        One per kind of thing, models before their files.
    """
    now = now or dt.datetime.now(dt.UTC)
    yield from prune_rows(transactions, settings, now, dry_run=dry_run)
    before = now - dt.timedelta(days=settings.keep_models_days)
    with transactions.begin() as connection:
        paths = [path for *_, path in prunable_versions(connection, before) if path]
    yield prune_models(transactions, lake, before, dry_run=dry_run)
    yield prune_files(lake, transactions, paths, dry_run=dry_run)
    old = now - dt.timedelta(days=settings.keep_runs_days)
    # The runs that the versions in service and those before them came of.
    serving = transactions.tuples(
        "SELECT parameters ->> 'run_id' FROM bundles "
        "WHERE status IN ('champion', 'retired') AND parameters ? 'run_id'"
    )
    kept = {str(run) for (run,) in serving}
    yield prune_runs(instance, before=old, keep=kept, dry_run=dry_run)
    yield prune_ticks(instance, before=old, dry_run=dry_run)
