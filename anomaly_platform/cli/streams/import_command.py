"""``anomaly import``: its options."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from anomaly_platform.cli.arguments import StreamName, stream_of
from anomaly_platform.platform import Platform
from anomaly_platform.settings import get_settings

console = Console()
errors = Console(stderr=True)


def import_files(
    stream: StreamName,
    files: Annotated[list[Path], typer.Argument(help="CSV, JSON, JSON Lines or Parquet files.")],
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", help="column=field or Date+Time=timestamp, repeatable."),
    ] = None,
    constants: Annotated[
        list[str] | None, typer.Option("--set", help="field=value for every row.")
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option("--ignore", help="A column to leave out.")
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(help="Zone of times that name none, such as Europe/Berlin.")
    ] = None,
    decimal: Annotated[
        str | None,
        typer.Option(help="Decimal sign of the numbers, '.' or ','; found out by default."),
    ] = None,
    time_format: Annotated[
        str | None, typer.Option(help="How times are written, such as '%d/%m/%Y %H:%M:%S'.")
    ] = None,
    header_line: Annotated[
        int | None, typer.Option(min=1, help="Line of the column names, where it is not found.")
    ] = None,
    comment: Annotated[
        str | None, typer.Option(help="What lines begin with that are no rows, such as '%'.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Read all, take nothing; exit with 1 where a reading is refused."
        ),
    ] = False,
    save_layout: Annotated[
        str | None, typer.Option(help="Keep these options, under this name, for further files.")
    ] = None,
    files_called: Annotated[
        str | None,
        typer.Option("--files", help="Names of those files, such as 'plclog_*.csv'."),
    ] = None,
) -> None:
    """Show how files are read, and copy them into landing; refuse what cannot be used."""
    from anomaly_platform.cli.streams.importing import (
        LayoutToSave,
        import_into_landing,
        try_import,
    )
    from anomaly_platform.ingest.files.sources import UnreadableFile
    from anomaly_platform.ingest.layout.mapping import ColumnMapping

    columns = ColumnMapping.parse(
        mapping or (),
        constants or (),
        ignore or (),
        timezone=timezone,
        decimal=decimal,
        time_format=time_format,
        header_line=header_line,
        comment=comment,
    )
    settings = get_settings()
    layout = None if save_layout is None else LayoutToSave(save_layout, files_called)
    chosen = stream_of(Platform(settings), stream)
    if not dry_run:
        import_into_landing(settings, chosen, files, columns, console, layout=layout)
        return
    try:
        refused = try_import(settings, chosen, files, columns, console, layout=layout)
    except (UnreadableFile, OSError) as error:
        errors.print(f"[red]would be refused: {escape(str(error))}")
        raise typer.Exit(1) from None
    if refused:
        raise typer.Exit(1)
