"""What `anomaly run` says beside its table."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from anomaly_platform.cli.streams.run import run_stream
from anomaly_platform.settings import Settings
from anomaly_platform.streams import BARCODE, EMS, IIOT
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
