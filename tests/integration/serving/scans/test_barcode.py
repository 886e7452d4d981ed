"""Barcode detection over HTTP: with the rules alone, and with everything that was learned."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest
from rich.console import Console
from starlette.testclient import TestClient

from anomaly_platform.cli.streams.run import run_stream
from anomaly_platform.kinds.scan.bundles import read_serving
from anomaly_platform.kinds.scan.rows import READ_FEATURES, in_order
from anomaly_platform.ml.detectors.rules.detector import RulesModel
from anomaly_platform.ml.detectors.sequence_lstm.calibrated import CalibratedSequence
from anomaly_platform.platform import Platform
from anomaly_platform.serving.app import create_app
from anomaly_platform.serving.champions.served import ServedScans
from anomaly_platform.serving.predict import scans as scan_detection
from anomaly_platform.serving.predict.scans import Detection
from anomaly_platform.settings import get_settings
from anomaly_platform.simulator.supply_network import SupplyNetworkData, simulate_supply_network
from anomaly_platform.streams import BARCODE, EMS, IIOT
from tests.builders.platforms import drop_into, open_runtime
from tests.builders.readings import START
from tests.builders.scans import EPC, SMALL_SCANS, file_of
from tests.builders.tables import count
from tests.conftest import PATIENT

pytestmark = pytest.mark.integration

URL = "/api/v1/barcode/detect"
EVENT = {
    *("eventId", "epcCode", "epcFake", "epcFakeScore", "epcDup", "epcDupScore", "locErr"),
    *("locErrScore", "evtOrderErr", "evtOrderErrScore", "jump", "jumpScore"),
    *("lstmSequenceScore", "svmOutlierScore", "mlCombinedScore", "finalConfidence"),
    *("severity", "mlExplanation", "location_interpolated", "business_step_inferred"),
    *("event_type_missing", "partial_sequence", "blindRules"),
}
COUNTS = {"totalEvents", "epcFakeCount", "epcDupCount", "locErrCount", "evtOrderErrCount"}
COUNTS |= {"jumpCount"}


def scan(n: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "event_id": f"e{n}",
        "epc_code": EPC,
        "location_id": "L001",
        "business_step": "Factory",
        "event_type": "Aggregation",
        "event_time": f"2026-01-05 {n:02d}:00:00",
        **more,
    }


@pytest.fixture(scope="module")
def network() -> SupplyNetworkData:
    return simulate_supply_network(events=2_500, days=6, seed=5, start=START)


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, module_database_url: str, network: SupplyNetworkData
) -> Iterator[Platform]:
    """Months of scans, learned from and scored."""
    home = tmp_path_factory.mktemp("trained")
    settings = get_settings(home=home, database_url=module_database_url, scan_time_limits=PATIENT)
    with open_runtime(settings, (SMALL_SCANS, EMS, IIOT)) as runtime:
        network.world.write_reference(runtime.platform.reference_folder(SMALL_SCANS))
        drop_into(runtime.platform, SMALL_SCANS, "scans.csv", file_of(network.scans))
        run_stream(runtime, SMALL_SCANS, Console(quiet=True))
        yield runtime.platform


@pytest.fixture(scope="module")
def service(trained: Platform) -> Iterator[TestClient]:
    _, key = trained.warehouse.api_keys.create(
        "test", ("ml:read",), created_by="test", predictions_per_minute=0
    )
    with TestClient(create_app(trained), raise_server_exceptions=False) as opened:
        opened.headers["Authorization"] = f"Bearer {key}"
        yield opened


def sent(scans: pl.DataFrame) -> list[dict[str, Any]]:
    names = [name for name in scan() if name in scans.columns]
    texts = scans.select(names).with_columns(pl.col("event_time").dt.strftime("%Y-%m-%d %H:%M:%S"))
    return texts.to_dicts()


@pytest.mark.parametrize("place", [0, 150])
def test_an_unknown_member_is_answered_with_those_that_there_are(
    client: TestClient, place: int
) -> None:
    data = [scan(n % 24) for n in range(200)]
    data[place]["colour"] = "red"
    said = client.post(URL, json={"data": data}).json()
    assert said["errors"][0]["location"] == f"body.data.{place}.colour"
    assert "the members of a scan are event_id, epc_code, event_time" in said["detail"]
    said = client.post(URL, json={"data": data[1:2], "file": "x"}).json()
    assert said["detail"].endswith("the members are data, fileId")
    assert "the members" not in client.post(URL, json={"data": []}).json()["detail"]


def test_without_any_model_the_rules_speak(client: TestClient) -> None:
    events = [scan(0), scan(1, epc_code="999.nonsense"), {**scan(2), "eventId": "other"}]
    del events[2]["event_id"]
    answer = client.post(URL, json={"data": events, "fileId": "f-1"})
    assert answer.status_code == 200
    said = answer.json()
    assert set(said) == {
        *("fileId", "EventHistory", "epcAnomalyStats", "fileAnomalyStats", "mlSummaryStats"),
        *("blindRules", "leftOut", "silentDetectors"),
    }
    assert said["fileId"] == "f-1"
    assert {frozenset(one) for one in said["EventHistory"]} == {frozenset(EVENT)}
    assert set(said["fileAnomalyStats"]) == COUNTS
    assert set(said["epcAnomalyStats"][0]) == COUNTS | {"epcCode"}
    by_id = {one["eventId"]: one for one in said["EventHistory"]}
    assert set(by_id) == {"e0", "e1", "other"}
    assert by_id["e1"]["epcFake"]
    assert by_id["e1"]["lstmSequenceScore"] is None
    assert answer.headers["X-Model-Version"] == "rules"


def test_rules_that_are_slow_only_at_first_are_not_left_out(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where their kernels have still to be compiled."""
    judged = RulesModel.score
    calls: list[int] = []

    def slow_at_first(*args: Any, **more: Any) -> pl.DataFrame:
        calls.append(1)
        if len(calls) == 1:
            time.sleep(2.0)
        return judged(*args, **more)

    monkeypatch.setattr(RulesModel, "score", slow_at_first)
    events = [scan(0), scan(1, epc_code="999.nonsense")]
    served = ServedScans(BARCODE)
    limits = {"rules": 1.5, "lstm": 1.5, "svm": 1.5}
    (scored,) = scan_detection.judge_scans(
        platform, served, events, Detection(), now=dt.datetime.now(dt.UTC), limits=limits
    )
    assert len(calls) == 2
    assert sorted(scored["epcFake_score"].to_list()) == [0.0, 100.0]


def test_scans_that_cannot_be_used_are_put_aside(client: TestClient, platform: Platform) -> None:
    events = [
        scan(0),
        scan(1, epc_code=None),
        scan(2, event_time="never"),
        scan(3, event_time=None),
        scan(4, location_id=None, business_step=None, event_type=None),
        scan(0),
        scan(6, event_time="2999-01-01 00:00:00"),
    ]
    for _ in range(2):
        answer = client.post(URL, json={"data": events})
        assert answer.status_code == 200
        assert answer.headers["X-Quarantined"] == "4"
        assert answer.headers["X-Duplicates"] == "1"
        assert [one["eventId"] for one in answer.json()["EventHistory"]] == ["e0", "e4"]
    assert count(platform.warehouse, "quarantine", "stream = 'barcode' AND stage = 'online'") == 4
    assert platform.account_of(BARCODE).missing == 0
    many = [scan(0), *(scan(n, event_time=f"never {n}") for n in range(300))]
    assert client.post(URL, json={"data": many}).headers["X-Quarantined"] == "300"
    assert (
        count(platform.warehouse, "quarantine", "stream = 'barcode' AND stage = 'online'")
        == 4 + 100
    )
    nothing = client.post(URL, json={"data": events[1:3]})
    assert nothing.status_code == 422
    assert nothing.json()["errors"][0]["location"] == "body.data.0.epc_code"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"data": []},
        {"data": [{"epc": "x"}]},
        {"data": [scan(0, event_time={"a": 1})]},
        {"data": [scan()], "more": 1},
        [],
    ],
)
def test_what_is_no_request_is_refused(client: TestClient, body: Any) -> None:
    assert client.post(URL, json=body).status_code == 422


def test_a_request_is_judged_as_the_batch_judges(
    service: TestClient, trained: Platform, network: SupplyNetworkData
) -> None:
    """Whole histories: nothing that the batch knew of these codes is missing."""
    codes = network.scans["epc_code"].unique(maintain_order=True)[:60]
    scans = network.scans.filter(pl.col("epc_code").is_in(codes.implode()))
    answer = service.post(URL, json={"data": sent(scans)})
    assert answer.status_code == 200
    assert int(answer.headers["X-Model-Version"]) >= 1
    assert "X-Left-Out" not in answer.headers
    columns = ("event_id", "lstm_score", "svm_score")
    days = [state.day for state in trained.state_of(SMALL_SCANS).days]
    scores = trained.warehouse.scan_scores
    batch = pl.concat([scores.read_day("barcode", day, columns) for day in days])
    known = {row["event_id"]: row for row in batch.iter_rows(named=True)}
    # Of the other codes of their lots a day knows more than a request that does not have them.
    partitions = trained.warehouse.partitions
    stages = [partitions.get("barcode", "features", f"{day}") for day in days]
    names = list(READ_FEATURES)
    read = [trained.lake.read(stage.path, columns=names) for stage in stages if stage]
    version = trained.warehouse.bundles.champions(SMALL_SCANS.name)[SMALL_SCANS.scored_by]
    models = read_serving(trained.kind(SMALL_SCANS).parts, version)
    own = in_order(pl.concat(read).filter(pl.col("epc_code").is_in(codes.implode())))
    newest = own.select(pl.col("event_time").max()).item()
    judged = models.score(own, until=newest, threshold=trained.threshold_of(SMALL_SCANS))
    fused = dict(judged.select("event_id", "final_confidence").iter_rows())
    history = answer.json()["EventHistory"]
    assert len(history) == int(answer.json()["fileAnomalyStats"]["totalEvents"])
    for one in history:
        row = known[one["eventId"]]
        assert one["lstmSequenceScore"] == round(row["lstm_score"], 2)
        assert one["svmOutlierScore"] == round(row["svm_score"], 2)
        assert one["finalConfidence"] == round(fused[one["eventId"]], 2)


def test_the_last_scan_of_a_code_is_judged_with_the_earlier_ones(
    service: TestClient, network: SupplyNetworkData
) -> None:
    code = network.scans.group_by("epc_code", maintain_order=True).len().row(3)[0]
    scans = network.scans.filter(pl.col("epc_code") == code).sort("event_time", "event_id")
    whole = service.post(URL, json={"data": sent(scans)}).json()["EventHistory"]
    alone = service.post(URL, json={"data": sent(scans.tail(1))}).json()["EventHistory"]
    (last,) = alone
    assert last == next(one for one in whole if one["eventId"] == last["eventId"])


def test_large_requests_go_in_chunks_of_whole_codes(
    service: TestClient, network: SupplyNetworkData, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"data": sent(network.scans.head(600))}
    whole = service.post(URL, json=body)
    monkeypatch.setattr(scan_detection, "CHUNK", 50)
    assert service.post(URL, json=body).json() == whole.json()


@pytest.mark.parametrize("manner", ["fails", "is late"])
def test_a_detector_in_trouble_is_left_out(
    service: TestClient,
    trained: Platform,
    network: SupplyNetworkData,
    monkeypatch: pytest.MonkeyPatch,
    manner: str,
) -> None:
    def trouble(self: object, scans: pl.DataFrame) -> None:
        if manner == "fails":
            raise RuntimeError("no luck today")
        time.sleep(1.0)

    monkeypatch.setattr(CalibratedSequence, "judge", trouble)
    hurried = trained.settings.model_copy(update={"scan_time_limits": "rules=30,lstm=0.1,svm=30"})
    monkeypatch.setattr(trained, "settings", hurried)
    answer = service.post(URL, json={"data": sent(network.scans.head(40))})
    assert answer.status_code == 200
    assert answer.headers["X-Left-Out"] == "lstm"
    scores = [one["svmOutlierScore"] for one in answer.json()["EventHistory"]]
    assert None not in scores
    assert {one["lstmSequenceScore"] for one in answer.json()["EventHistory"]} == {None}


def test_the_answer_is_json_of_the_documented_form(
    service: TestClient, network: SupplyNetworkData
) -> None:
    from anomaly_platform.ml.scans.response import BarcodeResponse

    answer = service.post(URL, json={"data": sent(network.scans.head(200))})
    said = BarcodeResponse.model_validate_json(answer.content)
    assert json.loads(said.model_dump_json(by_alias=True)) == answer.json()
    assert said.ml_summary_stats.average_confidence >= 0.0
