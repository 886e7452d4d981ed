"""Readings by column are the readings that they are one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.ingest.identity import derived_ids
from anomaly_platform.ingest.online.reading_columns import ReadingColumns, plain_columns
from anomaly_platform.ingest.online.readings import RawReading, Reading, ReadingRules

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
RULES = ReadingRules(datetime(2026, 1, 1, tzinfo=UTC))
NAMES = {
    "entity": "device_id",
    "metric": "metric_name",
    "value": "value",
    "event_time": "timestamp",
    "event_id": "event_id",
    "metadata": "metadata",
}
ID = "6f1c2a34-9d0e-4c1b-8a7e-2f5b3c4d5e6f"
#: Follows from pump, temp and 2026-03-01T00:00:00Z.
OWN = str(derived_ids([("pump", "temp")], [1_772_323_200_000_000])[0])

texts = st.sampled_from(["pump", " pump ", "é", "e\u0301", "", "a\x00", "x" * 300, 7, None])
numbers = st.one_of(
    st.floats(), st.integers(), st.sampled_from([10**400, -0.0, True, None, "1", [1]])
)
times = st.sampled_from(
    ["2026-03-01T00:00:00Z", "2026-03-01 10:00:00", "1772323200", "2031-01-01T00:00:00Z", "x", 5]
)
documents = st.fixed_dictionaries(
    {},
    optional={
        "device_id": st.one_of(st.just("pump"), texts),
        "metric_name": st.one_of(st.just("temp"), texts),
        "value": numbers,
        "timestamp": times,
        "event_id": st.sampled_from([ID, ID.upper(), ID.replace("-", ""), OWN, "no", None]),
        "metadata": st.just({}),
        "other": st.just(1),
    },
)
plain = st.fixed_dictionaries(
    {
        "device_id": st.sampled_from(["pump", " fan"]),
        "metric_name": st.just("temp"),
        "value": st.one_of(st.floats(-5, 5), st.integers(-5, 5)),
        "timestamp": st.sampled_from(["2026-03-01T00:00:00Z", "2026-03-01 10:00:00"]),
    }
)


def checked(documents: list[dict[str, Any]]) -> object:
    """What the rules make of documents whose members have the right kinds."""
    raw = [RawReading(**{name: one.get(said) for name, said in NAMES.items()}) for one in documents]
    return RULES.check(raw, NOW)


@given(st.lists(plain, min_size=1, max_size=5))
def test_plain_documents_are_taken(said: list[dict[str, Any]]) -> None:
    found = plain_columns(said, NAMES, RULES, NOW)
    assert found is not None
    assert found.readings() == checked(said)


@given(st.lists(st.one_of(plain, documents), min_size=1, max_size=3))
def test_what_is_taken_is_what_the_rules_make_of_it(said: list[dict[str, Any]]) -> None:
    found = plain_columns(said, NAMES, RULES, NOW)
    if found is not None:
        assert found.readings() == checked(said)
        assert all(one.keys() <= set(NAMES.values()) for one in said)


def test_readings_without_a_time_that_come_together_are_not_the_same() -> None:
    said = [{"device_id": "pump", "metric_name": "temp", "value": n} for n in range(3)]
    found = plain_columns(said, NAMES, RULES, NOW)
    assert found is not None
    assert found.readings() == checked(said)
    assert np.diff(found.times).tolist() == [1, 1]


@pytest.mark.parametrize(("time", "plain"), [("2026-03-01T00:00:00Z", True), ("1772323201", False)])
def test_an_id_that_follows_from_another_reading_is_looked_at_by_itself(
    time: str, plain: bool
) -> None:
    said = {"device_id": "pump", "metric_name": "temp", "value": 1, "timestamp": time}
    assert (plain_columns([{**said, "event_id": OWN}], NAMES, RULES, NOW) is not None) == plain


@pytest.mark.parametrize("said", [[], ["x"], [None], [[1]], [{}], [{"value": 1.0}]])
def test_other_documents_are_not(said: list[Any]) -> None:
    assert plain_columns(said, NAMES, RULES, NOW) is None


@given(
    st.lists(
        st.builds(
            Reading,
            st.sampled_from(["pump", "fan"]),
            st.just("temp"),
            st.integers(0, 2**60),
            st.floats(-9, 9),
            st.one_of(st.none(), st.just(UUID(ID))),
            st.one_of(st.none(), st.just("{}")),
            st.booleans(),
        ),
        max_size=6,
    ),
    st.integers(0, 6),
)
def test_columns_are_joined_and_parted(readings: list[Reading], at: int) -> None:
    parts = [ReadingColumns.of(readings[:at]), ReadingColumns.of(readings[at:])]
    whole = ReadingColumns.joined(parts)
    assert whole.readings() == readings
    assert whole.part(at, len(readings)).readings() == readings[at:]
    assert RULES.times_of(["2026-03-01T00:00:00Z"], NOW + timedelta(days=-9)) is None
