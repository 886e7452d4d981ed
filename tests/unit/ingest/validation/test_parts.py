from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import partial

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from anomaly_platform.ingest.bucketing import bucket_of
from anomaly_platform.ingest.validation.day import ValidatedDay, in_order
from anomaly_platform.ingest.validation.metrics import validate_metrics
from anomaly_platform.ingest.validation.parts import DayInParts, day_parts
from anomaly_platform.ml import threads
from anomaly_platform.storage.lake.lake import Lake

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
VALIDATE = partial(
    validate_metrics,
    day=date(2024, 5, 1),
    start=datetime(2010, 1, 1, tzinfo=UTC),
    now=datetime(2026, 1, 1, tzinfo=UTC),
)
#: Of a day in three spans.
ROWS = 1_200_000
READINGS = st.lists(
    st.fixed_dictionaries(
        {
            "batch_seq": st.integers(1, 2),
            "entity": st.sampled_from([*(f"pump-{n}" for n in range(30)), "", None]),
            "event_time": st.integers(0, 3).map(lambda n: NOON + timedelta(minutes=n)),
            "value_text": st.sampled_from(["1", "1.0", "2", "", "x"]),
        }
    ),
    max_size=80,
)


def between(rows: pl.DataFrame) -> Callable[[int, int], pl.DataFrame]:
    placed = rows.with_columns(bucket_of(rows["entity"]))
    return lambda first, last: placed.filter(pl.col("bucket").is_between(first, last))


@given(rows=st.integers(0, 200_000_000))
def test_parts_cover_all_buckets_once_and_end_with_their_span(rows):
    parts = day_parts(rows)
    assert [b for part in parts for b in range(part.first, part.last + 1)] == list(range(64))
    spans = min(64, max(1, -(-rows // 500_000)))
    ends = {part.span: part.last + 1 for part in parts}
    assert ends == {n: round((n + 1) * 64 / spans) for n in range(spans)}


@given(readings=READINGS)
@settings(max_examples=10, deadline=None)
def test_a_day_is_the_same_on_one_and_on_two_threads(raw_rows, tmp_path_factory, readings):
    read = between(raw_rows(readings))
    undivided = [VALIDATE(read(*span)) for span in ((0, 20), (21, 42), (43, 63))]
    lake = Lake(str(tmp_path_factory.getbasetemp() / "lake"))
    expected = lake.write("a", "b", "c", [done.frame for done in undivided])
    for number in (1, 2):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(threads, "thread_pool_size", lambda number=number: number)
            day = DayInParts(read, VALIDATE)
            written = lake.write("a", "b", "c", day.frames(ROWS))
        assert written == expected
        assert day.duplicates == sum(done.duplicates for done in undivided)
        assert_frame_equal(day.rejects(), pl.concat([done.rejects for done in undivided]))


def test_what_a_part_raises_ends_the_day(raw_rows):
    def fails(rows: pl.DataFrame) -> ValidatedDay:
        if (rows["bucket"] > 40).any():
            raise ValueError("no")
        return VALIDATE(rows)

    read = between(raw_rows([{"entity": f"pump-{n}"} for n in range(30)]))
    with pytest.raises(ValueError, match="no"):
        list(DayInParts(read, fails).frames(ROWS))


def test_more_series_than_sixteen_bits_can_number_come_in_order():
    names = pl.Series("entity", [f"pump-{n}" for n in range(70_000)])
    times = [NOON + timedelta(minutes=n) for n in range(2)]
    events = (
        pl.DataFrame({"event_time": times})
        .join(names.sample(fraction=1, shuffle=True, seed=1).to_frame(), how="cross")
        .with_columns(metric=pl.lit("speed"))
    )
    placed = in_order(events, ("entity", "metric", "event_time"))
    assert not placed.repeats
    ordered = events.with_columns(placed.buckets)
    assert_frame_equal(ordered[placed.order], ordered.sort("bucket", "entity", "event_time"))
