"""Bytes for PostgreSQL: the short ways say what the long ones say."""

from __future__ import annotations

import struct
from uuid import UUID

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.storage.postgres.binary_format import (
    cell_array,
    fixed_array,
    text_array,
    text_cell,
)

NUMBERS = st.lists(st.integers(-(2**62), 2**62), max_size=5)
SINCE_2000 = 946_684_800_000_000


@given(NUMBERS, st.lists(st.floats(), max_size=5), st.lists(st.uuids(), max_size=5))
def test_elements_of_one_length(numbers: list[int], floats: list[float], ids: list[UUID]) -> None:
    whole = [struct.pack(">q", number) for number in numbers]
    assert fixed_array("int8", np.array(numbers, dtype=np.int64)).data == (
        text_array(whole, "int8").data
    )
    moments = [number + SINCE_2000 for number in numbers]
    assert fixed_array("timestamptz", moments).data == text_array(whole, "timestamptz").data
    assert fixed_array("float8", floats).data == (
        text_array([struct.pack(">d", one) for one in floats], "float8").data
    )
    octets = b"".join(one.bytes for one in ids)
    assert fixed_array("uuid", octets).data == (text_array([one.bytes for one in ids], "uuid").data)


@given(st.lists(st.text(max_size=5), max_size=5))
def test_texts_that_were_written_before(texts: list[str]) -> None:
    written = text_array([text.encode() for text in texts], "text")
    assert cell_array([text_cell(text) for text in texts]).data == written.data
