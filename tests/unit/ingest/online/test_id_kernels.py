"""Ids of readings that come together are those of `identity`, and UUIDs as Python writes them."""

from uuid import UUID

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.ingest.identity import derived_ids, digest_of_series
from anomaly_platform.ingest.online.id_kernels import id_texts, octets_at

_NAMES = st.text(min_size=1, max_size=12)
_TIMES = st.integers(-(2**62), 2**62)


@given(st.lists(st.tuples(_NAMES, _NAMES, _TIMES), min_size=1, max_size=8))
def test_ids_are_those_that_are_derived_of_rows(rows):
    keys, times = [row[:2] for row in rows], [row[2] for row in rows]
    digests = np.array([digest_of_series(key) for key in keys][::-1], dtype=np.uint64)
    places = np.arange(len(rows))[::-1].copy()
    octets = octets_at(digests, places, np.array(times))
    assert octets == b"".join(one.bytes for one in derived_ids(keys, times))


@given(st.lists(st.binary(min_size=16, max_size=16), max_size=5))
def test_texts_are_those_of_uuids(ids):
    assert id_texts(b"".join(ids)) == [str(UUID(bytes=one)) for one in ids]
