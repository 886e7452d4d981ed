"""What is ordinary for goods, learned from a small network of two products."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_platform.ml.detectors.scan_habits.company import Companions
from anomaly_platform.ml.detectors.scan_habits.detector import ScanHabits
from anomaly_platform.ml.detectors.scan_habits.steps import Words, steps_of
from anomaly_platform.ml.features.scans.definition import ScanFeatureSet
from anomaly_platform.ml.features.scans.names import MAX_HISTORY
from tests.builders.scans import SCHEMA, START

LOTS, UNITS = 240, 4


def journey(
    code: str, begin: float, shop: str, stay: float, road: float = 3.0
) -> list[tuple[object, ...]]:
    moments = (
        *((0.0, "F", "Aggregation"), (5.0, "H", "HUB_Inbound")),
        *((5.0 + stay, "H", "HUB_Outbound"), (5.0 + stay + road, shop, "W_Stock_Inbound")),
    )
    return [
        (code, f"{code}-{n}", START + timedelta(hours=begin + hours), place, None, event)
        for n, (hours, place, event) in enumerate(moments)
    ]


def code(product: int, lot: int, unit: int) -> str:
    return f"001.8804823.{product:07d}.{lot:06d}.20241201.{unit:09d}"


def frame(rows: list[tuple[object, ...]]) -> pl.DataFrame:
    scans = pl.DataFrame(rows, schema=SCHEMA, orient="row").with_columns(epc_code="entity")
    return ScanFeatureSet().compute(scans)


def training(units: int = UNITS) -> list[tuple[object, ...]]:
    """Product 1 stays 4 h and goes to A or B, product 2 stays 12 h and goes to B or C."""
    rng = np.random.default_rng(0)
    rows: list[tuple[object, ...]] = []
    for lot in range(LOTS):
        product = 1 + lot % 2
        shop = "ABC"[product - 1 + int(rng.integers(2))]
        stay = (4.0, 12.0)[product - 1] * float(np.exp(rng.normal(0.0, 0.2)))
        for unit in range(units):
            rows += journey(code(product, lot, unit), 3.7 * lot, shop, stay)
    return rows


@pytest.fixture(scope="module")
def habits() -> ScanHabits:
    return ScanHabits.fit(frame(training()))[0]


def judged(habits: ScanHabits, rows: list[tuple[object, ...]]) -> tuple[np.ndarray, list[str]]:
    scans = frame(rows)
    verdicts = habits.judge(scans)
    return verdicts.p_values, [verdicts.explain(row, {}) for row in range(scans.height)]


def test_a_stay_is_judged_by_its_product_in_both_directions(habits: ScanHabits) -> None:
    usual, _ = judged(habits, journey(code(2, 900, 1), 900.0, "B", 12.0))
    assert usual.min() > 0.02
    for hours in (1.5, 60.0):
        p, words = judged(habits, journey(code(2, 900, 1), 900.0, "B", hours))
        assert p[2] < 0.01
        assert words[2].startswith(f"{hours:.1f} h at H" if hours < 10 else "60 h at H")
        assert "usual" in words[2]


def test_a_route_that_only_other_products_take_is_closed_to_a_product(habits: ScanHabits) -> None:
    p, words = judged(habits, journey(code(1, 901, 1), 900.0, "C", 4.0))
    assert p[3] < 0.01
    assert words[3].startswith("H to C: 0 of ")
    usual, _ = judged(habits, journey(code(1, 901, 1), 900.0, "B", 4.0))
    assert usual.min() > 0.02


def test_evidence_for_another_product_gathers_over_the_scans_of_a_code(habits: ScanHabits) -> None:
    scans = frame(journey(code(1, 902, 1), 900.0, "C", 12.0))
    parts = habits.judge(scans).parts
    alone = habits.judge(frame(journey(code(1, 902, 1), 900.0, "C", 4.0))).parts
    assert parts[3, 2] > alone[3, 2]


def test_other_codes_and_what_lies_beyond_the_look_back_change_no_bit(habits: ScanHabits) -> None:
    old = journey(code(1, 903, 1), 0.0, "A", 4.0)
    new = journey(code(1, 903, 1), 1000.0, "C", 12.0)
    other = journey(code(2, 904, 1), 1000.0, "B", 12.0)
    apart, _ = judged(habits, new)
    together, _ = judged(habits, other + new + old)
    np.testing.assert_array_equal(together[4:8], apart)


def test_stored_and_read_again_it_says_the_same_bits(habits: ScanHabits) -> None:
    rows = journey(code(1, 905, 1), 900.0, "C", 30.0)
    again = ScanHabits.from_arrays(habits.to_arrays())
    for one, other in zip(judged(habits, rows), judged(again, rows), strict=True):
        np.testing.assert_array_equal(one, other)


def test_scans_of_an_unknown_product_or_place_are_no_evidence(habits: ScanHabits) -> None:
    strange = journey(code(7, 906, 1), 900.0, "Z", 30.0)
    p, _ = judged(habits, strange)
    assert p[3] > 0.02


@pytest.mark.parametrize("seed", range(4))
def test_alone_with_its_newest_scans_a_scan_is_judged_as_in_a_batch(
    habits: ScanHabits, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    gaps = [0.5, 4.0, 12.0, *([] if seed % 2 else [200.0, 800.0])]
    now = 0.0
    rows: list[tuple[object, ...]] = []
    where: tuple[str, str | None] = ("F", "Aggregation")
    for n in range(200):
        again = rng.random() < 0.5
        now += rng.uniform(0.001, 0.016) if again else rng.choice(gaps)
        if not again:
            event = ("HUB_Inbound", "HUB_Outbound", "W_Stock_Inbound", None)[rng.integers(4)]
            where = "HABC"[rng.integers(4)], event
        rows.append(
            (code(1, 1, 1), f"{n:03d}", START + timedelta(hours=now), where[0], None, where[1])
        )
    wrong = pl.Series("jump_score", np.where(rng.random(200) < 0.1, 100.0, 0.0))
    scans = frame(rows).sort("event_time").with_columns(wrong)
    batch = habits.judge(scans)
    assert (batch.step_of_row < 0).sum() > 20
    for row, time in enumerate(scans["event_time"]):
        reach = scans[max(0, row - MAX_HISTORY) : row + 1]
        alone = habits.judge(reach.filter(pl.col("event_time") > time - timedelta(hours=720)))
        assert alone.raw[-1] == batch.raw[row]


def test_a_scan_long_after_a_wrong_one_begins_anew(habits: ScanHabits) -> None:
    rows: list[tuple[object, ...]] = [
        (code(1, 1, 1), str(n), START + timedelta(hours=hours), "H", None, "HUB_Inbound")
        for n, hours in enumerate((0.0, 725.0))
    ]
    scans = frame(rows).with_columns(jump_score=pl.Series([100.0, 0.0]))
    assert habits.judge(scans).raw[1] == habits.judge(scans[1:]).raw[0]


@pytest.mark.parametrize("event", [None, "beep"])
def test_where_no_event_type_says_anything_routes_are_learned_all_the_same(
    event: str | None,
) -> None:
    learned, _ = ScanHabits.fit(frame([(*row[:5], event) for row in training(units=1)]))
    again = ScanHabits.from_arrays(learned.to_arrays())
    astray = [(*row[:5], event) for row in journey(code(1, 907, 1), 900.0, "C", 4.0)]
    p, words = judged(again, astray)
    assert p[3] < 0.02
    assert words[3].startswith("H to C: 0 of ")


def test_the_window_that_habits_were_learned_from_has_their_verdicts() -> None:
    window = frame(training(units=1))
    learned, verdicts = ScanHabits.fit(window)
    np.testing.assert_array_equal(verdicts.p_values, learned.judge(window).p_values)
    row = int(np.argmin(verdicts.p_values))
    assert verdicts.explain(row, {}) == learned.judge(window).explain(row, {}) != ""


def test_a_code_of_the_only_product_travels_like_no_other(habits: ScanHabits) -> None:
    verdicts = habits.judge(frame(journey(code(7, 908, 1), 900.0, "A", 4.0)))
    assert verdicts.likest.tolist() == [-1] * 4
    verdicts.parts[:] = np.array([-9.0, -9.0, 0.0, -9.0, -9.0])
    assert verdicts.explain(0, {}) == ""


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu"])
def test_minutes_are_those_of_the_local_time(zone: str) -> None:
    moments = [START + timedelta(hours=7.37 * n) for n in range(900)]
    rows = [(f"{n}", f"{n}", time, "H", None, "HUB_Inbound") for n, time in enumerate(moments)]
    scans = pl.DataFrame(rows, schema=SCHEMA, orient="row").with_columns(epc_code="entity")
    scans = ScanFeatureSet(time_zone=zone).compute(scans).sort("event_time")
    words = Words.of(scans)
    steps = steps_of(scans, Words.from_arrays(words.to_arrays()))
    local = scans["event_time"].dt.convert_time_zone(zone)[steps.rows]
    hours = 24.0 * (local.dt.weekday().cast(pl.Int64) - 1) + local.dt.hour().cast(pl.Int64)
    expected = (hours + local.dt.minute() / 60 + local.dt.second() / 3600).to_numpy()
    np.testing.assert_allclose(steps.hour_of_week, expected, atol=1e-3)


def lot(number: int, stays: tuple[float, ...], shop: str = "B") -> list[tuple[object, ...]]:
    """Units of product 2 that arrive together and stay so many hours each."""
    return [
        row
        for unit, stay in enumerate(stays)
        for row in journey(code(2, number, unit), 900.0, shop, stay)
    ]


LONE, TOGETHER = (8.0, 12.0, 12.0, 12.0, 12.0), (8.0,) * 5


def test_a_stay_of_one_that_left_its_company_says_more_than_that_of_a_whole_pallet(
    habits: ScanHabits,
) -> None:
    alone, words = judged(habits, lot(910, LONE))
    together, _ = judged(habits, lot(910, TOGETHER))
    unknown, _ = judged(habits, journey(code(2, 910, 0), 900.0, "B", 8.0))
    assert alone[2] < unknown[2] < together[2]
    assert words[2].endswith(", alone of 5 that came together")
    # Those that stay are none that left, and the leg after the parting still tells.
    assert alone[6] > 0.02
    assert alone[3] < unknown[3]


def test_a_code_that_left_its_company_is_known_to_have_parted(habits: ScanHabits) -> None:
    parted = habits.judge(frame(lot(910, LONE))).parted
    # At the parting and at the scan after it; not those that stay, nor what all of them did before.
    assert np.flatnonzero(parted).tolist() == [2, 3]
    assert not habits.judge(frame(lot(910, TOGETHER))).parted.any()
    assert not habits.judge(frame(journey(code(2, 910, 0), 900.0, "B", 8.0))).parted.any()
    whole = frame(lot(910, LONE))
    own, newest = whole["epc_code"] == whole["epc_code"][0], START + timedelta(hours=1000.0)
    apart = habits.judge(whole.filter(own), whole.filter(~own), newest).parted
    assert apart.tolist() == parted[own.to_numpy()].tolist()


def test_of_the_last_minutes_in_hand_nobody_is_said_to_go_alone(habits: ScanHabits) -> None:
    scans = frame(lot(911, LONE)).sort("event_time")
    parted = START + timedelta(hours=913.0)
    so_far = scans.filter(pl.col("event_time") <= parted)
    live = habits.judge(so_far)
    later = habits.judge(so_far, until=parted + timedelta(minutes=10))
    whole = habits.judge(scans)
    at = so_far["event_time"].arg_max()
    assert at is not None
    assert live.raw[at] < later.raw[at]
    assert later.raw[at] == whole.raw[: so_far.height][at]


def wandering(seed: int) -> pl.DataFrame:
    """Units of two lots, by themselves and together, at times for longer than minutes on end."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[object, ...]] = []
    now = np.zeros((2, 9))
    for stop in range(int(rng.integers(4, 7))):
        for number in range(2):
            spread, apart = float(rng.choice([2.0, 60.0])), float(rng.choice([0.0, 0.3]))
            place = (None, "B", *"HHHHHH")[rng.integers(8)]
            event = ("HUB_Inbound", "HUB_Outbound")[stop % 2]
            now[number] += float(rng.choice([1.0, 240.0])) + rng.uniform(0.0, spread, 9)
            now[number] += np.where(rng.random(9) < apart, 300.0, 0.0)
            for unit, minutes in enumerate(now[number]):
                own = code(1 + number, 917, unit)
                moment = START + timedelta(minutes=float(minutes))
                rows.append((own, f"{own}-{stop}", moment, place, None, event))
    scans = frame(rows)
    wrong = np.where(rng.random(scans.height) < 0.1, 100.0, 0.0)
    return scans.with_columns(pl.Series("jump_score", wrong))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_scans_later_than_ten_minutes_after_a_scan_change_no_bit_of_its_score(
    habits: ScanHabits, seed: int
) -> None:
    scans = wandering(seed)
    whole, newest = habits.judge(scans).raw, scans["event_time"].max()
    for now in scans["event_time"].sort()[::5]:
        until = min(now + timedelta(minutes=10), newest)
        in_hand = (scans["event_time"] <= until).to_numpy()
        judged = (scans["event_time"] <= now).to_numpy()
        found = habits.judge(scans.filter(in_hand), until=until).raw
        np.testing.assert_array_equal(found[judged[in_hand]], whole[judged])


def test_codes_that_arrive_later_are_not_said_to_have_come_together(habits: ScanHabits) -> None:
    rows: list[tuple[object, ...]] = []
    for unit in range(60):
        own = code(2, 918, unit)
        arrives = START + timedelta(minutes=5 * unit)
        leaves = START + timedelta(minutes=30 if unit == 0 else 900)
        rows.append((own, f"{own}-0", arrives, "H", None, "HUB_Inbound"))
        rows.append((own, f"{own}-1", leaves, "H", None, "HUB_Outbound"))
    verdicts = habits.judge(frame(rows))
    assert verdicts.left[1] == 7


def test_scans_without_a_place_are_not_together(habits: ScanHabits) -> None:
    rows: list[tuple[object, ...]] = []
    for unit in range(5):
        own, hours = code(2, 919, unit), 1.0 if unit == 0 else 2.0
        rows.append((own, f"{own}-0", START, None, None, "HUB_Inbound"))
        rows.append((own, f"{own}-1", START + timedelta(hours=hours), "H", None, "HUB_Outbound"))
    scans = frame(rows)
    together = Companions.of(scans, until=START + timedelta(hours=3))
    assert together.came.tolist() == [0, 1] * 5
    assert together.size.tolist() == [1, 1, 1, 4, 1, 4, 1, 4, 1, 4]
    apart = [habits.judge(scans[2 * unit : 2 * unit + 2]).raw for unit in range(5)]
    np.testing.assert_array_equal(habits.judge(scans).raw, np.concatenate(apart))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), judged=st.sets(st.integers(0, 8), min_size=1))
def test_codes_beside_tell_what_they_would_tell_if_they_were_judged(
    habits: ScanHabits, seed: int, judged: set[int]
) -> None:
    scans = wandering(seed)
    own = scans["epc_code"].str.slice(-1).cast(pl.Int64).is_in(list(judged))
    until = scans["event_time"].max()
    whole = habits.judge(scans)
    found = habits.judge(scans.filter(own), scans.filter(~own), until)
    rows = np.flatnonzero(own.to_numpy())
    np.testing.assert_array_equal(found.raw, whole.raw[rows])
    said = [found.explain(row, {}) for row in range(len(rows))]
    assert said == [whole.explain(row, {}) for row in rows]
    steps = whole.step_of_row[rows]
    np.testing.assert_array_equal(found.step_of_row >= 0, steps >= 0)
    judged_steps = np.sort(steps[steps >= 0])
    for name in ("parts", "likest", "moments", "left"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name)[judged_steps])
    np.testing.assert_array_equal(found.believed, whole.believed[rows])


def test_steps_of_some_codes_look_back_as_among_all(habits: ScanHabits) -> None:
    scans = wandering(3)
    some = scans["epc_code"].str.slice(-1).cast(pl.Int64).is_in([1, 4, 5]).to_numpy()
    steps = steps_of(scans, habits.words)
    cut = steps.of_codes(some[steps.rows])
    alone = steps_of(scans.filter(pl.Series(some)), habits.words)
    np.testing.assert_array_equal(cut.rows, np.flatnonzero(some)[alone.rows])
    np.testing.assert_array_equal(cut.starts, alone.starts)
    np.testing.assert_array_equal(cut.hours, alone.hours)


def test_what_the_lot_did_before_on_other_days_speaks_for_another_product(
    habits: ScanHabits,
) -> None:
    like_the_other = frame(
        [row for unit in range(5) for row in journey(code(1, 920, unit), 900.0, "C", 12.0)]
    )
    last = frame(journey(code(1, 920, 9), 960.0, "C", 4.0))
    beside = habits.judge(last, like_the_other)
    assert beside.parts[beside.step_of_row[3], 2] > habits.judge(last).parts[3, 2]


def test_what_other_shipments_of_the_lot_did_speaks_for_another_product(
    habits: ScanHabits,
) -> None:
    like_the_other = [
        row for unit in range(5) for row in journey(code(1, 913, unit), 900.0, "C", 12.0)
    ]
    last = journey(code(1, 913, 9), 960.0, "C", 4.0)
    joined = habits.judge(frame(last + like_the_other))
    alone = habits.judge(frame(last))
    assert joined.parts[-1, 2] > alone.parts[-1, 2]


def test_shuffled_and_with_other_lots_company_says_the_same_bits(habits: ScanHabits) -> None:
    scans = frame(lot(914, LONE, "C") + lot(915, TOGETHER))
    mixed = scans.sample(fraction=1.0, shuffle=True, seed=1)
    order = mixed.with_row_index("row").sort("epc_code", "event_time")["row"].to_numpy()
    np.testing.assert_array_equal(habits.judge(scans).raw, habits.judge(mixed).raw[order])
    one = scans.filter(pl.col("epc_code").str.contains(".000914.", literal=True))
    until = scans["event_time"].max()
    np.testing.assert_array_equal(
        habits.judge(one, until=until).raw, habits.judge(scans).raw[: one.height]
    )


def test_a_set_without_company_judges_each_code_by_itself(habits: ScanHabits) -> None:
    stored = {n: a for n, a in habits.to_arrays().items() if "company" not in n}
    before = ScanHabits.from_arrays(stored)
    together = before.judge(frame(lot(916, LONE))).raw
    apart = [
        before.judge(frame(journey(code(2, 916, u), 900.0, "B", s))).raw for u, s in enumerate(LONE)
    ]
    np.testing.assert_array_equal(together, np.concatenate(apart))
