"""The whole graph over a database and a lake of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
from dagster import DagsterInstance
from rich.console import Console

from anomaly_platform.cli.materialize import run_stream
from anomaly_platform.cli.runtime import Runtime
from anomaly_platform.definitions import build_defs
from anomaly_platform.resources.platform import Platform
from anomaly_platform.resources.progress import Account
from anomaly_platform.settings import Settings, get_settings
from anomaly_platform.streams import MetricStream

Drop = Callable[[MetricStream, str, pl.DataFrame | str | bytes], None]
Run = Callable[[MetricStream], Account]


@pytest.fixture
def runtime(settings: Settings) -> Iterator[Runtime]:
    platform = Platform(settings)
    with DagsterInstance.ephemeral() as instance:
        yield Runtime(platform, instance, build_defs(platform=platform), {})
    platform.close()


@pytest.fixture
def another_runtime(tmp_path: Path, new_database: Callable[[], str]) -> Iterator[Runtime]:
    """A second platform, for comparing two ways to the same end."""
    platform = Platform(get_settings(home=tmp_path / "other", database_url=new_database()))
    with DagsterInstance.ephemeral() as instance:
        yield Runtime(platform, instance, build_defs(platform=platform), {})
    platform.close()


@pytest.fixture
def drop(runtime: Runtime) -> Drop:
    """Put a file into landing, as a user would."""

    def put(stream: MetricStream, name: str, content: pl.DataFrame | str | bytes) -> None:
        path = Path(runtime.platform.landing.folder(stream.name)) / name
        if isinstance(content, pl.DataFrame):
            content.write_csv(path, datetime_format="%Y-%m-%dT%H:%M:%S%.fZ")
        elif isinstance(content, str):
            path.write_text(content)
        else:
            path.write_bytes(content)

    return put


@pytest.fixture
def run(runtime: Runtime) -> Run:
    """Do what `anomaly run` does, and hold it to its account."""

    def bring_up_to_date(stream: MetricStream) -> Account:
        account = run_stream(runtime, stream, Console(quiet=True))
        assert account.missing == 0
        assert account.pending == 0
        return account

    return bring_up_to_date
