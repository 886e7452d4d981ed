from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_platform.ml.detectors.sequence_lstm.events import (
    RESERVED,
    UNKNOWN,
    EventSequences,
    SequenceSpec,
    Vocabulary,
    plan_batches,
    untimed_sequences,
)


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=60),
    budget=st.integers(1, 200),
    seed=st.none() | st.integers(0, 5),
)
def test_every_event_is_in_exactly_one_batch(
    lengths: list[int], budget: int, seed: int | None
) -> None:
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    rng = None if seed is None else np.random.default_rng(seed)
    batches = list(plan_batches(offsets, budget, rng))
    rows = np.concatenate([batch.rows for batch in batches])
    assert sorted(rows) == list(range(offsets[-1]))
    for batch in batches:
        count, steps = batch.shape
        assert (np.diff(batch.sizes) <= 0).all()
        assert len(set(batch.slots)) == len(batch.slots)
        assert batch.slots.max() < count * steps
        sequence = batch.sequences[batch.slots // steps]
        np.testing.assert_array_equal(batch.rows, offsets[sequence] + batch.slots % steps)
        longest = max(lengths[i] for i in batch.sequences)
        assert len(batch.rows) < budget + longest


def test_batches_hold_sequences_of_similar_length() -> None:
    lengths = np.random.default_rng(0).integers(1, 50, size=2000)
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    cells = sum(
        np.prod(batch.shape) for batch in plan_batches(offsets, 1000, np.random.default_rng(1))
    )
    assert cells < 1.1 * offsets[-1]


def test_a_vocabulary_does_not_depend_on_order_and_knows_what_it_does_not_know() -> None:
    vocabulary = Vocabulary.learn(["b", "a", "b"])
    assert vocabulary == Vocabulary.learn(["a", "b"])
    assert vocabulary.encode(["a", "b", "c"]).tolist() == [RESERVED, RESERVED + 1, UNKNOWN]
    assert vocabulary.decode(RESERVED + 1) == "b"
    assert vocabulary.decode(UNKNOWN) == "something never seen"


def test_take_keeps_whole_sequences_in_the_order_asked_for() -> None:
    codes = np.arange(6, dtype=np.int32)[:, None]
    sequences = untimed_sequences(codes, np.array([0, 1, 4, 6]))
    taken = sequences.take(np.array([2, 0]))
    assert taken.codes[:, 0].tolist() == [4, 5, 0]
    assert taken.offsets.tolist() == [0, 2, 3]
    assert taken.positions().tolist() == [0, 1, 0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_an_elapsed_time_that_is_no_time_is_refused_with_its_row(bad: float) -> None:
    with pytest.raises(ValueError, match=r"elapsed_hours .* row 1"):
        EventSequences(
            codes=np.zeros((2, 1), dtype=np.int32),
            continuous=np.zeros((2, 0), dtype=np.float32),
            elapsed_hours=np.array([0.0, bad]),
            offsets=np.array([0, 2]),
            weights=np.ones(1, dtype=np.float32),
        )


def test_a_continuous_field_that_is_not_finite_is_refused_with_its_row() -> None:
    with pytest.raises(ValueError, match=r"field 0 is nan in row 1"):
        EventSequences(
            codes=np.zeros((2, 1), dtype=np.int32),
            continuous=np.array([[0.0], [np.nan]], dtype=np.float32),
            elapsed_hours=np.zeros(2),
            offsets=np.array([0, 2]),
            weights=np.ones(1, dtype=np.float32),
        )


def test_a_field_has_one_role() -> None:
    with pytest.raises(ValueError, match="one role"):
        SequenceSpec(targets=("place",), context=("place",))
    with pytest.raises(ValueError, match="at least one field"):
        SequenceSpec(targets=())
