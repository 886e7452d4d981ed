"""Files dropped into a running platform become rows, whatever happens in between."""

from __future__ import annotations

import gzip
import json
import urllib.request

import pytest

from anomaly_platform.streams import BUILT_IN, EMS, IIOT
from tests.builders.readings import readings

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]


def test_a_dropped_file_is_in_the_bi_view_within_a_minute(running) -> None:
    frame = readings(IIOT, "press-1", "load", days=2)
    frame.write_csv(running.landing("iiot") / "press.csv", datetime_format="%Y-%m-%dT%H:%M:%SZ")

    def in_view() -> bool:
        with running.platform.warehouse.transactions.begin() as connection:
            row = connection.execute("SELECT count(*) FROM bi_iiot_scores").fetchone()
        return row is not None and row[0] == frame.height

    # No assertion on wall time: the machine decides that. The figure is in
    # docs/explanation/architecture.md.
    running.wait_for(in_view, 900)
    account = running.platform.account_of(IIOT)
    assert account.missing == 0


def test_the_first_model_is_trained_by_itself_and_scores_everything(running) -> None:
    def scored_by_a_model() -> bool:
        days = running.platform.state_of(IIOT).days
        return bool(days) and all(day.scored_version is not None for day in days)

    running.wait_for(scored_by_a_model, 900)


def test_a_killed_daemon_loses_nothing_and_repeats_nothing(running) -> None:
    before = running.platform.account_of(IIOT)
    frame = readings(IIOT, "press-2", "load", days=1)
    path = running.landing("iiot") / "second.csv"
    frame.write_csv(path, datetime_format="%Y-%m-%dT%H:%M:%SZ")
    running.wait_for(lambda: not path.exists(), 600)
    daemon = running.child("daemon")
    for process in [*daemon.children(recursive=True), daemon]:
        process.kill()

    def all_there() -> bool:
        account = running.platform.account_of(IIOT)
        return account.scored == before.scored + frame.height and account.pending == 0

    running.wait_for(all_there, 900)
    with running.platform.warehouse.transactions.begin() as connection:
        row = connection.execute(
            "SELECT count(*), count(DISTINCT event_id) FROM scored_iiot WHERE entity = 'press-2'"
        ).fetchone()
    assert row == (frame.height, frame.height)
    assert running.platform.account_of(IIOT).missing == 0


def test_hostile_files_stop_nothing(running) -> None:
    folder = running.landing("ems")
    good = readings(EMS, "host-1", "load", days=1)
    good.write_csv(folder / "good-1.csv", datetime_format="%Y-%m-%dT%H:%M:%SZ")
    header = "asset_id,metric_name,timestamp,value\n"
    csv = header + "h,cpu,2026-01-05 00:00:00,{}\n"
    whole = gzip.compress(b"asset_id,metric_name,timestamp,value\n" + b"h,cpu,2026-01-05,1\n" * 999)
    hostile: dict[str, bytes] = {
        "empty.csv": b"",
        "header.csv": b"asset_id,metric_name,timestamp,value\n",
        "binary.csv": bytes(range(256)) * 64,
        "truncated.csv.gz": whole[: len(whole) // 2],
        "not-gzip.csv.gz": b"plainly not",
        "nan.csv": csv.format("NaN").encode(),
        "inf.csv": csv.format("-inf").encode(),
        "word.csv": csv.format("high").encode(),
        "huge-number.csv": csv.format("1e999").encode(),
        "huge-cell.csv": csv.format("9" * 10_000_000).encode(),
        "future.csv": b"asset_id,metric_name,timestamp,value\nh,cpu,2999-01-01,1\n",
        "ancient.csv": b"asset_id,metric_name,timestamp,value\nh,cpu,1970-01-01,1\n",
        "no-time.csv": b"asset_id,metric_name,value\nh,cpu,1\n",
        "ragged.csv": b"asset_id,metric_name,timestamp,value\nh,cpu\nh,cpu,2026-01-05,1,2,3\n",
        "unclosed.csv": b'asset_id,metric_name,timestamp,value\n"h,cpu,2026-01-05,1\n',
        "twice.csv": b"value,value,timestamp\n1,2,2026-01-05\n",
        "nul.csv": b"asset_id,metric_name,timestamp,value\nh\x00,cpu,2026-01-05,1\n",
        "zones.csv": b"asset_id,metric_name,timestamp,value\n"
        b"z,cpu,2026-01-05T10:00:00+09:00,1\nz,cpu,2026-01-05 03:00:00,2\n",
        "broken.json": b'[{"asset_id": "h"',
        "deep.json": b"[" * 5000 + b"]" * 5000,
        "scalar.json": b"42",
        "mixed.jsonl": b'{"asset_id":"j","metric_name":"cpu","timestamp":"2026-01-05","value":1}\n'
        b"nonsense\n",
        "broken.parquet": b"PAR1" + b"\x00" * 100 + b"PAR1",
        "excel.csv": b"PK\x03\x04" + b"\x00" * 50,
        "utf16.csv": "asset_id,metric_name,timestamp,value\nü,cpu,2026-01-05,1\n".encode("utf-16"),
        "latin1.csv": "asset_id,metric_name,timestamp,value\nü,cpu,2026-01-05,3\n".encode(
            "latin-1"
        ),
        "semicolons.csv": b"asset_id;metric_name;timestamp;value\ns;cpu;2026-01-05;1\n",
        "booleans.csv": csv.format("true").encode(),
        "no-entity.csv": b"asset_id,metric_name,timestamp,value\n,cpu,2026-01-05,1\n",
        "bad-label.csv": b"asset_id,metric_name,timestamp,value,is_anomaly\n"
        b"l,cpu,2026-01-05,1,maybe\n",
    }
    assert len(hostile) == 30
    for name, content in hostile.items():
        (folder / name).write_bytes(content)
    more = readings(EMS, "host-2", "load", days=1)
    more.write_csv(folder / "good-2.csv", datetime_format="%Y-%m-%dT%H:%M:%SZ")
    platform = running.platform

    def settled() -> bool:
        account = platform.account_of(EMS)
        return (
            not platform.landing.waiting("ems")
            and account.pending == 0
            and account.scored >= good.height + more.height
        )

    running.wait_for(settled, 900)
    account = platform.account_of(EMS)
    assert account.missing == 0
    entries = {entry.source: entry for entry in platform.warehouse.ledger.entries("ems")}
    for name in hostile:
        entry = entries[name]
        if entry.status == "rejected":
            assert entry.reason, name
    with platform.warehouse.transactions.begin() as connection:
        rows = connection.execute(
            "SELECT source, count(*), bool_and(reason <> '') FROM quarantine "
            "WHERE stream = 'ems' GROUP BY source"
        ).fetchall()
        hosts = connection.execute(
            "SELECT entity, count(*) FROM scored_ems WHERE entity LIKE 'host-%' "
            "GROUP BY entity ORDER BY entity"
        ).fetchall()
    reasons = {source: all_given for source, _, all_given in rows}
    assert all(reasons.values())
    assert hosts == [("host-1", 288), ("host-2", 288)]
    for name in ("truncated.csv.gz", "nan.csv", "future.csv", "broken.json", "broken.parquet"):
        assert name in reasons, name


def test_the_ui_shows_the_whole_lineage(running) -> None:
    query = "{ assetNodes { groupName assetKey { path } dependencyKeys { path } } }"
    request = urllib.request.Request(
        f"http://127.0.0.1:{running.port}/graphql",
        data=json.dumps({"query": query}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        nodes = json.load(response)["data"]["assetNodes"]
    keys = {"/".join(node["assetKey"]["path"]) for node in nodes}
    assert {"iiot/raw_events", "iiot/monitoring_stats", "ems/scored_events"} <= keys
    roots = {"/".join(n["assetKey"]["path"]) for n in nodes if not n["dependencyKeys"]}
    assert roots == {f"{stream.name}/raw_events" for stream in BUILT_IN}
