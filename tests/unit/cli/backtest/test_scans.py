"""`anomaly backtest scans`: small files by rules, the response's shape, clear refusals."""

from __future__ import annotations

import gzip
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from anomaly_platform.cli.backtest.scan_labels import count_found, findings
from anomaly_platform.cli.backtest.scans import backtest_scans, read_scans
from anomaly_platform.ingest.files.sources import UnreadableFile
from anomaly_platform.ingest.layout.mapping import ColumnMapping
from anomaly_platform.simulator.supply_network import simulate_supply_network

CODE = "001.8804823.0000003.000001.20241201.000000001"
EVENTS = [
    {
        "eventId": f"e{n}",
        "epc_code": CODE,
        "location_id": place,
        "business_step": "HUB",
        "event_type": word,
        "event_time": f"2025-01-0{day} 10:00:00",
    }
    for n, (place, word, day) in enumerate(
        [("A", "HUB_Inbound", 1), ("A", "HUB_Outbound", 2), ("A", "HUB_Outbound", 3)]
    )
]


DEFAULTS = {
    "train": None,
    "reference": None,
    "labels": None,
    "mapping": ColumnMapping(),
    "seed": 1,
}


def backtest(file: Path, out: Path, **options: Any) -> str:
    console = Console(record=True, width=200, file=io.StringIO())
    chosen = {**DEFAULTS, **options}
    backtest_scans(file, out, console=console, **chosen)
    return console.export_text()


@pytest.mark.parametrize("name", ["request.json", "request.json.gz"])
def test_a_request_is_answered_by_the_rules_alone(tmp_path: Path, name: str) -> None:
    content = json.dumps({"data": EVENTS}).encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    told = backtest(tmp_path / name, tmp_path / "r.json")
    answer = json.loads((tmp_path / "r.json").read_text())
    assert [event["eventId"] for event in answer["EventHistory"]] == ["e0", "e1", "e2"]
    last = answer["EventHistory"][-1]
    assert last["evtOrderErr"] is True
    assert last["finalConfidence"] >= 50
    assert last["lstmSequenceScore"] is None
    assert "again" in last["mlExplanation"]
    assert answer["fileAnomalyStats"]["evtOrderErrCount"] == 1
    assert answer["epcAnomalyStats"][0]["totalEvents"] == 3
    assert "Detectors: rules;" in told


def test_refused_rows_are_told_and_the_others_judged(tmp_path: Path) -> None:
    bad = [{**EVENTS[0], "event_time": "yesterday"}, {**EVENTS[1], "epc_code": ""}, EVENTS[2]]
    (tmp_path / "f.json").write_text(json.dumps(bad))
    scans = read_scans(tmp_path / "f.json", ColumnMapping())
    assert scans.frame.height == 1
    assert scans.refused.height == 2
    assert "2 refused" in backtest(tmp_path / "f.json", tmp_path / "r.json")


def test_nothing_at_all_is_an_empty_answer(tmp_path: Path) -> None:
    (tmp_path / "f.json").write_text(json.dumps([{**EVENTS[0], "event_time": "yesterday"}]))
    backtest(tmp_path / "f.json", tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text())["EventHistory"] == []


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("a,b\n1,2\n")
    said = r"^f.csv: the file has no column for the time; name one with --map column=event_time"
    with pytest.raises(UnreadableFile, match=said):
        backtest(tmp_path / "f.csv", tmp_path / "r.json")
    with pytest.raises(FileNotFoundError):
        backtest(tmp_path / "missing.csv", tmp_path / "r.json")


def test_reference_beside_the_file_is_used_and_labels_are_compared(tmp_path: Path) -> None:
    network = simulate_supply_network(
        events=900, days=8, seed=2, start=datetime(2026, 1, 5, tzinfo=UTC), anomaly_rate=0.3
    )
    paths = network.write(tmp_path)
    told = backtest(paths["scans"], tmp_path / "r.json", labels=paths["labels"])
    answer = json.loads((tmp_path / "r.json").read_text())
    assert answer["fileAnomalyStats"]["totalEvents"] == network.scans.height
    fake = {
        i for i, k in network.incidents.select("event_id", "kind").iter_rows() if k == "epcFake"
    }
    found = {event["eventId"] for event in answer["EventHistory"] if event["epcFake"]}
    assert fake
    assert fake <= found
    assert "58 places known" in told
    assert "epcFake" in told
    (fakes,) = rows_of(told, "epcFake")
    assert fakes[1:3] == [str(len(fake))] * 2

    column = tmp_path / "labelled.csv"
    kinds = network.incidents.select("event_id", "kind").unique("event_id")
    labelled = network.scans.drop("label", "anomaly_kind", "entity").join(
        kinds, on="event_id", how="left", maintain_order="left"
    )
    labelled.select(
        pl.exclude("kind"), is_anomaly=pl.col("kind").is_not_null(), anomaly_kind="kind"
    ).write_csv(column)
    assert rows_of(backtest(column, tmp_path / "s.json"), "epcFake") == [fakes]
    assert events_of(tmp_path / "s.json") == events_of(tmp_path / "r.json"), "nothing is learned"


def test_labels_of_the_file_say_how_many_scans_and_events_are_found(tmp_path: Path) -> None:
    codes = [CODE.replace("000001.2024", f"{n:06d}.2024") for n in range(3)]
    scans = [
        {**event, "eventId": f"{code}-{event['eventId']}", "epc_code": code, "is_anomaly": flag}
        for code, flags in zip(codes, ([0, 0, 1], [0, 1, 1], [None, None, None]), strict=True)
        for event, flag in zip(EVENTS, flags, strict=True)
    ]
    (tmp_path / "f.json").write_text(json.dumps(scans))
    told = backtest(tmp_path / "f.json", tmp_path / "r.json")
    assert "Against the column is_anomaly" in told
    # The last scan of each code breaks a rule; of the third code nothing is known.
    (all_of_them,) = rows_of(told, "all")
    assert all_of_them[:7] == ["all", "3", "2", "0", "1.000", "0.667", "1.000"]
    assert "Against" not in backtest_of_events(tmp_path)


def test_columns_have_the_names_that_users_give_them(tmp_path: Path) -> None:
    names = {
        "eventId": "Nr.",
        "epc_code": "Code",
        "location_id": "Standort",
        "business_step": "Schritt",
        "event_type": "Vorgang",
        "event_time": "Zeitpunkt",
    }
    own, learned = tmp_path / "own.csv", tmp_path / "learned.csv"
    pl.DataFrame(EVENTS).rename(names).write_csv(own, separator=";")
    (tmp_path / "plain.json").write_text(json.dumps(EVENTS))
    backtest(tmp_path / "plain.json", tmp_path / "p.json")
    said = [f"{name}={field}" for field, name in names.items()]
    told = backtest(own, tmp_path / "r.json", mapping=ColumnMapping.parse(said))
    assert events_of(tmp_path / "r.json") == events_of(tmp_path / "p.json")
    assert "--map" not in told

    some = ColumnMapping.parse(["Code=epc_code", "Zeitpunkt=event_time", "Vorgang=event_type"])
    told = backtest(own, tmp_path / "r.json", mapping=some)
    assert "no column has location_id, business_step; of the columns left out" in told
    assert "(Nr., Standort, Schritt) name one with --map column=location_id" in told

    learned.write_text("epc_code,event_time\n")
    with pytest.raises(UnreadableFile, match=r"^learned.csv: the file has no column 'Code'"):
        backtest(own, tmp_path / "r.json", mapping=some, train=learned)
    with pytest.raises(UnreadableFile, match=r"there is no field 'place'"):
        backtest(own, tmp_path / "r.json", mapping=ColumnMapping.parse(["Standort=place"]))


def test_a_label_that_is_none_takes_no_scan_away(tmp_path: Path) -> None:
    labels = ["?", 0, 1]
    scans = [{**event, "is_anomaly": one} for event, one in zip(EVENTS, labels, strict=True)]
    (tmp_path / "f.json").write_text(json.dumps(scans))
    told = backtest(tmp_path / "f.json", tmp_path / "r.json")
    assert len(events_of(tmp_path / "r.json")) == 3
    assert "column is_anomaly: 1 of 3 labels are left out, such as '?' in row 1: the label" in told
    (every,) = rows_of(told, "all")
    assert every[1:4] == ["1", "1", "0"]


def test_a_scan_is_found_where_its_confidence_reaches_the_threshold() -> None:
    scored = pl.DataFrame(
        {
            "row_number": [0, 1, 2, 3],
            "jump_score": [0.0, 80.0, None, 0.0],
            "ml_combined_score": [60.0, 60.0, None, 70.0],
            # Where habits do not agree, what the learned detectors find is below the threshold.
            "final_confidence": [40.0, 80.0, None, 55.0],
        }
    )
    assert count_found(findings(scored)) == (2, 1)


def test_a_file_of_labels_may_have_ordinary_scans_and_must_know_some(tmp_path: Path) -> None:
    (tmp_path / "f.json").write_text(json.dumps(EVENTS))
    ids = [event["eventId"] for event in EVENTS]
    labels = tmp_path / "labels.csv"

    def told(*rows: str) -> str:
        labels.write_text("\n".join(["event_id,is_anomaly", *rows]))
        return backtest(tmp_path / "f.json", tmp_path / "r.json", labels=labels)

    (every,) = rows_of(told(f"{ids[0]},False", f"{ids[1]},", f"{ids[2]},yes"), "all")
    assert every[1] == "1"
    with pytest.raises(
        UnreadableFile, match=r"labels.csv, row 2: 'perhaps' in is_anomaly: the label is"
    ):
        told(f"{ids[0]},0", f"{ids[1]},perhaps")
    with pytest.raises(UnreadableFile, match=r"no scan has one of its 1 ids; the first is 'x'"):
        told("x,1")


def test_a_kind_that_is_called_all_is_a_kind(tmp_path: Path) -> None:
    kinds = ["all", "odd", None]
    scans = [
        {**event, "is_anomaly": kind is not None, "anomaly_kind": kind}
        for event, kind in zip(EVENTS, kinds, strict=True)
    ]
    (tmp_path / "f.json").write_text(json.dumps(scans))
    told = backtest(tmp_path / "f.json", tmp_path / "r.json")
    assert [row[1] for row in rows_of(told, "all")] == ["1", "2"]


def rows_of(told: str, kind: str) -> list[list[str]]:
    rows = ([cell.strip() for cell in line.split("│")[1:-1]] for line in told.splitlines())
    return [row for row in rows if row and row[0] == kind]


def events_of(answer: Path) -> Any:
    return json.loads(answer.read_text())["EventHistory"]


def backtest_of_events(folder: Path) -> str:
    (folder / "plain.json").write_text(json.dumps(EVENTS))
    return backtest(folder / "plain.json", folder / "p.json")
