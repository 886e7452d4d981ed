"""Files with lines around their tables: dropped into landing they give what an import gives."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from psycopg_pool import AsyncConnectionPool
from rich.console import Console

from anomaly_platform.assets.raw import IngestReport, ingest_files
from anomaly_platform.cli.runtime import Runtime
from anomaly_platform.cli.streams.checking import run_checks
from anomaly_platform.cli.streams.importing import LayoutToSave, import_into_landing
from anomaly_platform.cli.streams.run import tell_files
from anomaly_platform.ingest.layout.mapping import ColumnMapping
from anomaly_platform.platform import Platform
from anomaly_platform.queries.queues import read_rejected_files

pytestmark = pytest.mark.integration

QUIET = Console(quiet=True)
TIMES = [f"2026-01-12 {hour:02d}:00:00" for hour in range(20)]
PLC = "Date;height;length\n" + "".join(f"{at};{n}.5;{n + 100};\n" for n, at in enumerate(TIMES))
TOA5 = (
    '"TOA5","Weir","CR1000","41234"\n"TIMESTAMP","RECORD","RH"\n"TS","RN","%"\n"","","Smp"\n'
    + "".join(f'"{at}",{n},{n}.25\n' for n, at in enumerate(TIMES))
)
INFLUX = (
    "#datatype,string,long,dateTime:RFC3339,double,string,string,string\n#group,,,,,,,\n#default,,,,,,,\n"
    ",result,table,_time,_value,_field,_measurement,host\n"
    + "".join(f",,0,{at.replace(' ', 'T')}Z,{n}.5,level,h2o,creek\n" for n, at in enumerate(TIMES))
)
TREND = "Tag;TIC\nMoment;Wert\n" + "".join(f"{at};{n}.5\n" for n, at in enumerate(TIMES))
OPTIONS = ColumnMapping(constants={"device_id": "tic"}, timezone="Europe/Berlin", header_line=2)
FILES = {"plclog.csv": PLC, "CR1000.csv": TOA5, "influx.csv": INFLUX, "trend_1.csv": TREND}
NOW = datetime(2026, 1, 20, tzinfo=UTC)


def take_in(platform: Platform) -> IngestReport:
    stream = platform.stream("iiot")
    report = ingest_files(platform, stream, platform.landing.waiting("iiot"), NOW)
    assert not report.failed
    return report


def raw_rows(platform: Platform) -> pl.DataFrame:
    entries = platform.warehouse.ledger.entries("iiot")
    parts = [
        platform.lake.read(entry.raw_path).with_columns(source=pl.lit(entry.source))
        for entry in entries
        if entry.raw_path
    ]
    return pl.concat(parts).sort("source", "row_number", "column")


def test_a_dropped_file_gives_the_rows_of_an_import(tmp_path: Path, runtime: Runtime) -> None:
    platform, stream = runtime.platform, runtime.platform.stream("iiot")
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
        mapping = OPTIONS if name.startswith("trend") else ColumnMapping()
        layout = LayoutToSave("trend") if name.startswith("trend") else None
        import_into_landing(
            platform.settings, stream, [tmp_path / name], mapping, QUIET, layout=layout
        )
    assert sorted(take_in(platform).ingested) == sorted(FILES)
    imported = raw_rows(platform)
    assert imported.height == 20 * (2 + 2 + 1 + 1)
    assert set(imported.filter(source="trend_1.csv")["entity"]) == {"tic"}
    assert imported.filter(source="trend_1.csv")["event_time"][0] == datetime(
        2026, 1, 11, 23, tzinfo=UTC
    )
    # The same content, read in the same way, has the same digest: it is seen to be in already.
    for name, text in FILES.items():
        Path(platform.landing.folder("iiot"), name).write_text(text)
    report = take_in(platform)
    assert sorted(report.repeated) == sorted(FILES)
    next_day = TREND.replace("2026-01-12", "2026-01-13")
    Path(platform.landing.folder("iiot"), "trend_2.csv").write_text(next_day)
    assert take_in(platform).ingested == ["trend_2.csv"]
    dropped = raw_rows(platform).filter(source="trend_2.csv")
    same = ("row_number", "entity", "metric", "value_text")
    assert dropped.select(same).equals(imported.filter(source="trend_1.csv").select(same))
    shift = dropped["event_time"] - imported.filter(source="trend_1.csv")["event_time"]
    assert set(shift) == {timedelta(days=1)}


def test_two_layouts_that_fit_refuse_the_file(runtime: Runtime) -> None:
    platform = runtime.platform
    for name in ("a", "b"):
        platform.landing.save_layout("iiot", name, "files: '*.csv'\n")
    Path(platform.landing.folder("iiot"), "x.csv").write_text(PLC)
    report = take_in(platform)
    assert "both fit the name 'x.csv'" in report.reasons["x.csv"]


def rejected_by_health(url: str) -> int:
    async def ask() -> int:
        async with AsyncConnectionPool(url, open=False, timeout=10) as pool:
            return await read_rejected_files(pool)

    return asyncio.run(ask())


def test_a_file_without_a_usable_row_is_rejected_and_told(
    runtime: Runtime, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    platform, stream = runtime.platform, runtime.platform.stream("iiot")
    folder = Path(platform.landing.folder("iiot"))
    texts = {
        "notime.csv": "name,load\n" + "x,1\n" * 9,
        "words.csv": "timestamp,load\n2026-01-12,warm\n2026-01-13,cold\n",
        "header.csv": "timestamp,load\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "half.csv").write_text(PLC + "soon;1;2;\n" * 2)
    began = platform.warehouse.transactions.value("SELECT clock_timestamp()")
    report = take_in(platform)
    assert report.ingested == ["half.csv"]
    assert report.reasons == {
        "notime.csv": "no row of the file can be used; most of them: not a time (ISO 8601, "
        "YYYY-MM-DD HH:MM:SS or seconds since 1970)",
        "words.csv": "no row of the file can be used; most of them: the value is not a number",
        "header.csv": "the file has no rows",
    }
    console = Console(width=80)
    assert tell_files(platform, stream, began, console) == 3
    said = " ".join(capsys.readouterr().out.split())
    assert "words.csv was rejected: no row of the file can be used" in said
    assert "half.csv: 4 of 44 readings were refused: not a time" in said
    assert rejected_by_health(database_url) == 3
    assert run_checks(runtime, stream, console) == 1
    checks = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "every_file_can_be_re" in checks
    assert "WARN" in checks
    # Once more the same: it is told again. Mended under its name: it is told no more.
    (folder / "words.csv").write_text(texts["words.csv"])
    again = platform.warehouse.transactions.value("SELECT clock_timestamp()")
    take_in(platform)
    assert tell_files(platform, stream, again, console) == 1
    for name in texts:
        (folder / name).write_text(f"timestamp,load\n2026-01-12,{len(name)}\n")
    assert take_in(platform).rejected == []
    assert rejected_by_health(database_url) == 0
    assert run_checks(runtime, stream, QUIET) == 0
