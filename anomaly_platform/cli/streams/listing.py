"""``anomaly streams``: which streams there are, where each comes from, and whether it works."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from anomaly_platform.platform import Platform


def streams_table(platform: Platform) -> Table:
    """Return every stream with its source and state; no database is opened."""
    own = platform.user_streams
    sources = {stream.name: path for stream, path in zip(own.streams, own.sources, strict=True)}
    table = Table(title="Streams")
    for heading in ("stream", "title", "source", "state"):
        table.add_column(heading, overflow="fold")
    for stream in platform.streams:
        source = sources.get(stream.name)
        where = "built in" if source is None else str(source)
        table.add_row(stream.name, escape(stream.title), escape(where), "[green]ready")
    for bad in own.bad:
        table.add_row(escape(bad.name), "", escape(str(bad.path)), f"[red]{escape(str(bad))}")
    return table
