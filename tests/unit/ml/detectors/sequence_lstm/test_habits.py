from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anomaly_platform.ml.detectors.sequence_lstm.events import (
    RESERVED,
    EventSequences,
    SequenceSpec,
    joined,
    untimed_sequences,
)
from anomaly_platform.ml.detectors.sequence_lstm.habits import (
    LOG_FLOOR,
    PRIOR_STRENGTH,
    Habits,
    previous_codes,
)

SPEC = SequenceSpec(targets=("word",), timed=False, habits={"word": ("last word",)})
SIZES = {"word": RESERVED + 3}
A, B, C = RESERVED, RESERVED + 1, RESERVED + 2


def pairs(*words: tuple[int, int], groups: list[int] | None = None) -> EventSequences:
    codes = np.array(words, dtype=np.int32).reshape(-1, 1)
    sequences = untimed_sequences(codes, np.arange(0, len(codes) + 1, 2))
    if groups is None:
        return sequences
    return EventSequences(**{**vars(sequences), "groups": np.array(groups)})


def log_frequency(habits: Habits, sequences: EventSequences) -> np.ndarray:
    previous = previous_codes(SPEC, sequences)
    rows = habits.rows(sequences.codes, previous)["word"]
    return habits.tables["word"].table[rows, sequences.codes[:, 0]]


def test_what_never_followed_is_less_likely_than_what_did() -> None:
    habits, _ = Habits.learn(SPEC, SIZES, pairs(*[(A, B)] * 50, *[(B, C)] * 50))
    log_p = log_frequency(habits, pairs((A, B), (A, C)))
    assert log_p[1] > -0.1
    assert log_p[3] < -3


def test_a_rare_context_falls_back_to_the_shorter_one() -> None:
    habits, _ = Habits.learn(SPEC, SIZES, pairs(*[(A, B)] * 50, (C, A)))
    log_p = log_frequency(habits, pairs((C, B), (A, B)))
    assert log_p[1] == pytest.approx(np.log(50.0 / 102), abs=0.05)
    assert log_p[1] < log_p[3]


def test_a_group_that_does_the_same_counts_once() -> None:
    words = [(A, B)] * 60 + [(A, C)] * 6
    as_one, _ = Habits.learn(SPEC, SIZES, pairs(*words, groups=[0] * 60 + list(range(1, 7))))
    log_p = log_frequency(as_one, pairs((A, B), (A, C)))
    assert log_p[3] > log_p[1]


def test_what_one_of_many_units_does_is_no_habit_of_the_lot() -> None:
    lots = [lot for lot in range(20) for _ in range(50)]
    words = [(A, C) if unit == 7 else (A, B) for unit in range(1000)]
    habits, _ = Habits.learn(SPEC, SIZES, pairs(*words, groups=lots))
    never, _ = Habits.learn(SPEC, SIZES, pairs(*[(A, B)] * 1000, groups=lots))
    once, none = (log_frequency(h, pairs((A, C)))[1] for h in (habits, never))
    assert none < once < none + 2


def test_an_events_own_group_is_taken_out_of_its_count() -> None:
    sequences = pairs(*[(A, B)] * 9, (A, C), groups=[*range(9), 9])
    _, own = Habits.learn(SPEC, SIZES, sequences)
    often, alone = own[1, 0], own[-1, 0]
    assert -0.1 < often < 0
    assert alone < np.log(PRIOR_STRENGTH / (1 + PRIOR_STRENGTH))


def test_what_is_only_counted_changes_the_habit() -> None:
    few, more = pairs(*[(A, B)] * 5), pairs(*[(A, C)] * 50)
    habits, own = Habits.learn(
        SPEC, SIZES, joined(few, EventSequences(**{**vars(more), "groups": np.arange(5, 55)}))
    )
    log_p = log_frequency(habits, pairs((A, C)))
    assert log_p[1] > -0.2
    assert len(own) == few.events + more.events


def test_stored_and_read_again_the_tables_are_the_same() -> None:
    habits, _ = Habits.learn(SPEC, SIZES, pairs(*[(A, B)] * 50, *[(B, C)] * 50))
    again = Habits.from_arrays(SPEC, SIZES, habits.to_arrays())
    asked = pairs((A, B), (B, A), (C, C))
    np.testing.assert_array_equal(log_frequency(habits, asked), log_frequency(again, asked))
    assert (habits.tables["word"].table >= LOG_FLOOR).all()


@pytest.mark.parametrize("given", [("word",), ("last nothing",), ()])
def test_a_habit_needs_fields_that_are_known(given: Any) -> None:
    with pytest.raises(ValueError, match="habit of word"):
        SequenceSpec(targets=("word",), habits={"word": given})


def test_an_observation_counts_as_much_as_it_is_said_to() -> None:
    words = pairs(*[(A, B)] * 40, *[(A, C)] * 10)
    weighed = EventSequences(
        **{**vars(words), "observations": np.repeat([0.1, 1.0], [80, 20]).astype(np.float64)}
    )
    habits, _ = Habits.learn(SPEC, SIZES, weighed)
    log_p = log_frequency(habits, pairs((A, B), (A, C)))
    assert log_p[3] > log_p[1]


def test_what_is_too_rare_in_its_context_makes_no_habit() -> None:
    often = [(A, B)] * 4000
    with_few, without = (
        log_frequency(Habits.learn(SPEC, SIZES, pairs(*often, *more))[0], pairs((A, C)))[1]
        for more in ([(A, C)] * 2, [])
    )
    enough = log_frequency(
        Habits.learn(SPEC, SIZES, pairs(*often, *[(A, C)] * 9))[0], pairs((A, C))
    )
    assert with_few == pytest.approx(without, abs=1.0)
    assert enough[1] > with_few + 2
