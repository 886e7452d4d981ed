"""Bytes for PostgreSQL: the short ways say what the long ones say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.resources.online_encoding import pair_array, text_array
from anomaly_platform.resources.online_states import tail_bytes

PAIRS = st.tuples(st.integers(-(2**62), 2**62), st.floats(allow_nan=False))


@given(st.lists(PAIRS, max_size=5))
def test_pairs_are_written_as_tails(pairs: list[tuple[int, float]]) -> None:
    tails = [tail_bytes([time], [value]) for time, value in pairs]
    found = pair_array([time for time, _ in pairs], [value for _, value in pairs])
    assert found.data == text_array(tails, "bytea").data
