from datetime import UTC, datetime, timedelta
from uuid import UUID

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.ingest.identity import derive_event_ids, derived_ids, is_uuid

TIME = datetime(2024, 5, 1, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(time):
    return (time - EPOCH) // timedelta(microseconds=1)


def frame_of(keys):
    times = [EPOCH + timedelta(microseconds=at) for _, _, at in keys]
    return pl.DataFrame(
        {"entity": [e for e, _, _ in keys], "metric": [m for _, m, _ in keys], "event_time": times},
        schema={"entity": pl.String, "metric": pl.String, "event_time": pl.Datetime("us", "UTC")},
    )


def test_the_id_of_a_key_is_the_same_for_ever():
    # Stored rows carry these ids: a change here breaks the identity of what was ingested before.
    (found,) = derived_ids([("pump", "temperature")], [microseconds(TIME)])
    assert found == UUID("cc0d786f-dfca-810c-9438-36a2f392c3d0")
    assert found.version == 8


@given(
    keys=st.lists(
        st.tuples(
            st.sampled_from(["a", "ab", "b", "", None]),
            st.sampled_from(["bc", "c", "", None]),
            st.integers(-(2**40), 2**50),
        ),
        unique=True,
        max_size=30,
    )
)
def test_one_at_a_time_is_as_all_at_once_and_no_two_are_equal(keys):
    ids = derive_event_ids(frame_of(keys), ["entity", "metric"]).to_list()
    assert len(set(ids)) == len(keys)
    assert ids == [
        str(one) for entity, metric, at in keys for one in derived_ids([(entity, metric)], [at])
    ]
    assert all(is_uuid(one) and str(UUID(one)) == one for one in ids)


def test_a_series_in_one_piece_has_the_ids_that_it_has_in_any_order():
    keys = [(e, m, at) for e in ("a", None, "") for m in ("b", None) for at in range(50)]
    frame = frame_of(keys).with_row_index()
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=1)
    together = derive_event_ids(frame, ["entity", "metric"])
    apart = derive_event_ids(shuffled, ["entity", "metric"])
    assert together.gather(shuffled["index"]).equals(apart)


def test_only_the_common_notations_are_uuids():
    good = "0190b5a2-7c3d-7e4f-8a1b-2c3d4e5f6071"
    assert is_uuid(good)
    assert is_uuid(good.replace("-", ""))
    assert not is_uuid("{" + good + "}")
    assert not is_uuid("urn:uuid:" + good)
    assert not is_uuid(good[:-1])
