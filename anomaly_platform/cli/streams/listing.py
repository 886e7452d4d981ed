"""``anomaly streams``: which streams there are, where each comes from, and whether it works."""

from rich.markup import escape
from rich.table import Table

from anomaly_platform.cli.rows import word_table
from anomaly_platform.platform import Platform


def streams_table(platform: Platform) -> Table:
    """Return every stream with its source and state; no database is opened."""
    own = platform.user_streams
    sources = {stream.name: path for stream, path in zip(own.streams, own.sources, strict=True)}
    rows = [
        (
            one.name,
            escape(one.title),
            escape(str(sources.get(one.name, "built in"))),
            "[green]ready",
        )
        for one in platform.streams
    ]
    rows += [
        (escape(bad.name), "", escape(str(bad.path)), f"[red]{escape(str(bad))}")
        for bad in platform.bad_streams
    ]
    return word_table(("stream", "title", "source", "state"), rows, "Streams")
