"""What `anomaly run` says beside its table."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from anomaly_platform.cli.streams.run import run_stream
from anomaly_platform.settings import Settings
from anomaly_platform.streams import BARCODE, EMS, IIOT
from tests.builders.commands import invoke, point_commands_at
from tests.builders.platforms import drop_into, open_runtime

pytestmark = pytest.mark.integration


def test_a_run_without_anomalies_ends_with_the_query_of_the_most_unusual_readings(
    settings: Settings,
) -> None:
    lines = [f"pump,flow,2026-01-05T{n // 6:02d}:{n % 6}0:00Z,{n % 3}" for n in range(120)]
    text = "\n".join(["asset_id,metric_name,timestamp,value", *lines, ""])
    said = io.StringIO()
    with open_runtime(settings, (BARCODE, EMS, IIOT)) as runtime:
        drop_into(runtime.platform, EMS, "calm.csv", text)
        account = run_stream(runtime, EMS, Console(file=said, width=80), train=False)
        assert (account.scored, account.anomalies) == (120, 0)
        (query,) = (line for line in said.getvalue().splitlines() if "anomaly sql" in line)
        rows = runtime.platform.warehouse.transactions.tuples(query.split('"')[1])
    assert len(rows) == 10
    assert {row[:2] for row in rows} == {("pump", "flow")}


def test_the_table_tells_what_the_run_did_and_all_that_there_is(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    point_commands_at(settings, monkeypatch)
    head = "asset_id,metric_name,timestamp,value"
    told = []
    for name, times in (
        ("first.csv", ["2026-01-05T00:00Z", "2026-01-05T00:10Z", "2026-01-06T00:00Z"]),
        ("second.csv", ["2026-01-06T00:10Z", "2026-01-06T00:10Z", "soon"]),
    ):
        lines = [f"pump,flow,{time},1" for time in times]
        (tmp_path / name).write_text("\n".join([head, *lines, ""]))
        invoke("import", "ems", tmp_path / name)
        said = invoke("run", "ems", "--no-train")
        told.append([line.split("│")[1:-1] for line in said.splitlines() if "│" in line])
    first, second = ([[cell.strip() for cell in row] for row in rows] for rows in told)
    assert first == [
        ["of this run", "3", "3", "0", "0", "0", ""],
        ["all of ems", "3", "3", "0", "0", "0", "exact"],
    ]
    # The 6th is scored again as a whole, with the row that the first run took in.
    assert second == [
        ["of this run", "3", "2", "1", "1", "0", ""],
        ["all of ems", "6", "4", "1", "1", "0", "exact"],
    ]
