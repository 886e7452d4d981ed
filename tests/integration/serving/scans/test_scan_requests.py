"""What a request of scans finds without models: tiers, codes of other schemes, silence."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console
from starlette.testclient import TestClient

from anomaly_platform.cli.backtest.scans import backtest_scans
from anomaly_platform.ingest.layout.mapping import ColumnMapping
from anomaly_platform.ml.detectors.rules import detector
from anomaly_platform.ml.detectors.rules.detector import RulesModel
from anomaly_platform.platform import Platform
from anomaly_platform.serving.app import create_app
from anomaly_platform.settings import Settings
from anomaly_platform.streams import BARCODE

pytestmark = pytest.mark.integration

URL = "/api/v1/barcode/detect"
RULES = ("epcFake", "epcDup", "locErr", "evtOrderErr", "jump")
Ask = Callable[[list[dict[str, Any]]], dict[str, Any]]


@pytest.fixture(params=["API", "backtest"])
def ask(request: pytest.FixtureRequest, client: TestClient, tmp_path: Path) -> Ask:
    """Put a request to the API, or to `anomaly backtest scans`; the answers have one form."""

    def over_api(events: list[dict[str, Any]]) -> dict[str, Any]:
        answer = client.post(URL, json={"data": events, "fileId": 17})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def by_backtest(events: list[dict[str, Any]]) -> dict[str, Any]:
        file, out = tmp_path / "events.json", tmp_path / "answer.json"
        file.write_text(json.dumps({"fileId": 17, "data": events}))
        quiet = Console(file=io.StringIO())
        nothing: dict[str, Path | None] = dict.fromkeys(("train", "reference", "labels"))
        backtest_scans(file, out, mapping=ColumnMapping(), seed=1, console=quiet, **nothing)
        return dict(json.loads(out.read_text()))

    return over_api if request.param == "API" else by_backtest


def code(serial: int) -> str:
    return f"001.8804823.0000003.000001.20251201.{serial:09d}"


def scan(event: Any, epc: str, step: str, place: str, way: str, hour: int) -> dict[str, Any]:
    return {
        "eventId": event,
        "epc_code": epc,
        "business_step": step,
        "location_id": place,
        "event_type": way,
        "event_time": f"2026-01-05 {hour:02d}:00:00",
    }


def findings(answer: dict[str, Any]) -> dict[Any, set[str]]:
    found = {
        one["eventId"]: {rule for rule in RULES if one[rule]} for one in answer["EventHistory"]
    }
    return {event: rules for event, rules in found.items() if rules}


EIGHT = [
    scan(301, code(1), "Factory", "F1", "Outbound", 8),
    scan(302, code(1), "WMS", "M1", "Inbound", 12),
    scan(303, code(1), "Factory", "F1", "Inbound", 20),
    scan(304, "001.8804823.0000003.000001.20251201", "Factory", "F1", "Outbound", 8),
    scan(305, code(2), "Factory", "F1", "Outbound", 9),
    scan(306, code(2), "Factory", "F2", "Outbound", 9),
    scan(307, code(3), "Factory", "F1", "Outbound", 10),
    scan(308, code(3), "Retailer", "R1", "Inbound", 18),
]


def test_eight_events_without_reference_and_models(ask: Ask) -> None:
    """A short code, one code at two places, a skipped tier, and goods back from the WMS."""
    answer = ask(EIGHT)
    assert {event: rules - {"evtOrderErr"} for event, rules in findings(answer).items()} == {
        303: {"locErr"},
        304: {"epcFake"},
        306: {"epcDup"},
        308: {"locErr"},
    }
    assert answer["fileId"] == 17
    assert {type(one["eventId"]) for one in answer["EventHistory"]} == {int}
    silent = answer["silentDetectors"]
    assert set(silent) == {"lstm", "svm"}
    assert "missing" in silent["svm"]
    assert {"rule", "events", "reason"} == set(answer["blindRules"][0])


@pytest.mark.parametrize("way", ["Inbound", "Aggregation", None])
def test_goods_back_at_the_factory_are_in_a_wrong_place_whatever_happens_there(
    ask: Ask, way: str | None
) -> None:
    back = findings(ask([EIGHT[0], EIGHT[1], {**EIGHT[2], "event_type": way}]))
    assert "locErr" in back[303]
    assert set(back) == {303}


def test_ids_come_back_as_they_came(ask: Ask) -> None:
    events = [{**one, "eventId": id_} for one, id_ in zip(EIGHT, [1, "1", "x", 2.5], strict=False)]
    answer = ask([events[3], events[1], events[0], events[2]])
    by_code = [one["eventId"] for one in answer["EventHistory"]]
    assert sorted(by_code, key=str) == sorted([1, "1", 2.5, "x"], key=str)
    assert {type(one) for one in by_code} == {int, str, float}


def check_digit(digits: str) -> str:
    weighted = sum(int(one) * (3 - 2 * (n % 2)) for n, one in enumerate(reversed(digits)))
    return str(-weighted % 10)


def forms(n: int) -> dict[str, str]:
    """Return one item's code in each scheme."""
    company, product, lot, serial = "8804823", f"{n % 7:05d}", f"{n % 11:06d}", f"{n:09d}"
    gtin = f"1{company}{product[1:]}0"
    gtin += check_digit(gtin)
    return {
        "six parts": f"001.{company}.{n % 7:07d}.{lot}.20251201.{serial}",
        "URN": f"urn:epc:id:sgtin:{company}.1{product}.{serial}",
        "link": f"https://shop.example/goods/01/{gtin}/10/{lot}/21/{serial}?17=271231",
        "elements": f"01{gtin}10{lot}\x1d21{serial}\x1d17271231",
    }


def genuine(form: str, items: int = 100) -> list[dict[str, Any]]:
    steps = (
        ("Factory", "F1", "Outbound", 6),
        ("WMS", "M1", "Inbound", 10),
        ("WMS", "M1", "Outbound", 20),
    )
    return [
        scan(3 * n + m, forms(n)[form], *step) for n in range(items) for m, step in enumerate(steps)
    ]


@pytest.mark.parametrize("form", ["six parts", "URN", "link", "elements"])
def test_300_genuine_scans_are_not_fake_in_any_scheme(ask: Ask, form: str) -> None:
    answer = ask(genuine(form))
    assert answer["fileAnomalyStats"]["totalEvents"] == 300
    assert findings(answer) == {}
    blind = [one for one in answer["blindRules"] if one["reason"].startswith("unknown scheme")]
    assert sum(one["events"] for one in blind) == (0 if form == "six parts" else 300)
    assert {one["rule"] for one in blind} <= {"epcFake"}


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("001.8804823", "001.880482"),
        ("001.", "002."),
        ("20251201", "20251301"),
        ("20251201", "20270101"),
        ("001.8804823", "0018804823"),
    ],
)
def test_what_is_wrong_with_a_six_part_code_is_found(ask: Ask, right: str, wrong: str) -> None:
    events = genuine("six parts", 20)
    events[7]["epc_code"] = events[7]["epc_code"].replace(right, wrong, 1)
    assert findings(ask(events)).get(7, set()) >= {"epcFake"}
    assert {event for event, rules in findings(ask(events)).items() if "epcFake" in rules} == {7}


@pytest.mark.parametrize("epc", ["urn:epc:id:sgtin:abc", "https://example.com/01/12", "(01)123"])
def test_what_only_looks_like_another_scheme_is_fake(ask: Ask, epc: str) -> None:
    assert findings(ask([{**EIGHT[0], "epc_code": epc}])) == {301: {"epcFake"}}


PLACES = (
    "location_id,location_type,location_hierarchy\n"
    "F1,Factory,0\nM1,WMS,1\nH1,HUB,1\nW1,Wholesaler,2\nR1,Retailer,3\n"
)


@pytest.fixture
def referenced(platform: Platform, client: TestClient) -> TestClient:
    """The application, with a reference of places under its owner's own name and of companies."""
    folder = platform.reference_folder(BARCODE)
    folder.mkdir(parents=True)
    (folder / "location_id_withGeospatial.csv").write_text(PLACES)
    (folder / "companies.csv").write_text("company\n8804823\n")
    return client


def asked(client: TestClient, events: list[dict[str, Any]]) -> dict[str, Any]:
    answer = client.post(URL, json={"data": events})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def without_steps(*journey: tuple[str, str]) -> list[dict[str, Any]]:
    return [
        {**scan(n, code(1), "", place, way, 2 + 5 * n), "business_step": None}
        for n, (place, way) in enumerate(journey)
    ]


def test_places_with_type_and_hierarchy_are_enough(referenced: TestClient) -> None:
    back = without_steps(("M1", "Outbound"), ("F1", "Inbound"))
    skipped = without_steps(("F1", "Outbound"), ("R1", "Inbound"))
    ordinary = without_steps(("F1", "Outbound"), ("M1", "Inbound"), ("M1", "Outbound"))
    assert findings(asked(referenced, back)) == {1: {"locErr"}}
    assert findings(asked(referenced, skipped)) == {1: {"locErr"}}
    answer = asked(referenced, ordinary)
    assert findings(answer) == {}
    assert {one["business_step_inferred"] for one in answer["EventHistory"]} == {True}
    company = [{**EIGHT[0], "epc_code": EIGHT[0]["epc_code"].replace("8804823", "8804824")}]
    assert findings(asked(referenced, company)) == {301: {"epcFake"}}


def test_a_network_that_nobody_knows_is_said_once(referenced: TestClient) -> None:
    strange = [{**one, "location_id": f"X{one['location_id']}"} for one in genuine("six parts", 30)]
    answer = asked(referenced, strange)
    assert findings(answer) == {}
    (said,) = [one for one in answer["blindRules"] if one["rule"] == "locErr"]
    assert said == {"rule": "locErr", "events": 90, "reason": "no place of this request is known"}
    half = without_steps(("F1", "Outbound"), ("X9", "Inbound"))
    known = asked(referenced, half)
    assert findings(known) == {1: {"locErr"}}
    assert "locErr" not in known["EventHistory"][1]["blindRules"], "a rule that fires saw enough"
    less = [*half, {**half[1], "eventId": 7, "location_id": "X8", "epc_code": code(2)}]
    assert findings(asked(referenced, less)) == {}


def test_flags_of_what_was_missing_are_in_the_answer(referenced: TestClient) -> None:
    events = without_steps(("F1", "Outbound"), ("M1", "Inbound"), ("M1", "Outbound"))
    events[2] |= {"location_id": None, "event_type": None}
    late = {**events[1], "epc_code": code(2), "eventId": "late"}
    answer = {one["eventId"]: one for one in asked(referenced, [*events, late])["EventHistory"]}
    assert answer[2]["location_interpolated"]
    assert answer[2]["event_type_missing"]
    assert not answer[0]["location_interpolated"]
    assert [answer[n]["partial_sequence"] for n in (0, 1, 2, "late")] == [False, False, False, True]
    assert "evtOrderErr" in answer[2]["blindRules"]


@pytest.mark.parametrize(("part", "left_out"), [("check_codes", "epcFake"), ("score", "rules")])
def test_a_rule_that_raises_is_left_out_and_named(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, part: str, left_out: str
) -> None:
    def trouble(*_: object, **__: object) -> None:
        raise RuntimeError("no luck today")

    monkeypatch.setattr(detector if part == "check_codes" else RulesModel, part, trouble)
    answer = client.post(URL, json={"data": EIGHT})
    assert answer.status_code == 200
    assert answer.headers["X-Left-Out"] == left_out
    assert answer.json()["leftOut"] == {left_out: "failed: no luck today"}
    assert {one["epcFakeScore"] for one in answer.json()["EventHistory"]} == {None}
    assert bool(findings(answer.json())) == (part == "check_codes")
    monkeypatch.undo()
    assert 304 in findings(client.post(URL, json={"data": EIGHT}).json())


@pytest.fixture
def hurried(settings: Settings) -> Iterator[TestClient]:
    """An application whose rules have a tenth of a second."""
    quick = settings.model_copy(update={"scan_time_limits": "rules=0.1"})
    with closing(Platform(quick)) as platform:
        _, key = platform.warehouse.api_keys.create("test", ("ml:read",), created_by="test")
        with TestClient(create_app(platform), raise_server_exceptions=False) as opened:
            opened.headers["Authorization"] = f"Bearer {key}"
            yield opened


def test_rules_that_are_late_are_left_out_by_the_limit_of_the_settings(
    hurried: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = RulesModel.score

    def late(*args: Any, **more: Any) -> pl.DataFrame:
        time.sleep(1.0)
        return judged(*args, **more)

    monkeypatch.setattr(RulesModel, "score", late)
    answer = hurried.post(URL, json={"data": EIGHT})
    assert answer.headers["X-Left-Out"] == "rules"
    assert answer.json()["leftOut"] == {"rules": "not ready within 0.1 s"}
    assert {one["severity"] for one in answer.json()["EventHistory"]} == {"NONE"}
    assert {one["finalConfidence"] for one in answer.json()["EventHistory"]} == {None}


def test_the_same_request_again_is_answered_from_memory(
    referenced: TestClient, platform: Platform
) -> None:
    first = referenced.post(URL, json={"data": EIGHT})
    again = referenced.post(URL, json={"data": EIGHT})
    assert "X-Cache" not in first.headers
    assert again.headers["X-Cache"] == "hit"
    assert again.json() == first.json()
    other = [{**EIGHT[0], "eventId": "301"}, *EIGHT[1:]]
    assert "X-Cache" not in referenced.post(URL, json={"data": other}).headers
    (platform.reference_folder(BARCODE) / "companies.csv").write_text("company\n1234567\n")
    assert "X-Cache" not in referenced.post(URL, json={"data": EIGHT}).headers
    bad = [*EIGHT, {**EIGHT[0], "event_time": "2999-01-01 00:00:00"}]
    for _ in range(2):
        assert "X-Cache" not in referenced.post(URL, json={"data": bad}).headers
