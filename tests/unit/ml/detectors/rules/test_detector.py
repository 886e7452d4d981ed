"""The barcode rules: each kind by example, who is charged, and verdicts that depend on no batch."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from anomaly_platform.ml.detectors.rules.detector import (
    FIRES_AT,
    RULE_COLUMNS,
    RULE_KINDS,
    RuleParameters,
    RulesModel,
)
from anomaly_platform.ml.detectors.rules.routes import RouteStatistics
from anomaly_platform.ml.features.scans.definition import ScanFeatureSet
from anomaly_platform.ml.features.scans.online import ScanState, with_history
from anomaly_platform.ml.features.scans.reference import ScanReference
from tests.builders.scans import EPC, SCHEMA, Scan, scans_of

START = datetime(2025, 3, 3, tzinfo=UTC)

TYPES = {"F": "Factory", "M": "WMS", "H": "HUB", "W": "Wholesaler", "R": "Retailer"}
HIERARCHY = {"F": 0, "M": 1, "H": 1, "W": 2, "R": 3}
REFERENCE = ScanReference(
    locations=pl.DataFrame(
        [
            (
                *(f"{letter}{i}", f"{kind} {i}", 36.0 + i, 127.0 + 0.1 * HIERARCHY[letter]),
                *(kind, HIERARCHY[letter]),
            )
            for letter, kind in TYPES.items()
            for i in (1, 2)
        ],
        schema=[
            *("location_id", "scan_location", "latitude", "longitude"),
            *("location_type", "location_hierarchy"),
        ],
        orient="row",
    ),
    companies=pl.DataFrame({"company": ["8804823"]}),
    tier_moves=pl.DataFrame(
        [
            *(("Factory", "WMS", "forward"), ("WMS", "HUB", "forward")),
            *(("HUB", "Wholesaler", "forward"), ("Wholesaler", "Retailer", "forward")),
            ("Retailer", "Wholesaler", "return"),
        ],
        schema=["from_type", "to_type", "flow"],
        orient="row",
    ),
    steps=pl.DataFrame(
        {
            "event_prefix": ["Aggregation", "WMS", "HUB", "W_Stock", "R_Stock"],
            "location_type": list(TYPES.values()),
            "business_step": ["Factory", "WMS", "Logistics_HUB", "W_Stock", "R_Stock"],
        }
    ),
    vehicles=pl.DataFrame({"vehicle": ["truck"], "max_speed_kmh": [90.0]}),
)
ROUTES = RouteStatistics(
    pl.DataFrame(
        {
            "from_place": ["H1", "W1"],
            "to_place": ["W1", "R1"],
            "trips": [50, 50],
            "log_hours": [float(np.log(4.0))] * 2,
            "spread": [0.1, 0.1],
        }
    )
)
MODEL = RulesModel(REFERENCE, ROUTES)
JOURNEY: list[Scan] = [
    (0, "F1", "Aggregation"),
    (4, "M1", "WMS_Inbound"),
    (20, "M1", "WMS_Outbound"),
    (25, "H1", "HUB_Inbound"),
    (30, "H1", "HUB_Outbound"),
    (34, "W1", "W_Stock_Inbound"),
    (60, "W1", "W_Stock_Outbound"),
    (64, "R1", "R_Stock_Inbound"),
    (90, "R1", "POS_Sell"),
]


def scans(rows: list[Scan], epc: str = EPC) -> pl.DataFrame:
    return scans_of(*sorted(rows, key=lambda row: row[0]), epc=epc, start=START)


def fired(rows: list[Scan], model: RulesModel = MODEL) -> dict[int, set[str]]:
    """Which rules fire on which scan."""
    verdicts = model.score(scans(rows))
    found: dict[int, set[str]] = {}
    for kind in RULE_KINDS:
        scores, reasons = verdicts[f"{kind}_score"], verdicts[f"{kind}_reason"]
        assert scores.is_between(0, 100).all()
        assert (reasons.is_not_null() == (scores >= FIRES_AT)).all()
        for row in (scores >= FIRES_AT).arg_true():
            found.setdefault(row, set()).add(kind)
    return found


def changed(index: int, *replacement: Scan) -> list[Scan]:
    return [*JOURNEY[:index], *replacement, *JOURNEY[index + 1 :]]


def test_an_ordinary_journey_is_in_order() -> None:
    assert fired(JOURNEY) == {}


@pytest.mark.parametrize(
    ("epc", "says"),
    [
        ("001.8804823.0000003.000001.20241201.00000001", "structure"),
        ("nonsense", "structure"),
        ("002.8804823.0000003.000001.20241201.000000001", "header 002"),
        ("001.8804824.0000003.000001.20241201.000000001", "company 8804824"),
        ("001.8804823.0000003.000001.20241301.000000001", "no date"),
        ("001.8804823.0000003.000001.20250306.000000001", "after the scan"),
        ("001.8804823.0000003.000001.20190101.000000001", "days before the scan"),
    ],
)
def test_fake_codes(epc: str, says: str) -> None:
    verdict = MODEL.score(scans(JOURNEY[:1], epc)).row(0, named=True)
    assert verdict["epcFake_score"] >= FIRES_AT
    assert says in verdict["epcFake_reason"]


@pytest.mark.parametrize(
    "epc",
    [
        "urn:epc:id:sgtin:8804823.000003.1",
        "https://id.gs1.org/01/08804823000033/21/1",
        "0108804823000033211\x1d10A",
    ],
)
def test_a_genuine_code_of_another_scheme_is_not_fake(epc: str) -> None:
    assert MODEL.score(scans(JOURNEY, epc))["epcFake_score"].to_list() == [0.0] * len(JOURNEY)


def test_a_code_may_be_wrong_in_several_ways_and_a_new_one_is_fine() -> None:
    verdict = MODEL.score(scans(JOURNEY[:1], "002.0000000.0000003.000001.20250304.000000001"))
    assert verdict["epcFake_reason"][0].count(";") == 1
    today = scans(JOURNEY[:1], "001.8804823.0000003.000001.20250304.000000001")
    assert MODEL.score(today)["epcFake_score"].to_list() == [0.0]


def test_a_copied_code_is_charged_to_the_later_scan_only() -> None:
    copy: Scan = (34, "W2", "W_Stock_Inbound")
    assert fired([*JOURNEY[:6], copy, *JOURNEY[6:]]) == {6: {"epcDup"}}


def test_it_does_not_matter_to_later_scans_which_of_two_twins_was_real() -> None:
    copy: Scan = (34, "W2", "W_Stock_Inbound")
    found = fired([*JOURNEY[:5], copy, *JOURNEY[5:]])
    assert found[6] == {"epcDup"}
    assert set(found) <= {5, 6}


def test_the_same_place_read_twice_in_a_second_is_no_copy() -> None:
    assert fired([*JOURNEY[:6], JOURNEY[5], *JOURNEY[6:]]) == {}


@pytest.mark.parametrize("way", ["W_Stock_Inbound", None])
def test_a_second_reading_within_a_minute_is_no_event(way: str | None) -> None:
    again: Scan = (34 + 20 / 3600, "W1", way)
    assert fired([*JOURNEY[:6], again, *JOURNEY[6:]]) == {}


@pytest.mark.parametrize(
    ("rows", "expected", "says"),
    [
        (changed(5, (34, "X9", "W_Stock_Inbound")), {5: {"locErr"}}, "not a known place"),
        (changed(5, (34, "F1", "W_Stock_Inbound")), {5: {"locErr"}}, "against the hierarchy"),
        (changed(5, (34, "W1", "R_Stock_Inbound")), {5: {"locErr"}}, "does not belong at"),
        (
            [*JOURNEY[:7], (66, "H1", "HUB_Inbound"), (69, "H1", "HUB_Outbound")],
            {7: {"locErr"}},
            "against the hierarchy",
        ),
        (
            [*JOURNEY[:7], (66, "W2", "W_Stock_Inbound"), (69, "W2", "W_Stock_Outbound")],
            {7: {"locErr"}},
            "same tier",
        ),
        ([JOURNEY[0], *JOURNEY[3:]], {1: {"locErr"}}, "past a tier"),
    ],
)
def test_wrong_places(rows: list[Scan], expected: dict[int, set[str]], says: str) -> None:
    assert fired(rows) == expected
    (row,) = expected
    assert says in MODEL.score(scans(rows))["locErr_reason"][row]


def test_declared_returns_may_go_back_and_others_may_not() -> None:
    back: list[Scan] = [
        *JOURNEY[:8],
        (80, "R1", "R_Stock_Outbound", "Returns"),
        (85, "W1", "W_Stock_Inbound", "Returns"),
    ]
    assert fired(back) == {}
    undeclared: list[Scan] = [*JOURNEY[:8], (80, "R1", "R_Stock_Outbound", "R_Stock")]
    undeclared.append((85, "W1", "W_Stock_Inbound", "W_Stock"))
    assert fired(undeclared) == {9: {"locErr"}}


@pytest.mark.parametrize(
    ("rows", "expected", "says"),
    [
        (JOURNEY[:3] + JOURNEY[4:], {3: {"evtOrderErr"}}, "outbound without an inbound"),
        (JOURNEY[:4] + JOURNEY[5:], {4: {"evtOrderErr"}}, "inbound without the outbound"),
        (
            [*JOURNEY[:6], (40, "W1", "W_Stock_Inbound"), *JOURNEY[6:]],
            {6: {"evtOrderErr"}},
            "inbound again",
        ),
        (
            [*JOURNEY[:7], (61, "W1", "W_Stock_Outbound"), (65, "R1", "R_Stock_Inbound")],
            {7: {"evtOrderErr"}},
            "outbound again",
        ),
        ([*JOURNEY, (95, "R1", "R_Stock_Inbound")], {9: {"evtOrderErr"}}, "after the sale"),
        (
            [*JOURNEY[:3], (22, "F1", "Aggregation"), *JOURNEY[3:]],
            {3: {"evtOrderErr", "locErr"}},
            "later",
        ),
    ],
)
def test_wrong_order(rows: list[Scan], expected: dict[int, set[str]], says: str) -> None:
    assert fired(rows) == expected
    (row,) = expected
    assert says in MODEL.score(scans(rows))["evtOrderErr_reason"][row]


def test_swapped_scans_are_both_charged_and_nothing_after_them() -> None:
    swapped = [*JOURNEY[:3], (25, "H1", "HUB_Outbound"), (30, "H1", "HUB_Inbound"), *JOURNEY[5:]]
    assert fired(swapped) == {3: {"evtOrderErr"}, 4: {"evtOrderErr"}}  # type: ignore[arg-type]


def test_unknown_words_are_no_error() -> None:
    assert fired(changed(4, (30, "H1", "Inspection"))) == {}
    assert fired(changed(4, (30, "H1", None))) == {}


@pytest.mark.parametrize(
    ("hours", "says"),
    [(0.5, "km/h"), (1.8, "this route takes 4.0 h"), (12.0, "this route takes 4.0 h")],
)
def test_jumps(hours: float, says: str) -> None:
    late = [(t + hours - 4.0 if t >= 34 else t, *rest) for t, *rest in JOURNEY]
    if hours == 0.5:
        late = [(t, "W2" if p == "W1" else p, e) for t, p, e in late][:7]
    assert fired(late) == {5: {"jump"}}  # type: ignore[arg-type]
    assert says in MODEL.score(scans(late))["jump_reason"][5]  # type: ignore[arg-type]


def test_a_little_late_is_watched_and_does_not_fire() -> None:
    late = [(t + 2.5 if t >= 34 else t, *rest) for t, *rest in JOURNEY]
    verdict = MODEL.score(scans(late))["jump_score"][5]  # type: ignore[arg-type]
    assert 0 < verdict < FIRES_AT


def test_the_scan_of_a_copy_far_away_is_charged_and_the_real_arrival_is_not() -> None:
    ghost: Scan = (60.2, "R2", "R_Stock_Inbound")
    assert fired([*JOURNEY[:7], ghost, *JOURNEY[7:]]) == {7: {"jump"}}


def test_several_rules_may_fire_on_one_scan() -> None:
    rows: list[Scan] = [*JOURNEY[:4], (27.0, "W2", "W_Stock_Inbound")]
    found = MODEL.score(scans(rows, "002" + EPC[3:])).row(4, named=True)
    kinds = {kind for kind in RULE_KINDS if found[f"{kind}_score"] >= FIRES_AT}
    assert kinds == {"epcFake", "evtOrderErr"}


def test_without_reference_only_what_needs_none_fires() -> None:
    model = RulesModel(ScanReference(), RouteStatistics.empty())
    assert fired(changed(5, (34, "F1", "W_Stock_Inbound")), model) == {}
    assert fired(JOURNEY[:3] + JOURNEY[4:], model) == {3: {"evtOrderErr"}}
    assert model.score(scans([])).columns[-len(RULE_COLUMNS) :] == list(RULE_COLUMNS)


@pytest.mark.parametrize(
    "wrong", [{"jump_z": 0.0}, {"jump_ratio": 1.0}, {"score_against": 20.0}, {"min_trips": 1}]
)
def test_senseless_parameters_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        RuleParameters(**wrong)  # type: ignore[arg-type]


def test_parameters_of_another_version_are_refused() -> None:
    with pytest.raises(ValueError, match="mood"):
        RuleParameters.from_json('{"mood": 1}')


EVENTS = st.lists(
    st.tuples(
        st.sampled_from([EPC, "002" + EPC[3:]]),
        st.one_of(st.integers(0, 40 * 96), st.integers(0, 30)),
        st.sampled_from(["F1", "M1", "H1", "W1", "W2", "R1", "X9", None]),
        st.sampled_from(
            [
                *("Aggregation", "WMS_Outbound", "HUB_Inbound", "HUB_Outbound", "W_Stock_Inbound"),
                *("Inbound", "Outbound", "POS_Sell", "Inspection", None),
            ]
        ),
        st.sampled_from(["Returns", "W_Stock", None]),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=30, deadline=None)
@given(events=EVENTS, seed=st.integers(0, 9))
def test_one_batch_day_by_day_shuffled_and_online_agree(
    events: list[tuple[str, int, str | None, str | None, str | None]], seed: int
) -> None:
    frame = pl.DataFrame(
        [
            (epc, f"e{i:03d}", START + timedelta(minutes=15 * quarter), place, step, event)
            for i, (epc, quarter, place, event, step) in enumerate(events)
        ],
        schema=SCHEMA,
        orient="row",
    )
    key = ["entity", "event_time", "event_id"]
    frame = frame.sort(key)
    batch = MODEL.score(frame)
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=seed)
    assert_frame_equal(MODEL.score(shuffled).sort(key), batch)

    lookback = timedelta(days=ScanFeatureSet().lookback_days)
    days = [
        MODEL.score(
            shuffled.filter(
                pl.col("event_time").is_between(
                    day - lookback, day + timedelta(days=1), closed="left"
                )
            ),
            since=day,
        )
        for day in frame["event_time"].dt.truncate("1d").unique()
    ]
    assert_frame_equal(pl.concat(days).sort(key), batch)

    states: dict[str, ScanState] = {}
    online = []
    for event in frame.iter_slices(1):
        epc = event["entity"][0]
        verdict = MODEL.score(with_history(states, event)).filter(~pl.col("is_lookback"))
        online.append(verdict.drop("is_lookback").select(batch.columns))
        states[epc] = states.get(epc, ScanState()).with_scans(event)
    assert_frame_equal(pl.concat(online), batch)
