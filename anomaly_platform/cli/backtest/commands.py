"""``anomaly backtest``: score files of one's own, without any service."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from anomaly_platform.cli.arguments import Seed, refusing, seed_of
from anomaly_platform.cli.backtest.paths import require_files, require_writable
from anomaly_platform.settings import get_settings

backtest_app = typer.Typer(
    help="Score files of your own, without any service.", no_args_is_help=True
)


@backtest_app.command("metrics")
def metrics(
    out: Annotated[
        Path, typer.Option(help="The scores, .csv or .parquet; a folder for several files.")
    ],
    train: Annotated[list[Path] | None, typer.Option(help="What to learn from.")] = None,
    test: Annotated[list[Path] | None, typer.Option(help="What to score.")] = None,
    series: Annotated[
        list[Path] | None,
        typer.Option(help="Instead of both: learn from its beginning and go on as it comes."),
    ] = None,
    probation: Annotated[
        float,
        typer.Option(min=0.01, max=0.9, help="Share of --series to learn from (750 rows at most)."),
    ] = 0.15,
    report: Annotated[Path | None, typer.Option(help="Measures against labels, JSON.")] = None,
    plot: Annotated[Path | None, typer.Option(help="A picture of the first file, PNG.")] = None,
    ignore: Annotated[list[str] | None, typer.Option(help="A column to leave out.")] = None,
    mapping: Annotated[
        list[str] | None, typer.Option("--map", help="column=field, as in anomaly import.")
    ] = None,
    seed: Seed = None,
) -> None:
    """Score metrics, wide (the time and a column per metric) or long, CSV or Parquet.

    A column is_anomaly or anomaly is used for the report and for nothing else. Several files:
    repeat --train and --test, or --series, and name a folder with --out; a file that cannot be
    read is told of, the others are scored, and the exit code is 1.
    """
    from anomaly_platform.cli.backtest.metrics import backtest_metrics, plan_tasks
    from anomaly_platform.ingest.layout.mapping import ColumnMapping

    with refusing(ValueError):
        tasks = plan_tasks(train or (), test or (), series or (), out)
    read = [path for task in tasks for path in (task.train, task.test) if path is not None]
    require_files(read)
    require_writable(
        {
            "--out": [task.out for task in tasks],
            "--report": [report] if report else [],
            "--plot": [plot] if plot else [],
        },
        read,
    )
    scored_all = backtest_metrics(
        tasks,
        mapping=ColumnMapping.parse(mapping or (), (), ignore or ()),
        probation=probation,
        seed=seed_of(seed),
        report=report,
        plot=plot,
        settings=get_settings(),
        console=Console(),
    )
    if not scored_all:
        raise typer.Exit(1)


@backtest_app.command("scans")
def scans(
    file: Annotated[Path, typer.Argument(help="Barcode events: CSV, JSON, JSON Lines, Parquet.")],
    out: Annotated[Path, typer.Option(help="The response, JSON.")],
    labels: Annotated[
        Path | None, typer.Option(help="What is known: CSV with event_id and kind.")
    ] = None,
    train: Annotated[
        Path | None, typer.Option(help="What to learn from; the file itself by default.")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Folder with locations.csv and the like.")
    ] = None,
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", help="column=field of FILE and --train, as in anomaly import."),
    ] = None,
    seed: Seed = None,
) -> None:
    """Judge scans of goods; a small file without --train is judged by the rules alone.

    What is found is compared with what is known: with --labels, or else with the file's column
    is_anomaly or anomaly and its anomaly_kind. Nothing is learned from either. Reference data is
    taken from a folder `reference` beside the file, if there is one.
    """
    from anomaly_platform.cli.backtest.scans import backtest_scans
    from anomaly_platform.ingest.layout.mapping import ColumnMapping

    read = [path for path in (file, train, labels) if path is not None]
    require_files(read)
    require_writable({"--out": [out]}, read)
    backtest_scans(
        file,
        out,
        train=train,
        reference=reference,
        labels=labels,
        mapping=ColumnMapping.parse(mapping or ()),
        seed=seed_of(seed),
        console=Console(),
    )


@backtest_app.command("sessions")
def sessions(
    train: Annotated[Path, typer.Option(help="Normal sessions, one a line; may be gzipped.")],
    test: Annotated[Path, typer.Option(help="Sessions to judge.")],
    out: Annotated[Path, typer.Option(help="A row per test session, CSV.")],
    seed: Seed = None,
) -> None:
    """Judge whole sessions of event ids, learned from normal ones."""
    from anomaly_platform.cli.backtest.sessions import backtest_sessions_file

    require_files([train, test])
    require_writable({"--out": [out]}, [train, test])
    backtest_sessions_file(train, test, out, seed=seed_of(seed), console=Console())
