"""``anomaly backup`` and ``anomaly restore``: what is said about them, and what is settled last."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from anomaly_platform.cli.rows import figure_table
from anomaly_platform.incidents.alert_log import AlertLog
from anomaly_platform.runtime.backup.manifest import BackupError, Manifest
from anomaly_platform.runtime.backup.restoring import changed_settings, restore
from anomaly_platform.runtime.backup.taking import back_up
from anomaly_platform.settings import ENV_PREFIX, Settings
from anomaly_platform.storage.postgres.database import EMBEDDED, database_urls, ensure_databases
from anomaly_platform.storage.postgres.transactions import Transactions


def take_backup(settings: Settings, target: Path, console: Console) -> None:
    """Back the home up, with its own server running for as long as that needs it."""
    if settings.is_embedded and not (settings.home / "postgres").exists():
        raise BackupError(f"{settings.home} is no home: name another with ANOMALY_HOME")
    ensure_databases(settings)
    try:
        manifest = back_up(settings, target, console.print)
    finally:
        server = EMBEDDED.pop(settings.home, None)
        if server is not None:
            server.stop_if_unused()
    console.print(_summary(manifest, f"{target}, as of {manifest.made_at:%Y-%m-%d %H:%M:%S} UTC"))
    for line in manifest.left_out:
        console.print(f"Left out: {line}", markup=False, soft_wrap=True)
    console.print(
        "Settings of the environment and of .env are not in it; keep them beside it.",
        soft_wrap=True,
    )


def restore_backup(settings: Settings, source: Path, console: Console) -> None:
    """Restore a back-up into the home of the settings."""
    held: list[int] = []

    def settle() -> None:
        held.append(_give_up_messages(settings, source))
        _fail_unfinished_runs(settings)

    manifest = restore(settings, source, console.print, settle)
    console.print(
        _summary(manifest, f"{settings.home}, as of {manifest.made_at:%Y-%m-%d %H:%M:%S}")
    )
    for name, (then, now) in changed_settings(manifest, settings).items():
        console.print(
            f"{ENV_PREFIX}{name.upper()} was {then} where the back-up was made, and is {now} here",
            soft_wrap=True,
        )
    if any(held):
        console.print(
            f"{held[0]} messages that had not left are held back; send them with "
            "anomaly alerts retry",
            soft_wrap=True,
        )


def _summary(manifest: Manifest, title: str) -> Table:
    sizes: dict[str, list[int]] = {}
    for one in manifest.files:
        sizes.setdefault(one.part, []).append(one.size)
    rows = [(part, f"{len(of):,}", f"{sum(of):,}") for part, of in sizes.items()]
    return figure_table(("part", "files", "bytes"), rows, title)


def _give_up_messages(settings: Settings, source: Path) -> int:
    """Hold messages back that the platform which was backed up has sent, or will send."""
    transactions = Transactions(database_urls(settings).application)
    try:
        return AlertLog(transactions).give_up(f"restored from {source.name}, and not asked for")
    finally:
        transactions.close()


def _fail_unfinished_runs(settings: Settings) -> None:
    """Fail the runs that were under way: their processes are not here."""
    from dagster import DagsterRunStatus, RunsFilter

    from anomaly_platform.resources.dagster_home import open_instance, prepare_home

    environment = prepare_home(settings, database_urls(settings).dagster)
    under_way = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
    with open_instance(environment) as instance:
        for run in instance.get_runs(RunsFilter(statuses=under_way)):
            instance.report_run_failed(run, "It was under way when the back-up was made.")
