from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the sequence model trains with torch")

from anomaly_platform.ml.detectors.sequence_lstm.detector import SequenceLSTM, hold_out
from anomaly_platform.ml.detectors.sequence_lstm.events import (
    RESERVED,
    UNKNOWN,
    EventSequences,
    SequenceSpec,
    untimed_sequences,
)
from anomaly_platform.ml.detectors.sequence_lstm.habits import Habits
from anomaly_platform.ml.detectors.sequence_lstm.parameters import TrainingParameters

SMALL = TrainingParameters(
    hidden=24, heads=2, span=4, mixtures=3, max_epochs=12, patience=12, batch_events=256
)


@pytest.fixture(scope="module")
def model(toy: Any) -> SequenceLSTM:
    return SequenceLSTM.fit(
        toy.spec, toy.vocabularies, toy.journeys(400, seed=1), parameters=SMALL, seed=3
    )


@pytest.fixture(scope="module")
def unseen(toy: Any) -> EventSequences:
    return toy.journeys(60, seed=2, longest=14)


def test_an_event_scores_the_same_whether_or_not_others_followed(
    model: SequenceLSTM, unseen: EventSequences
) -> None:
    whole = model.surprise(unseen)
    for start, end in zip(unseen.offsets[:-1], unseen.offsets[1:], strict=True):
        for row in range(start, end):
            so_far = slice(start, row + 1)
            past = EventSequences(
                codes=unseen.codes[so_far],
                continuous=unseen.continuous[so_far],
                elapsed_hours=unseen.elapsed_hours[so_far],
                offsets=np.array([0, row + 1 - start]),
                weights=np.ones(1, dtype=np.float32),
            )
            one = model.surprise(past)
            np.testing.assert_array_equal(one.surprise[-1], whole.surprise[row])
            np.testing.assert_array_equal(one.expected[-1], whole.expected[row])
            np.testing.assert_array_equal(one.expected_hours[-1], whole.expected_hours[row])


def test_scoring_without_torch_agrees_with_the_trained_module(
    model: SequenceLSTM, unseen: EventSequences
) -> None:
    import torch

    from anomaly_platform.ml.detectors.sequence_lstm.events import pack
    from anomaly_platform.ml.detectors.sequence_lstm.model import DeviceBatch, DeviceEvents, build

    architecture = model.architecture
    habits, _ = Habits.learn(architecture.spec, architecture.sizes, unseen)
    module = build(architecture, habits, 0.0, seed=5)
    again = SequenceLSTM(architecture, model.vocabularies, module.to_arrays() | habits.to_arrays())
    device = torch.device("cpu")
    batch = pack(unseen.offsets, np.arange(len(unseen)))
    with torch.no_grad():
        surprise = module(
            DeviceEvents.place(unseen, architecture, habits, device),
            DeviceBatch.place(batch, device),
        )
    expected = again.surprise(unseen).surprise[batch.rows]
    judged = surprise.numpy()
    judged[: len(unseen), 0] = 0.0  # where observation began says nothing against a place
    np.testing.assert_allclose(judged, expected, rtol=2e-5, atol=2e-5)


def test_a_sequence_scores_the_same_alone(model: SequenceLSTM, unseen: EventSequences) -> None:
    together = model.score(unseen)
    for i in range(0, len(unseen), 7):
        alone = model.score(unseen.take(np.array([i])))
        np.testing.assert_array_equal(alone, together[unseen.offsets[i] : unseen.offsets[i + 1]])


def test_later_events_do_not_change_earlier_scores(
    model: SequenceLSTM, unseen: EventSequences
) -> None:
    last = unseen.offsets[1:] - 1
    codes = unseen.codes.copy()
    codes[last, :3] = RESERVED
    changed = dataclasses.replace(unseen, codes=codes)
    before, after = model.score(unseen), model.score(changed)
    earlier = np.ones(unseen.events, dtype=bool)
    earlier[last] = False
    np.testing.assert_array_equal(before[earlier], after[earlier])


def test_surprise_finds_what_breaks_the_grammar(
    model: SequenceLSTM, unseen: EventSequences
) -> None:
    last = (unseen.offsets[1:] - 1)[unseen.lengths >= 3]
    normal = model.surprise(unseen)
    codes = unseen.codes.copy()
    codes[last, 0] = RESERVED + (codes[last, 0] - RESERVED + 3) % 6
    misplaced = model.surprise(dataclasses.replace(unseen, codes=codes))
    late = model.surprise(dataclasses.replace(unseen, elapsed_hours=unseen.elapsed_hours * 6))
    for changed, part in ((misplaced, "place"), (late, "elapsed")):
        column = model.spec.components.index(part)
        before, after = normal.surprise[last, column], changed.surprise[last, column]
        assert np.median(after) > np.median(before) + 2


def test_what_training_never_saw_surprises_much_and_finitely(
    model: SequenceLSTM, unseen: EventSequences
) -> None:
    codes = unseen.codes.copy()
    codes[:, 0] = UNKNOWN
    never = dataclasses.replace(unseen, codes=codes, elapsed_hours=unseen.elapsed_hours * 1e6)
    scores = model.score(never)
    assert np.isfinite(scores).all()
    assert np.median(scores) > np.quantile(model.score(unseen), 0.95)


def test_saved_and_loaded_it_scores_to_the_bit(model: SequenceLSTM, unseen: EventSequences) -> None:
    loaded = SequenceLSTM.from_arrays(model.to_arrays(), model.spec.feature_schema)
    np.testing.assert_array_equal(model.score(unseen), loaded.score(unseen))
    assert loaded.vocabularies == model.vocabularies
    with pytest.raises(ValueError, match="temperature"):
        SequenceLSTM.from_arrays(model.to_arrays(), (*model.spec.feature_schema, "temperature"))


def test_an_explanation_names_what_was_expected(
    model: SequenceLSTM, unseen: EventSequences, toy: Any
) -> None:
    row = int(np.flatnonzero(unseen.positions() == 2)[0])
    codes = unseen.codes.copy()
    codes[row, 0] = RESERVED + (codes[row, 0] - RESERVED + 3) % 6
    wrong = dataclasses.replace(unseen, codes=codes)
    evidence = model.explain(model.surprise(wrong), wrong, row)
    assert evidence.part == "place"
    assert evidence.expected["place"] == toy.vocabularies["place"].decode(int(unseen.codes[row, 0]))
    assert evidence.observed["place"] == toy.vocabularies["place"].decode(int(codes[row, 0]))
    assert evidence.observed_p["place"] < 0.1 < evidence.expected_p["place"]
    assert evidence.expected_hours == pytest.approx(5.0, rel=0.3)


def test_the_first_event_has_no_elapsed_time(model: SequenceLSTM, unseen: EventSequences) -> None:
    surprise = model.surprise(unseen)
    first = unseen.offsets[:-1]
    assert (surprise.surprise[first, -1] == 0).all()
    assert np.isnan(surprise.expected_hours[first]).all()


def test_sequences_without_time_use_the_same_model(toy: Any) -> None:
    spec = SequenceSpec(targets=("event",), timed=False, ended=True)
    timed = toy.journeys(150, seed=4)
    sequences = untimed_sequences(timed.codes[:, 1:2], timed.offsets)
    model = SequenceLSTM.fit(
        spec,
        {"event": toy.vocabularies["event"]},
        sequences,
        parameters=dataclasses.replace(SMALL, max_epochs=6),
    )
    assert spec.components == ("event",)
    assert model.score(sequences).mean() < np.log(2)


def test_holding_out_splits_whole_sequences(toy: Any) -> None:
    twenty = toy.journeys(20, seed=5)
    kept, held = hold_out(twenty, 0.25, seed=0)
    assert (len(kept), len(held)) == (15, 5)
    assert kept.events + held.events == twenty.events
    with pytest.raises(ValueError, match="two sequences"):
        hold_out(twenty.take(np.array([0])), 0.5, seed=0)
