"""A stream from YAML is a stream like any other: from a dropped file to the views of BI."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from anomaly_platform.cli.runtime import Runtime
from anomaly_platform.cli.streams.checking import run_checks
from anomaly_platform.cli.streams.importing import import_into_landing
from anomaly_platform.cli.streams.listing import streams_table
from anomaly_platform.cli.streams.run import run_stream
from anomaly_platform.ingest.layout.mapping import ColumnMapping
from anomaly_platform.platform import Platform
from anomaly_platform.settings import Settings
from anomaly_platform.streams import MetricStream, Stream
from anomaly_platform.streams.user_defined import StreamFileError
from tests.builders.platforms import open_runtime

pytestmark = pytest.mark.integration

BOILERS = """\
name: boilers
frequency: 10m
columns:
  entity: Boiler No
  time: gelesen
  ignore: [operator]
timezone: Europe/Berlin
alpha: 0.001
"""
ROWS = 3 * 144
QUIET = Console(quiet=True)


@pytest.fixture
def runtime(settings: Settings) -> Iterator[Runtime]:
    settings.streams_dir.mkdir()
    (settings.streams_dir / "boilers.yaml").write_text(BOILERS)
    (settings.streams_dir / "broken.yaml").write_text("name: valves\nfrequncy: 5m\n")
    with open_runtime(settings) as opened:
        yield opened


def wide_file(path: Path) -> Path:
    """Write a wide file with two boilers, a person's column, local times and one absurd reading."""
    rng = np.random.default_rng(5)
    parts = []
    for number in (1, 2):
        pressure = 20 + rng.normal(0, 0.2, ROWS).round(3)
        if number == 2:
            pressure[ROWS // 2] = 90.0
        times = [datetime(2026, 1, 12, tzinfo=UTC) + timedelta(minutes=10 * n) for n in range(ROWS)]
        parts.append(
            pl.DataFrame(
                {
                    "Boiler No": [f"B{number}"] * ROWS,
                    "Gelesen": times,
                    "pressure": pressure,
                    "temperature": 80 + rng.normal(0, 1, ROWS).round(2),
                    "Operator": ["Ada"] * ROWS,
                }
            )
        )
    pl.concat(parts).write_csv(path, datetime_format="%Y-%m-%d %H:%M:%S")
    return path


def test_a_stream_of_ones_own_from_file_to_view(
    runtime: Runtime, settings: Settings, tmp_path: Path
) -> None:
    platform = runtime.platform
    stream = platform.stream("boilers")
    assert run_checks(runtime, stream, QUIET) == 0, "nothing is there yet, and nothing is wrong"
    source = wide_file(tmp_path / "january.csv")
    import_into_landing(settings, stream, [source], ColumnMapping(), QUIET)
    account = run_stream(runtime, stream, QUIET)
    assert (account.rows_in, account.scored) == (4 * ROWS, 4 * ROWS)
    assert (account.missing, account.pending, account.quarantined) == (0, 0, 0)
    with platform.warehouse.transactions.begin() as connection:
        first = connection.execute(
            'SELECT min("timestamp"), count(*), count(DISTINCT metric_name) '
            "FROM bi_boilers_scores WHERE boiler_no = 'B1'"
        ).fetchone()
        found = connection.execute(
            "SELECT is_anomaly, anomaly_score FROM bi_boilers_scores "
            "WHERE boiler_no = 'B2' AND metric_name = 'pressure' AND value = 90"
        ).fetchone()
        days = connection.execute(
            "SELECT sum(readings) FROM bi_boilers_daily WHERE boiler_no = 'B2'"
        ).fetchone()
    assert first == (datetime(2026, 1, 11, 23, tzinfo=UTC), 2 * ROWS, 2)
    assert found is not None
    assert found[0] is True
    assert found[1] >= 0.7
    assert days == (2 * ROWS,)
    assert run_checks(runtime, stream, QUIET) == 0


def test_views_follow_a_renamed_column_and_are_left_alone_otherwise(runtime: Runtime) -> None:
    platform = runtime.platform
    stream = platform.stream("boilers")
    assert isinstance(stream, MetricStream)

    def identity() -> object:
        with platform.warehouse.transactions.begin() as connection:
            return connection.execute("SELECT 'bi_boilers_scores'::regclass::oid").fetchone()

    platform.kind(stream).ensure_tables()
    made = identity()
    platform.kind(stream).ensure_tables()
    assert identity() == made
    (platform.settings.streams_dir / "boilers.yaml").write_text(BOILERS.replace("Boiler No", "kit"))
    renamed = Platform(platform.settings).stream("boilers")
    assert isinstance(renamed, MetricStream)
    platform.kind(renamed).ensure_tables()
    assert platform.warehouse.scores.has_tables("boilers", "kit")


def test_a_bad_file_is_reported_and_leaves_the_others_in_the_graph(
    runtime: Runtime, settings: Settings
) -> None:
    groups = {spec.group_name for spec in runtime.definitions.resolve_all_asset_specs()}
    sensors = {sensor.name for sensor in runtime.definitions.sensors or []}
    assert {"iiot", "ems", "boilers"} <= groups
    assert "valves" not in groups
    assert {"boilers_new_data", "boilers_retraining"} <= sensors
    for name in ("valves", "broken"):
        with pytest.raises(StreamFileError, match=r"broken\.yaml line 2: unknown key 'frequncy'"):
            runtime.platform.stream(name)
    with pytest.raises(LookupError, match=r"there are barcode, iiot, ems.*boilers"):
        runtime.platform.stream("nothing")
    shown = Console(record=True, width=300, file=io.StringIO())
    shown.print(streams_table(Platform(settings)))
    text = shown.export_text()
    assert "boilers.yaml" in text
    assert "did you mean 'frequency'?" in text


def test_a_users_stream_has_every_stage_and_check_of_a_built_in_one(runtime: Runtime) -> None:
    def parts(stream: Stream) -> set[str]:
        graph = runtime.definitions.resolve_asset_graph()
        stages = {key.path[1] for key in graph.get_all_asset_keys() if key.path[0] == stream.name}
        checks = {k.name for k in graph.asset_check_keys if k.asset_key.path[0] == stream.name}
        return stages | checks

    assert parts(runtime.platform.stream("boilers")) == parts(runtime.platform.stream("ems"))
