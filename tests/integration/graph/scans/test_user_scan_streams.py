"""A scan stream from YAML, beside `barcode`: from a dropped file to its BI view and its route."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from rich.console import Console
from starlette.testclient import TestClient

from anomaly_platform.cli.runtime import Runtime
from anomaly_platform.cli.streams.checking import run_checks
from anomaly_platform.cli.streams.run import run_stream
from anomaly_platform.serving.app import create_app
from anomaly_platform.settings import Settings
from anomaly_platform.storage.tables.api_keys import SCOPES
from anomaly_platform.streams import BARCODE, ScanStream
from tests.builders.platforms import drop_into, open_runtime
from tests.builders.tables import rows_of

pytestmark = pytest.mark.integration

PARCELS = """\
kind: scans
name: parcels
code_pattern: ^PX(?P<company>[0-9]{3})(?P<serial>[0-9]{5})$
columns:
  code: tracking_no
  time: scanned_at
  place: depot
  event: what
"""
QUIET = Console(quiet=True)
STOPS = ("A", "B", "C")
PARCELS_SENT = 40
BAD_CODE, STRANGER = "QX10000001", "PX99900001"
TWICE = "PX10000003"


@pytest.fixture
def runtime(settings: Settings) -> Iterator[Runtime]:
    settings.streams_dir.mkdir()
    (settings.streams_dir / "parcels.yaml").write_text(PARCELS)
    with open_runtime(settings) as opened:
        folder = opened.platform.reference_folder(opened.platform.stream("parcels"))
        folder.mkdir(parents=True)
        (folder / "companies.csv").write_text("company\n100\n")
        yield opened


def scans() -> pl.DataFrame:
    """Each parcel passes three depots; two codes are wrong, one is in two places at once."""
    codes = [f"PX100{number:05}" for number in range(PARCELS_SENT - 2)] + [BAD_CODE, STRANGER]
    start = datetime(2026, 1, 12, 8, tzinfo=UTC)
    rows = [
        (code, start + timedelta(minutes=7 * n, hours=9 * stop), STOPS[stop], "Inbound")
        for n, code in enumerate(codes)
        for stop in range(len(STOPS))
    ]
    twice = next(row for row in rows if row[0] == TWICE)
    rows.append((TWICE, twice[1], "C", "Inbound"))
    return pl.DataFrame(rows, schema=["tracking_no", "scanned_at", "depot", "what"], orient="row")


def test_a_scan_stream_of_ones_own_from_file_to_view_and_route(runtime: Runtime) -> None:
    platform = runtime.platform
    stream = platform.stream("parcels")
    assert isinstance(stream, ScanStream)
    assert run_checks(runtime, stream, QUIET) == 0, "nothing is there yet, and nothing is wrong"
    sent = scans()
    drop_into(platform, stream, "january.csv", sent)
    account = run_stream(runtime, stream, QUIET)
    assert (account.rows_in, account.scored, account.missing) == (sent.height, sent.height, 0)

    fake = rows_of(
        platform.warehouse,
        "SELECT DISTINCT epc_code, epc_malformed FROM bi_parcels_scores WHERE epc_fake ORDER BY 1",
    )
    assert fake == [(STRANGER, False), (BAD_CODE, True)]
    twice = rows_of(
        platform.warehouse, "SELECT DISTINCT epc_code FROM bi_parcels_scores WHERE epc_dup"
    )
    assert twice == [(TWICE,)]
    assert rows_of(platform.warehouse, "SELECT sum(scans) FROM bi_parcels_daily") == [
        (sent.height,)
    ]
    assert (
        len(rows_of(platform.warehouse, "SELECT DISTINCT location_id FROM bi_parcels_places")) == 3
    )
    found = rows_of(
        platform.warehouse, "SELECT count(*) FROM anomaly_detections WHERE stream = 'parcels'"
    )
    assert found[0][0] >= 7
    assert run_checks(runtime, stream, QUIET) == 0

    assert platform.account_of(BARCODE).rows_in == 0, "the built-in stream is left alone"
    assert rows_of(platform.warehouse, "SELECT count(*) FROM scored_barcode") == [(0,)]

    _, key = platform.warehouse.api_keys.create("test", SCOPES, created_by="test")
    with TestClient(create_app(platform), raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        event = {"event_time": "2026-01-15 10:00:00", "location_id": "A", "event_type": "Inbound"}
        body = {
            "data": [
                {**event, "event_id": "good", "epc_code": "PX10000001"},
                {**event, "event_id": "bad", "epc_code": BAD_CODE},
            ]
        }
        said = client.post("/api/v1/scans/parcels/detect", json=body)
        assert said.status_code == 200
        verdicts = {one["eventId"]: one["epcFake"] for one in said.json()["EventHistory"]}
        assert verdicts == {"good": False, "bad": True}
        other = client.post("/api/v1/barcode/detect", json=body).json()["EventHistory"]
        assert all(one["epcFake"] for one in other), "six-part codes are asked for there"
        assert client.post("/api/v1/scans/barcode/detect", json=body).json() == {
            **client.post("/api/v1/barcode/detect", json=body).json()
        }
        for unknown in ("nowhere", "ems"):
            answer = client.post(f"/api/v1/scans/{unknown}/detect", json=body)
            assert answer.status_code == 404
            assert "stream of scans" in answer.json()["detail"]
