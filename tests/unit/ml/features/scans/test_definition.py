"""Scan features: causal, the same in one batch, day by day, shuffled, and one at a time."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from anomaly_platform.ml.features.scans.definition import ScanFeatureSet
from anomaly_platform.ml.features.scans.online import ScanState, extend, step
from tests.builders.scans import EPC, SCHEMA, START, scans_of

FEATURES = ScanFeatureSet()
OTHER = "001.8804823.0000003.000001.20241201.000000002"


def test_a_journey() -> None:
    features = FEATURES.compute(
        scans_of((9, "F1", "Aggregation"), (14.5, "W1", "WMS_Inbound"), (40, "W1", "WMS_Outbound"))
    )
    assert features["sequence_length"].to_list() == [1, 2, 3]
    assert features["current_position"].to_list() == [1, 2, 3]
    assert features["previous_location"].to_list() == [None, "F1", "W1"]
    assert features["previous_event_type"].to_list() == [None, "Aggregation", "WMS_Inbound"]
    assert features["time_since_last_scan"].to_list() == [720.0, 5.5, 25.5]
    assert features["places_so_far"].to_list() == [["F1"], ["F1", "W1"], ["F1", "W1"]]
    assert features["hour"].to_list() == [9, 14, 16]
    assert features["day_of_week"].to_list() == [5, 5, 6]  # 1 March 2025 is a Saturday
    assert features["is_weekend"].to_list() == [True, True, True]
    assert features["is_business_hours"].to_list() == [True, True, True]
    assert features["month"].unique().to_list() == [3]
    assert features["manufacture_age_days"].to_list() == [90.0, 90.0, 91.0]
    assert features["epc_manufacture_date"].unique().to_list() == [date(2024, 12, 1)]


def test_the_time_zone_moves_the_hours_of_the_day() -> None:
    features = ScanFeatureSet(time_zone="Asia/Seoul").compute(scans_of((20, "F1", "Aggregation")))
    assert features.select("hour", "day_of_week").row(0) == (5, 6)


@pytest.mark.parametrize(
    ("before", "missing", "place"),
    [
        ([("A", "WMS_Inbound")], "WMS_Outbound", "A"),
        ([("A", "Inbound")], "Outbound", "A"),
        ([("A", "R_Stock_Outbound")], "POS_Sell", "A"),
        ([("A", "WMS_Inbound")], None, "A"),
        ([("A", "WMS_Inbound"), (None, "WMS_Outbound")], "HUB_Inbound", None),
        ([("A", "WMS_Outbound")], "HUB_Inbound", None),
        ([("A", "WMS_Outbound"), (None, "HUB_Inbound")], "HUB_Outbound", None),
        ([("A", "Outbound")], None, None),
        ([], "WMS_Outbound", None),
    ],
)
def test_a_missing_place_is_inferred_from_the_sequence(
    before: list[tuple[str | None, str]], missing: str | None, place: str | None
) -> None:
    rows = [(float(i), *scan) for i, scan in enumerate([*before, (None, missing)])]
    last = FEATURES.compute(scans_of(*rows)).row(-1, named=True)
    assert last["place"] == place
    assert last["location_interpolated"] == (place is not None)


def test_a_missing_event_type_is_unknown_and_flagged() -> None:
    features = FEATURES.compute(scans_of((0, "A", None), (1, "A", "WMS_Outbound")))
    assert features["event"].to_list() == ["Unknown", "WMS_Outbound"]
    assert features["event_type_missing"].to_list() == [True, False]
    assert features["previous_event_type"].to_list() == [None, "Unknown"]


@pytest.mark.parametrize(
    ("epc", "malformed", "made"),
    [
        (EPC, False, date(2024, 12, 1)),
        ("001.8804823.0000003.000001.20241301.000000001", False, None),
        ("001.8804823.0000003.000001.2024120.000000001", True, None),
        ("001.8804823.0000003.000001.20241201.00000001", True, date(2024, 12, 1)),
        ("001.8804823.0000003.000001.20241201.000000001.7", True, date(2024, 12, 1)),
        ("nonsense", True, None),
        ("", True, None),
    ],
)
def test_a_malformed_code_is_flagged_and_processed(
    epc: str, malformed: bool, made: date | None
) -> None:
    rows = (0, "A", "WMS_Inbound"), (2, "A", "WMS_Outbound")
    features = FEATURES.compute(scans_of(*rows, epc=epc))
    assert features["epc_malformed"].to_list() == [malformed] * 2
    assert features["epc_manufacture_date"].to_list() == [made] * 2
    assert features["time_since_last_scan"].to_list() == [720.0, 2.0]


def test_history_ends_after_720_hours_and_63_scans() -> None:
    features = FEATURES.compute(scans_of((0, "A", "Inbound"), (720, "B", "Inbound")))
    assert features["sequence_length"].to_list() == [1, 1]
    assert features["previous_location"].to_list() == [None, None]
    many = FEATURES.compute(scans_of(*[(i / 60, "A", "Inbound") for i in range(200)]))
    assert many["sequence_length"].to_list() == [min(i, 64) for i in range(1, 201)]


def test_other_columns_are_kept_and_an_empty_frame_is_fine() -> None:
    frame = scans_of((0, "A", "Inbound")).with_columns(extra=pl.lit(7))
    assert FEATURES.compute(frame)["extra"].to_list() == [7]
    empty = FEATURES.compute(frame.clear())
    assert empty.is_empty()
    assert_frame_equal(empty, FEATURES.compute(frame).clear())


def test_pandas_comes_in_too() -> None:
    frame = scans_of((0, "A", "Inbound"), (1, "A", "Outbound"))
    assert_frame_equal(FEATURES.compute(frame.to_pandas()), FEATURES.compute(frame))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (pl.lit(None, pl.String).alias("event_id"), "must not have nulls"),
        (pl.lit(3).alias("location_id"), "must be String"),
        (pl.lit("today").alias("event_time"), "must be Datetime"),
    ],
)
def test_frames_that_are_not_canonical_are_refused(change: pl.Expr, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FEATURES.compute(scans_of((0, "A", "Inbound")).with_columns(change))
    with pytest.raises(ValueError, match="needs the column"):
        FEATURES.compute(scans_of((0, "A", "Inbound")).drop("event_type"))


def test_the_definition_is_a_cheap_import_and_round_trips() -> None:
    code = "import sys, anomaly_platform.ml.features.scans.definition as s\n"
    code += "s.ScanFeatureSet().version\n"
    code += "sys.exit('polars' in sys.modules or 'numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert ScanFeatureSet.from_definition(FEATURES.definition()) == FEATURES
    with pytest.raises(ValueError, match="train anew"):
        ScanFeatureSet.from_definition({**FEATURES.definition(), "definition": 0})
    assert tuple(FEATURES.schema()) == FEATURES.names
    assert FEATURES.version != ScanFeatureSet(time_zone="Asia/Seoul").version


EVENTS = st.lists(
    st.tuples(
        st.sampled_from([EPC, OTHER]),
        st.integers(0, 50 * 24 * 4),  # quarters of an hour, beyond the look-back
        st.sampled_from(["A", "B", "C", None]),
        st.sampled_from(
            ["Inbound", "Outbound", "HUB_Inbound", "HUB_Outbound", "POS_Sell", "Aggregation", None]
        ),
    ),
    min_size=1,
    max_size=25,
)


def frame_of(events: list[tuple[str, int, str | None, str | None]]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            (epc, f"e{i:03d}", START + timedelta(minutes=15 * quarter), place, None, event)
            for i, (epc, quarter, place, event) in enumerate(events)
        ],
        schema=SCHEMA,
        orient="row",
    )


@settings(max_examples=30, deadline=None)
@given(events=EVENTS, seed=st.integers(0, 9))
def test_batch_day_by_day_shuffled_and_one_at_a_time_agree(
    events: list[tuple[str, int, str | None, str | None]], seed: int
) -> None:
    frame = frame_of(events).sort("entity", "event_time", "event_id")
    batch = FEATURES.compute(frame)
    assert batch.select(frame.columns).equals(frame)

    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=seed)
    key = ["entity", "event_time", "event_id"]
    assert_frame_equal(FEATURES.compute(shuffled).sort(key), batch)

    days = []
    for day in frame["event_time"].dt.truncate("1d").unique():
        reach = pl.col("event_time").is_between(
            day - timedelta(days=FEATURES.lookback_days), day + timedelta(days=1), closed="left"
        )
        days.append(FEATURES.compute(shuffled.filter(reach), since=day))
    assert_frame_equal(pl.concat(days).sort(key), batch)

    states: dict[str, ScanState] = {}
    for event, expected in zip(
        frame.iter_rows(named=True),
        batch.select(FEATURES.names).iter_rows(named=True),
        strict=True,
    ):
        epc = event["entity"]
        features, states[epc] = step(FEATURES, states.get(epc, ScanState()), event)
        assert features == expected


def test_many_events_at_once_equal_one_batch_and_the_state_stays_small() -> None:
    rng = np.random.default_rng(4)
    events = [
        (EPC if rng.random() < 0.7 else OTHER, i, "ABC"[rng.integers(3)], "Inbound")
        for i in range(400)
    ]
    frame = frame_of(events)
    batch = FEATURES.compute(frame)
    states: dict[str, ScanState] = {}
    parts = []
    for chunk in frame.iter_slices(90):
        part, after = extend(FEATURES, states, chunk)
        states |= after
        parts.append(part)
    key = ["entity", "event_time", "event_id"]
    assert_frame_equal(pl.concat(parts).sort(key), batch)
    assert max(len(state.scans) for state in states.values()) <= 64


def test_an_event_that_comes_again_counts_once() -> None:
    frame = frame_of([(EPC, 1, "A", "Inbound"), (EPC, 9, "A", "Outbound")])
    first, states = extend(FEATURES, {}, frame)
    again, after = extend(FEATURES, states, frame)
    assert_frame_equal(first, again)
    assert after == states
