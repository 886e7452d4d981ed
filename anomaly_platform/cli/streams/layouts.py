"""``anomaly layouts``: how files of some names are read, as an import has saved it."""

from typing import Annotated

import typer
from rich.console import Console

from anomaly_platform.cli.arguments import StreamName, stream_of
from anomaly_platform.cli.rows import print_rows
from anomaly_platform.ingest.layout.mapping import MappingError
from anomaly_platform.ingest.layout.saved import read_layout
from anomaly_platform.platform import Platform
from anomaly_platform.settings import get_settings

layouts_app = typer.Typer(
    help="How files of some names are read; `anomaly import --save-layout` saves it.",
    no_args_is_help=True,
)
console = Console()


@layouts_app.command("list")
def list_layouts(
    stream: Annotated[str | None, typer.Argument(help="Only this stream's.")] = None,
) -> None:
    """List the saved layouts with the names of their files."""
    platform = Platform(get_settings())
    streams = platform.streams if stream is None else [stream_of(platform, stream)]
    rows = []
    for one in streams:
        for name, text in platform.landing.layouts(one.name).items():
            try:
                files = read_layout(name, text).files
            except MappingError as error:
                files = f"cannot be read: {error}"
            rows.append((one.name, name, files))
    if not rows:
        console.print("No layout is saved; `anomaly import … --save-layout NAME` saves one.")
        return
    print_rows(console, ("stream", "layout", "files"), rows, title="Layouts")


@layouts_app.command("show")
def show_layout(
    stream: StreamName, name: Annotated[str, typer.Argument(help="The layout's name.")]
) -> None:
    """Print a layout's YAML and where it is; to change or remove it, edit or delete that file."""
    platform = Platform(get_settings())
    chosen = stream_of(platform, stream)
    texts = platform.landing.layouts(chosen.name)
    if name not in texts:
        there = ", ".join(texts) or "none"
        raise typer.BadParameter(f"{stream} has no layout {name!r}; it has {there}")
    path = platform.landing.layout_path(chosen.name, name)
    console.print(f"# {path}", markup=False, highlight=False, soft_wrap=True)
    console.print(texts[name].rstrip(), markup=False, highlight=False, soft_wrap=True)
