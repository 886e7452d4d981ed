"""The training loop of the sequence model: batches, early stopping, checkpoints, mixed precision.

Here belongs how weights are found; the module is `model`, what is done with the
weights is `sequence_lstm`. Imports torch inside functions only.

Reproducibility. All randomness derives from (seed, epoch), so a resumed training goes on exactly
as the uninterrupted one would have. On a CPU the result is bit-identical for one seed and one
number of threads (`TrainingParameters.threads`, 1 by default): how a sum is split over threads
changes its rounding.

Mixed precision. On a GPU the forward pass runs in bfloat16 where the device has it, in float16
with loss scaling where not; `amp=True` runs the bfloat16 path on a CPU as well. Losses, the
normalisation and the optimiser's state stay in single precision.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anomaly_platform.ml.arrays import AnyArray
from anomaly_platform.ml.detectors.sequence_lstm.architecture import Architecture
from anomaly_platform.ml.detectors.sequence_lstm.checkpoint import (
    Checkpoint,
    identity,
    read_checkpoint,
    write_checkpoint,
)
from anomaly_platform.ml.detectors.sequence_lstm.events import (
    Batch,
    EventSequences,
    joined,
    plan_batches,
)
from anomaly_platform.ml.detectors.sequence_lstm.habits import Habits
from anomaly_platform.ml.detectors.sequence_lstm.model import (
    DeviceBatch,
    DeviceEvents,
    SequenceModel,
    build,
)
from anomaly_platform.ml.detectors.sequence_lstm.parameters import TrainingParameters

Progress = Callable[[Mapping[str, object]], None]


@dataclass(frozen=True)
class TrainedSequence:
    """Outcome of a training: the best epoch's weights and the loss curve.

    `history` has one object per epoch: epoch, loss, validation_loss (nats per event, components
    by name), events_per_second.
    """

    architecture: Architecture
    arrays: dict[str, AnyArray]
    history: tuple[Mapping[str, Any], ...]
    best_epoch: int
    device: str
    mixed_precision: bool


def train(
    architecture: Architecture,
    training: EventSequences,
    validation: EventSequences,
    parameters: TrainingParameters,
    *,
    seed: int,
    counted: EventSequences | None = None,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
) -> TrainedSequence:
    """Train until the validation loss stops falling.

    Parameters
    ----------
    training, validation
        Sequences to learn from, and to stop by; neither may be empty.
    seed
        Decides the first weights, the order of batches, and dropout.
    counted
        More sequences for the habits, which need many and cost little; groups are numbered as in
        `training`.
    progress
        Called once per epoch with the epoch's figures.
    checkpoint
        Folder that receives the state after every epoch. A state found there, of the same data,
        architecture, parameters and seed, is resumed; any other is refused.
    """
    if not len(training) or not len(validation):
        raise ValueError("training and validation need at least one sequence each")
    run = _Run.start(architecture, (training, validation, counted), parameters, seed)
    if checkpoint is not None:
        found = read_checkpoint(checkpoint, run.identity)
        if found is not None:
            run.resume(found)
    with _threads(parameters.threads), torch.random.fork_rng(devices=[]):
        while not run.done:
            figures = run.epoch()
            if checkpoint is not None:
                write_checkpoint(checkpoint, run.checkpoint())
            if progress is not None:
                progress(figures)
    return run.outcome()


@contextmanager
def _threads(threads: int) -> Iterator[None]:
    """Fix torch's threads, and forbid operations that are not deterministic, for a while."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])


@dataclass
class _Run:
    """A training under way."""

    parameters: TrainingParameters
    seed: int
    identity: str
    habits: Habits
    model: SequenceModel
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    device: torch.device
    amp_type: torch.dtype | None
    training: tuple[EventSequences, DeviceEvents]
    validation: tuple[EventSequences, DeviceEvents]
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    best_loss: float = math.inf
    best_epoch: int = -1
    next_epoch: int = 0
    history: list[Mapping[str, Any]] = field(default_factory=list)

    @classmethod
    def start(
        cls,
        architecture: Architecture,
        data: tuple[EventSequences, EventSequences, EventSequences | None],
        parameters: TrainingParameters,
        seed: int,
    ) -> _Run:
        training, validation, counted = data
        device = _device(parameters.device)
        everything = training if counted is None else joined(training, counted)
        habits, own = Habits.learn(architecture.spec, architecture.sizes, everything)
        own = own[: training.events]
        model = build(architecture, habits, parameters.dropout, seed).to(device)
        optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=parameters.learning_rate,
            weight_decay=parameters.weight_decay,
            fused=True,
        )
        amp_type = _amp_type(parameters.amp, device)
        return cls(
            parameters=parameters,
            seed=seed,
            identity=identity(architecture, (everything, validation), asdict(parameters), seed),
            model=model,
            optimizer=optimizer,
            scaler=torch.amp.GradScaler(device.type, enabled=amp_type == torch.float16),
            device=device,
            amp_type=amp_type,
            training=(training, DeviceEvents.place(training, architecture, habits, device, own)),
            validation=(validation, DeviceEvents.place(validation, architecture, habits, device)),
            habits=habits,
        )

    @property
    def done(self) -> bool:
        waited = self.next_epoch - 1 - self.best_epoch
        return self.next_epoch >= self.parameters.max_epochs or waited >= self.parameters.patience

    def epoch(self) -> Mapping[str, Any]:
        """Train once over everything, then validate."""
        began = time.perf_counter()
        rng = np.random.default_rng([self.seed, self.next_epoch])
        torch.manual_seed(int(rng.integers(2**62)))
        turn = self.next_epoch / self.parameters.max_epochs
        for group in self.optimizer.param_groups:
            falling = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * turn))
            group["lr"] = self.parameters.learning_rate * falling
        self.model.train()
        sequences, events = self.training
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for batch in plan_batches(sequences.offsets, self.parameters.batch_events, rng):
            total += self._learn(batch, events)
        loss = float(total / events.weights.sum())
        seconds = time.perf_counter() - began
        parts = self._validate()
        validation_loss = sum(parts.values())
        if not math.isfinite(validation_loss):
            raise FloatingPointError(
                f"the validation loss is {validation_loss} after epoch {self.next_epoch + 1}; "
                "a lower learning_rate may help"
            )
        if validation_loss < self.best_loss:
            self.best_loss, self.best_epoch = validation_loss, self.next_epoch
            self.best = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.next_epoch += 1
        figures = {
            "event": "epoch",
            "epoch": self.next_epoch,
            "max_epochs": self.parameters.max_epochs,
            "loss": loss,
            "validation_loss": validation_loss,
            "validation_parts": parts,
            "best_epoch": self.best_epoch + 1,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "events_per_second": sequences.events / seconds,
            "device": self.device.type,
        }
        self.history.append(figures)
        return figures

    def _learn(self, batch: Batch, events: DeviceEvents) -> torch.Tensor:
        hide = None
        placed = DeviceBatch.place(batch, self.device)
        if self.parameters.unknown_rate > 0:
            shape = (len(batch.rows), events.codes.shape[1])
            hide = torch.rand(shape, device=self.device) < self.parameters.unknown_rate
        with torch.autocast(
            self.device.type, dtype=self.amp_type, enabled=self.amp_type is not None
        ):
            surprise = self.model(events, placed, hide)
        weights = events.weights[placed.rows]
        total = (surprise.sum(dim=1) * weights).sum()
        self.optimizer.zero_grad(set_to_none=True)
        scaled: torch.Tensor = self.scaler.scale(total / weights.sum())
        torch.autograd.backward(scaled)
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.parameters.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        loss: torch.Tensor = total.detach().double()
        return loss

    def _validate(self) -> dict[str, float]:
        self.model.eval()
        sequences, events = self.validation
        names = self.model.architecture.spec.components
        total = torch.zeros(len(names), dtype=torch.float64, device=self.device)
        with torch.no_grad():
            for batch in plan_batches(sequences.offsets, 4 * self.parameters.batch_events):
                placed = DeviceBatch.place(batch, self.device)
                surprise = self.model(events, placed)
                total += (surprise * events.weights[placed.rows, None]).sum(dim=0).double()
        mean = (total / events.weights.sum()).tolist()
        return dict(zip(names, mean, strict=True))

    def checkpoint(self) -> Checkpoint:
        state = self.optimizer.state_dict()["state"]
        tensors = {f"model/{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"best/{k}": v for k, v in self.best.items()}
        tensors |= {
            f"optimizer/{index}/{name}": value
            for index, entry in state.items()
            for name, value in entry.items()
        }
        return Checkpoint(
            identity=self.identity,
            arrays={k: v.detach().float().cpu().numpy().copy() for k, v in tensors.items()},
            next_epoch=self.next_epoch,
            best_epoch=self.best_epoch,
            best_loss=self.best_loss,
            loss_scale=self.scaler.state_dict(),
            history=tuple(self.history),
        )

    def resume(self, found: Checkpoint) -> None:
        tensors = {k: torch.from_numpy(v).to(self.device) for k, v in found.arrays.items()}

        def part(prefix: str) -> dict[str, torch.Tensor]:
            return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

        self.model.load_state_dict(part("model/"))
        self.best = part("best/")
        state = self.optimizer.state_dict()
        entries: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in part("optimizer/").items():
            index, _, key = name.partition("/")
            entries.setdefault(int(index), {})[key] = value
        state["state"] = entries
        self.optimizer.load_state_dict(state)
        if found.loss_scale:
            self.scaler.load_state_dict(dict(found.loss_scale))
        self.next_epoch, self.best_epoch = found.next_epoch, found.best_epoch
        self.best_loss, self.history = found.best_loss, list(found.history)

    def outcome(self) -> TrainedSequence:
        self.model.load_state_dict(self.best)
        return TrainedSequence(
            architecture=self.model.architecture,
            arrays={**self.model.to_arrays(), **self.habits.to_arrays()},
            history=tuple(self.history),
            best_epoch=self.best_epoch + 1,
            device=self.device.type,
            mixed_precision=self.amp_type is not None,
        )


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _amp_type(amp: bool | None, device: torch.device) -> torch.dtype | None:
    if amp is False or (amp is None and device.type != "cuda"):
        return None
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        return torch.float16
    return torch.bfloat16
