"""A platform and its graph over a database of the test's own, and files for it to take in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from dagster import DagsterInstance

from anomaly_platform.cli.runtime import Runtime
from anomaly_platform.platform import Platform
from anomaly_platform.settings import Settings
from anomaly_platform.storage.tables.progress import Account
from anomaly_platform.streams import Stream

Content = pl.DataFrame | str | bytes


@dataclass(frozen=True)
class Kept:
    """A platform as it was after some work: its home, and the URL of its database."""

    home: Path
    database_url: str


#: The fixtures of the graph: what puts a file into landing, what brings a stream up to date, what
#: does some work once for a module, and what gives a test a copy of it.
Drop = Callable[[Stream, str, Content], None]
Run = Callable[[Stream], Account]
Keep = Callable[..., Kept]
Restore = Callable[[Settings, Kept], None]


@contextmanager
def open_runtime(settings: Settings, streams: Sequence[Stream] | None = None) -> Iterator[Runtime]:
    """Open the graph with an instance of Dagster that remembers nothing."""
    with (
        closing(Platform(settings, streams)) as platform,
        DagsterInstance.ephemeral() as instance,
    ):
        yield Runtime(platform, instance, {})


def drop_into(platform: Platform, stream: Stream, name: str, content: Content) -> None:
    """Put a file into landing, as a user would."""
    path = Path(platform.landing.folder(stream.name)) / name
    if isinstance(content, pl.DataFrame):
        content.write_csv(path, datetime_format="%Y-%m-%dT%H:%M:%S%.fZ")
    elif isinstance(content, str):
        path.write_text(content)
    else:
        path.write_bytes(content)
