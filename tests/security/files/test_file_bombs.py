"""Files larger inside than outside: refused by name, in bounded memory, and nothing else stops."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from anomaly_platform.assets.raw import ingest_files
from anomaly_platform.cli.streams.importing import import_into_landing, try_import
from anomaly_platform.ingest.layout.mapping import ColumnMapping, MappingError
from anomaly_platform.platform import Platform
from anomaly_platform.settings import Settings, get_settings
from tests.security.files.bombs import (
    HEADER,
    ROW,
    long_cell,
    many_rows,
    parquet,
    readings,
    write_bombs,
)

READER = Path(__file__).with_name("read_files.py")
#: As on a machine with 64 processors: each thread may hold memory of its own.
MANY_THREADS = {"POLARS_MAX_THREADS": "64", "OMP_NUM_THREADS": "64", "MALLOC_ARENA_MAX": "512"}
NOW = datetime(2026, 1, 20, tzinfo=UTC)
QUIET = Console(quiet=True)

#: File → what its refusal says; None where it is read.
REASONS = {
    "many_rows.parquet": "more than 50,000,000 rows (ANOMALY_FILE_MAX_ROWS)",
    "one_dictionary.parquet": "bytes unpacked (ANOMALY_FILE_MAX_BYTES)",
    "written_out.parquet": "bytes unpacked (ANOMALY_FILE_MAX_BYTES)",
    "the_last_again.parquet": "bytes unpacked (ANOMALY_FILE_MAX_BYTES)",
    "one_long_list.parquet": "'metadata' has more than 1,048,576 bytes (ANOMALY_FILE_MAX_CELL",
    "list_of_long_texts.parquet": "have to be in memory at once",
    "gzip_bomb.csv.gz": "bytes unpacked (ANOMALY_FILE_MAX_BYTES)",
    "workbook.xlsx": "an Excel workbook",
    "wide.csv": "at most 2,000 are read (ANOMALY_FILE_MAX_COLUMNS)",
    "commas.csv": None,
    "long_cell.csv": "'device_id' has more than 1,048,576 bytes (ANOMALY_FILE_MAX_CELL_BYTES)",
    "one_line.jsonl": "more than 8,000,000 values",
    "one_line.json": "more than 8,000,000 values",
    "constant.json": "bytes unpacked (ANOMALY_FILE_MAX_BYTES)",
    "default.csv": "would stand in every row",
}


def read_apart(folder: Path, max_bytes: int) -> dict[str, dict[str, Any]]:
    """Read files in a process of its own; return what became of each, and the peak of memory."""
    said = subprocess.run(
        [sys.executable, str(READER), str(folder), str(max_bytes)],
        env=os.environ | MANY_THREADS,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert said.returncode == 0, said.stderr[-2000:]
    told = [json.loads(line) for line in said.stdout.splitlines()]
    return {one.pop("file"): one for one in told}


def test_no_file_takes_more_memory_than_a_gigabyte(tmp_path: Path) -> None:
    write_bombs(tmp_path)
    told = read_apart(tmp_path, 256 << 20)
    assert told.keys() == REASONS.keys()
    for name, reason in REASONS.items():
        assert (reason is None) == (told[name]["reason"] is None), (name, told[name])
        assert reason is None or reason in told[name]["reason"], (name, told[name])
    peaks = {name: one["peak_mb"] for name, one in told.items()}
    assert max(peaks.values()) < 1024, peaks  # 760 MB were seen, with two threads as with 64


@pytest.mark.stress
def test_twenty_million_equal_rows_go_through_a_gigabyte(tmp_path: Path) -> None:
    content = parquet(readings(20_000_000), row_group_size=20_000_000)
    (tmp_path / "equal.parquet").write_bytes(content)
    told = read_apart(tmp_path, 4 << 30)["equal.parquet"]
    sys.stdout.write(f"\n{len(content):,} bytes, 20 million rows: {told}\n")
    assert told["reason"] is None
    assert told["rows"] == 20_000_000
    assert told["peak_mb"] < 1024


@pytest.mark.stress
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_ten_times_as_many_rows_take_less_than_half_as_much_memory_again(
    tmp_path: Path, suffix: str
) -> None:
    peaks = {}
    for rows in (400_000, 4_000_000):
        folder = tmp_path / str(rows)
        folder.mkdir()
        write_readings(folder / f"many.{suffix}", rows)
        told = read_apart(folder, 4 << 30)[f"many.{suffix}"]
        assert told["rows"] == rows, told
        peaks[rows] = told["peak_mb"]
    sys.stdout.write(f"\n{suffix}: peaks in MB by rows: {peaks}\n")
    # 1.1 to 1.3 times were seen.
    assert peaks[4_000_000] < 1.4 * peaks[400_000]


def write_readings(file: Path, rows: int) -> None:
    """Write readings of fifty devices that differ."""
    number = pl.int_range(rows, eager=True)
    table = pl.DataFrame(
        {
            "device_id": "pump-" + (number % 50).cast(pl.String),
            "metric_name": pl.repeat("temperature", rows, eager=True),
            "timestamp": NOW.replace(tzinfo=None) - pl.Series([timedelta(seconds=5)]) * number,
            "value": 20 + (number * 7919 % 10_007) / 1_000,
        }
    )
    if file.suffix == ".parquet":
        table.write_parquet(file)
    elif file.suffix == ".jsonl":
        table.write_ndjson(file)
    else:
        table.write_csv(file)


@pytest.fixture
def platform(tmp_path: Path, database_url: str) -> Platform:
    opened: Settings = get_settings(home=tmp_path / "home", database_url=database_url)
    return Platform(opened)


@pytest.mark.integration
def test_a_bomb_is_rejected_and_the_files_beside_it_are_taken_in(platform: Platform) -> None:
    folder = Path(platform.landing.folder("iiot"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.parquet").write_bytes(many_rows())
    (folder / "b.csv").write_bytes(long_cell())
    (folder / "c.csv").write_text(HEADER + ROW)
    stream = platform.stream("iiot")
    report = ingest_files(platform, stream, platform.landing.waiting("iiot"), NOW)
    assert report.ingested == ["c.csv"]
    assert not report.failed
    assert "ANOMALY_FILE_MAX_ROWS" in report.reasons["a.parquet"]
    assert "ANOMALY_FILE_MAX_CELL_BYTES" in report.reasons["b.csv"]
    entries = {entry.source: entry for entry in platform.warehouse.ledger.entries("iiot")}
    assert {name: entry.status for name, entry in entries.items()} == {
        "a.parquet": "rejected",
        "b.csv": "rejected",
        "c.csv": "ingested",
    }
    assert entries["c.csv"].rows_in == 1
    assert not platform.landing.waiting("iiot")


@pytest.mark.integration
@pytest.mark.parametrize("look", [import_into_landing, try_import])
def test_an_import_refuses_what_a_run_rejects_in_the_same_words(
    tmp_path: Path, platform: Platform, look: Callable[..., object]
) -> None:
    (tmp_path / "bomb.csv").write_bytes(HEADER.encode() + ROW.encode() * 20_000 + long_cell())
    with pytest.raises(MappingError) as refused:
        look(
            platform.settings,
            platform.stream("iiot"),
            [tmp_path / "bomb.csv"],
            ColumnMapping(),
            QUIET,
        )
    folder = Path(platform.landing.folder("iiot"))
    folder.mkdir(parents=True, exist_ok=True)
    (tmp_path / "bomb.csv").rename(folder / "bomb.csv")
    stream = platform.stream("iiot")
    report = ingest_files(platform, stream, platform.landing.waiting("iiot"), NOW)
    assert str(refused.value) == f"bomb.csv: {report.reasons['bomb.csv']}"
