"""The ``anomaly`` command: parsing and printing only; the work is elsewhere."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from anomaly_platform.cli.alerts import alerts_app
from anomaly_platform.cli.arguments import (
    StreamName,
    VersionAsked,
    day_of,
    days_of,
    refusing,
    seed_of,
    stream_of,
)
from anomaly_platform.cli.backtest.commands import backtest_app
from anomaly_platform.cli.home import make_home, settle_home, tell_home
from anomaly_platform.cli.keys import keys_app
from anomaly_platform.cli.models.labels import labels_app
from anomaly_platform.cli.models.thresholds import thresholds_app
from anomaly_platform.cli.models.tuning import tune
from anomaly_platform.cli.models.versions import models_app
from anomaly_platform.cli.rows import word_table
from anomaly_platform.cli.runtime import RunFailedError, open_runtime
from anomaly_platform.cli.service_commands import UI_PORT, api, dispatch, down, mqtt, ui, up
from anomaly_platform.cli.sql import ask, database_app, write_csv
from anomaly_platform.cli.streams.import_command import import_files
from anomaly_platform.cli.streams.layouts import layouts_app
from anomaly_platform.cli.streams.reference import reference_app
from anomaly_platform.logs import configure_logging
from anomaly_platform.platform import Platform
from anomaly_platform.runtime.backup.manifest import BackupError
from anomaly_platform.runtime.backup.unfinished import refuse_unfinished
from anomaly_platform.runtime.brief_end import run_briefly
from anomaly_platform.settings import SettingsError, get_settings
from anomaly_platform.storage.own_files import keep_to_own_user
from anomaly_platform.streams import Stream

app = typer.Typer(
    name="anomaly",
    help="Anomaly detection as a Dagster asset graph: data in, calibrated scores out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(database_app, name="db")
app.add_typer(backtest_app, name="backtest")
app.add_typer(keys_app, name="keys")
app.add_typer(models_app, name="models")
app.add_typer(alerts_app, name="alerts")
app.add_typer(reference_app, name="reference")
app.add_typer(labels_app, name="labels")
app.add_typer(layouts_app, name="layouts")
app.command("import")(import_files)
app.command()(tune)
app.add_typer(thresholds_app, name="thresholds")


console = Console()
errors = Console(stderr=True)


def main() -> None:
    """Run the command, and end with it: clearing away the interpreter helps nobody who waits."""
    run_briefly(_run_command)


def _run_command() -> None:
    """Run the command; turn expected errors into one clear message and an exit code."""
    from anomaly_platform.cli.services.running import AlreadyRunningError
    from anomaly_platform.ingest.files.sources import UnreadableFile
    from anomaly_platform.resources.instance_start import InstanceError
    from anomaly_platform.storage.lake.row_groups import LakeError
    from anomaly_platform.storage.postgres.database import DatabaseError
    from anomaly_platform.storage.postgres.embedded import EmbeddedPostgresError
    from anomaly_platform.streams.user_defined import StreamFileError

    expected = (
        *(SettingsError, BackupError, StreamFileError, DatabaseError, EmbeddedPostgresError),
        *(LakeError, UnreadableFile, AlreadyRunningError, InstanceError, OSError),
    )
    keep_to_own_user()
    try:
        settings = get_settings()
        configure_logging(settings.log_level, settings.log_format)
        app()
    except RunFailedError as error:
        errors.print(f"[red]{escape(str(error))}")
        sys.exit(1)
    except expected as error:
        errors.print(f"[red]{escape(str(error))}")
        sys.exit(2)


@app.callback()
def before_any_command(context: typer.Context, _version: VersionAsked = False) -> None:
    """Anomaly detection as a Dagster asset graph: data in, calibrated scores out."""
    command, settings = context.invoked_subcommand or "", get_settings()
    if command != "restore":
        refuse_unfinished(settings.home)
    settle_home(command, settings, errors)


def _stream(name: str) -> Stream:
    return stream_of(Platform(get_settings()), name)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where; the current folder by default.")] = Path(),
) -> None:
    """Make a home in a folder, with which Dagster's own tools work there, too."""
    make_home(folder, console)


@app.command("home")
def print_home() -> None:
    """Print the home that commands use from here."""
    tell_home(get_settings(), console, errors)


@app.command()
def demo(
    out: Annotated[Path | None, typer.Option(help="Where the pictures go.")] = None,
    end: Annotated[
        str | None, typer.Option(help="Last day of the data; yesterday by default.")
    ] = None,
) -> None:
    """Do everything once on simulated data: data, models, scores, pictures, summary.

    Five weeks of every built-in stream: four to train on, one to score. The same --end gives the
    same bits. A home with other data stays as it is; the demo then goes into `demo` in it.
    """
    from anomaly_platform.cli.demo import run_demo

    run_demo(get_settings(), console, out, None if end is None else day_of(end))


for service in (up, ui, down, api, dispatch, mqtt):
    app.command()(service)


@app.command()
def run(
    stream: StreamName,
    days: Annotated[
        str | None, typer.Option(help="FIRST:LAST; materialize these days, due or not.")
    ] = None,
    train: Annotated[
        bool | None,
        typer.Option(
            "--train/--no-train",
            help="Train and promote a model on the way; by default when none serves yet.",
        ),
    ] = None,
) -> None:
    """Materialize a stream now, without a daemon, and account for every row.

    The table at the end says what this run did, and below that what the stream has in all. A run
    validates and scores whole days: it counts again what came in them before. Exit code 1 says that
    rows are missing or that a file was rejected.
    """
    from anomaly_platform.cli.streams.run import account_table, run_stream, tell_files

    chosen, span = _stream(stream), days_of(days)
    with open_runtime() as runtime:
        began = runtime.platform.warehouse.transactions.value("SELECT clock_timestamp()")
        try:
            account = run_stream(runtime, chosen, console, days=span, train=train)
        finally:
            rejected = tell_files(runtime.platform, chosen, began, console)
        done = runtime.platform.warehouse.progress.done_since(chosen.name, began)
    console.print(account_table({"of this run": done, f"all of {chosen.name}": account}))
    if account.missing or rejected:
        raise typer.Exit(1)


@app.command()
def train(
    stream: StreamName,
    entity: Annotated[str | None, typer.Option(help="Only this device or asset.")] = None,
    metric: Annotated[str | None, typer.Option(help="Only this metric of it.")] = None,
    window_days: Annotated[
        int | None, typer.Option(min=1, max=3650, help="Days of history, not the policy's.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "anomaly train",
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has ended.")] = False,
    patience: Annotated[int, typer.Option(min=1, help="Seconds to wait at most.")] = 3600,
) -> None:
    """Ask for a training; `anomaly up` runs it, together with all others that wait."""
    from anomaly_platform.cli.models.training import ask_for_training, wait_for_training

    if metric is not None and entity is None:
        raise typer.BadParameter("--metric needs --entity")
    platform = Platform(get_settings())
    with refusing(ValueError):
        request = ask_for_training(
            platform,
            _stream(stream),
            entity=entity,
            metric=metric,
            window_days=window_days,
            reason=reason,
        )
    console.print(f"Asked for as {request}")
    if not wait:
        return
    ended = wait_for_training(platform, request, console, patience)
    if ended is None:
        errors.print(f"[red]Not ended within {patience} s; is `anomaly up` running?")
        raise typer.Exit(1)
    console.print(ended.outcome or "", markup=False, soft_wrap=True)
    raise typer.Exit(0 if ended.status == "done" else 1)


@app.command()
def check(
    stream: Annotated[str | None, typer.Argument(help="Only this stream's checks.")] = None,
    days: Annotated[
        str | None, typer.Option(help="FIRST:LAST; these days instead of the latest ones.")
    ] = None,
) -> None:
    """Run every asset check; exit with 1 when one of severity ERROR fails."""
    from anomaly_platform.cli.streams.checking import run_checks

    chosen, span = (_stream(stream) if stream else None), days_of(days)
    with open_runtime() as runtime:
        raise typer.Exit(run_checks(runtime, chosen, console, span))


@app.command()
def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Remove old runs, events, models, files, messages and refused rows, by policy."""
    from anomaly_platform.cli.pruning import pruned_table

    with open_runtime() as runtime:
        console.print(pruned_table(runtime, dry_run=dry_run))


@app.command()
def backup(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder for it.")],
) -> None:
    """Copy everything of this home into a folder, while the platform runs or not."""
    from anomaly_platform.cli.backup import take_backup

    take_backup(get_settings(), folder, console)


@app.command()
def restore(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What anomaly backup has made.")],
) -> None:
    """Make a home from a back-up; ANOMALY_HOME names a folder that is empty or not there."""
    from anomaly_platform.cli.backup import restore_backup

    restore_backup(get_settings(), folder, console)


@app.command("streams")
def list_streams() -> None:
    """List all streams, the built-in ones and your own; exit with 1 when a file is wrong."""
    from anomaly_platform.cli.streams.listing import streams_table

    platform = Platform(get_settings())
    console.print(streams_table(platform))
    if platform.bad_streams:
        raise typer.Exit(1)


@app.command()
def simulate(
    stream: StreamName,
    out: Annotated[Path, typer.Option(help="Folder for the files.")],
    days: Annotated[int, typer.Option(min=1, help="Days to simulate.")] = 30,
    entities: Annotated[
        int, typer.Option(min=1, help="Devices or assets; for scans, about 60 a day each.")
    ] = 8,
    seed: Annotated[int | None, typer.Option(help="Another seed, other data.")] = None,
    start: Annotated[str, typer.Option(help="First day.")] = "2026-01-01",
    file_format: Annotated[str, typer.Option("--format", help="csv or parquet.")] = "csv",
) -> None:
    """Write labelled, seeded data of a stream, one file for each day with data."""
    from anomaly_platform.cli.streams.simulating import write_simulation

    write_simulation(
        _stream(stream),
        out,
        days=days,
        entities=entities,
        seed=seed_of(seed),
        start=day_of(start),
        file_format=file_format,
        console=console,
    )


@app.command()
def doctor(
    port: Annotated[int, typer.Option(help="Port that Dagster's UI would use.")] = UI_PORT,
) -> None:
    """Say what works here: database, disk, GPU, versions, ports."""
    from anomaly_platform.cli.doctor import examine

    found = list(examine(get_settings(), port))
    rows = [
        ("[green]ok", one.subject, one.detail, "")
        if one.works
        else ("[red]no", one.subject, one.detail, one.fix)
        for one in found
    ]
    console.print(word_table(("", "what", "seen", "fix"), rows, "anomaly doctor"))
    raise typer.Exit(0 if all(one.works for one in found) else 1)


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="One SQL statement, read-only.")],
    csv: Annotated[bool, typer.Option("--csv", help="All rows, as PostgreSQL's CSV.")] = False,
) -> None:
    """Ask the platform's database, read-only; the result as a table."""
    if csv:
        write_csv(get_settings(), query, sys.stdout)
    else:
        ask(get_settings(), query, console)
