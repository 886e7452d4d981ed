from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the sequence model trains with torch")

from anomaly_platform.ml.detectors.sequence_lstm import training as sequence_lstm_training
from anomaly_platform.ml.detectors.sequence_lstm.parameters import (
    TrainingParameters,
    architecture_for,
)
from anomaly_platform.ml.detectors.sequence_lstm.training import TrainedSequence, train

TINY = TrainingParameters(
    hidden=16, heads=2, span=4, mixtures=2, max_epochs=4, patience=4, batch_events=128
)


Trained = Callable[..., TrainedSequence]


class InterruptedError_(Exception):  # noqa: N801, N818 - stands for a killed process
    pass


@pytest.fixture
def trained(toy: Any) -> Callable[..., TrainedSequence]:
    training, validation = toy.journeys(120, seed=1), toy.journeys(40, seed=2)
    sizes = {name: len(vocabulary) for name, vocabulary in toy.vocabularies.items()}

    def run(
        seed: int = 1,
        checkpoint: Path | None = None,
        stop_after: int | None = None,
        **changes: Any,
    ) -> TrainedSequence:
        parameters = dataclasses.replace(TINY, **changes)

        def progress(figures: Mapping[str, object]) -> None:
            if figures["epoch"] == stop_after:
                raise InterruptedError_

        return train(
            architecture_for(toy.spec, sizes, training, parameters),
            training,
            validation,
            parameters,
            seed=seed,
            progress=progress,
            checkpoint=checkpoint,
        )

    return run


def equal(one: TrainedSequence, other: TrainedSequence) -> bool:
    return all(np.array_equal(one.arrays[name], other.arrays[name]) for name in one.arrays)


def test_one_seed_gives_the_same_bits_and_another_does_not(trained: Trained) -> None:
    assert equal(trained(seed=1), trained(seed=1))
    assert not equal(trained(seed=1), trained(seed=2))


def test_a_resumed_training_ends_where_the_uninterrupted_one_does(
    tmp_path: Path, trained: Trained
) -> None:
    whole = trained()
    with pytest.raises(InterruptedError_):
        trained(checkpoint=tmp_path, stop_after=2)
    assert len(list(tmp_path.iterdir())) == 2
    resumed = trained(checkpoint=tmp_path)
    assert equal(whole, resumed)
    losses = [[epoch["loss"] for epoch in run.history] for run in (whole, resumed)]
    assert losses[0] == losses[1]


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path, trained: Trained) -> None:
    trained(checkpoint=tmp_path)
    with pytest.raises(ValueError, match="another training"):
        trained(checkpoint=tmp_path, seed=9)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path, trained: Trained) -> None:
    trained(checkpoint=tmp_path)
    tensors = next(tmp_path.glob("*.safetensors"))
    tensors.write_bytes(tensors.read_bytes()[:-1])
    with pytest.raises(ValueError, match="damaged"):
        trained(checkpoint=tmp_path)


def test_training_stops_when_the_validation_loss_no_longer_falls(trained: Trained) -> None:
    outcome = trained(max_epochs=60, patience=2, learning_rate=0.05)
    assert len(outcome.history) < 60
    assert len(outcome.history) == outcome.best_epoch + 2


def test_the_loss_falls_and_the_curve_is_reported(trained: Trained) -> None:
    history = trained(max_epochs=6).history
    assert history[-1]["validation_loss"] < history[0]["validation_loss"]
    assert set(history[0]["validation_parts"]) == {"place", "event", "elapsed"}
    assert history[0]["device"] == "cpu"


def test_mixed_precision_learns_as_well(trained: Trained) -> None:
    full, mixed = trained(max_epochs=6, device="cpu"), trained(max_epochs=6, amp=True, device="cpu")
    assert mixed.mixed_precision
    assert not full.mixed_precision
    assert all(np.isfinite(array).all() for array in mixed.arrays.values())
    losses = [run.history[-1]["validation_loss"] for run in (full, mixed)]
    assert losses[1] == pytest.approx(losses[0], abs=0.3)


def test_half_precision_with_loss_scaling_learns_and_resumes(
    tmp_path: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs on a GPU without bfloat16; the arithmetic is the same on a CPU."""
    import torch

    monkeypatch.setattr(sequence_lstm_training, "_amp_type", lambda *_: torch.float16)
    whole = trained(max_epochs=4)
    assert whole.mixed_precision
    assert all(np.isfinite(array).all() for array in whole.arrays.values())
    assert whole.history[-1]["validation_loss"] < whole.history[0]["validation_loss"]
    with pytest.raises(InterruptedError_):
        trained(max_epochs=4, checkpoint=tmp_path, stop_after=2)
    assert equal(whole, trained(max_epochs=4, checkpoint=tmp_path))


@pytest.mark.parametrize(
    ("there", "asked", "device"),
    [(True, "auto", "cuda"), (False, "auto", "cpu"), (True, "cpu", "cpu"), (True, "cuda", "cuda")],
)
def test_a_gpu_is_taken_by_itself_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, there: bool, asked: str, device: str
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert sequence_lstm_training._device(asked).type == device


@pytest.mark.parametrize(
    ("asked", "device", "bfloat16", "name"),
    [
        (None, "cuda", True, "bfloat16"),
        (None, "cuda", False, "float16"),
        (True, "cuda", False, "float16"),
        (False, "cuda", True, None),
        (None, "cpu", True, None),
        (True, "cpu", False, "bfloat16"),
    ],
)
def test_mixed_precision_is_what_the_device_can_do(
    monkeypatch: pytest.MonkeyPatch, asked: bool | None, device: str, bfloat16: bool, name: str
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bfloat16)
    expected = None if name is None else getattr(torch, name)
    assert sequence_lstm_training._amp_type(asked, torch.device(device)) is expected


def test_a_gpu_trains_by_itself_where_there_is_one(trained: Trained) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no GPU on this machine")
    outcome = trained(max_epochs=6)
    assert outcome.device == "cuda"
    assert outcome.mixed_precision
    assert outcome.history[-1]["validation_loss"] < outcome.history[0]["validation_loss"]


def test_a_loss_that_is_no_number_is_an_error(trained: Trained) -> None:
    with pytest.raises(FloatingPointError, match="learning_rate"):
        trained(learning_rate=1e30, clip=1e30)


@pytest.mark.parametrize(
    "change", [{"hidden": 0}, {"dropout": 1.0}, {"patience": 0}, {"learning_rate": 0.0}]
)
def test_parameters_out_of_range_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message differs by parameter
        dataclasses.replace(TINY, **change)
