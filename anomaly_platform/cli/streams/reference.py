"""``anomaly reference import``: what is known of a stream's network, from its owner's files."""

import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from anomaly_platform.cli.arguments import StreamName, refusing, stream_of
from anomaly_platform.platform import Platform
from anomaly_platform.settings import get_settings
from anomaly_platform.streams import Stream

reference_app = typer.Typer(help="What is known of a network beforehand.", no_args_is_help=True)
console = Console()


@reference_app.command("import")
def import_reference(
    stream: StreamName,
    files: Annotated[list[Path], typer.Argument(help="CSV files, such as locations.csv.")],
) -> None:
    """Take files of reference data, under these names or told by their columns."""
    platform = Platform(get_settings())
    chosen = stream_of(platform, stream)
    kind = platform.kind(chosen)
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"there is no file {file}")
    with refusing(ValueError):
        names = [kind.reference_name(file) for file in files]
    for file, name in zip(files, names, strict=True):
        put_reference(platform, chosen, file, name, console)


def put_reference(
    platform: Platform, stream: Stream, file: Path, name: str, console: Console
) -> None:
    """Copy a file of reference data to where it is read."""
    target = platform.reference_folder(stream) / name
    target.parent.mkdir(parents=True, exist_ok=True)
    known = " in place of the one before" if target.exists() else ""
    shutil.copyfile(file, target)
    console.print(f"{file.name} → {target} (reference{known})", soft_wrap=True)
