"""Measure how fast the sequence model trains, beside a plain PyTorch loop.

One command, one run, one process, one thread, the same model, data, loss and optimiser, everything
written to ``docs/measured/speed_sequence.md``::

    python benchmarks/speed_sequence.py [--events 60000] [--out F]

Three ways of feeding the same sequences of scans to the model:

*   ours: batches of about `batch_events` events, bucketed by length and packed;
*   padded: 32 sequences a batch in random order, padded to the longest there is, as a plain loop
    over a padded tensor does; padding is masked out of the loss;
*   single: one sequence at a time.

Events per second are real events (padding does not count); each way is timed over the same
number of seconds after a warm-up, in turn and twice, and the better time counts. On a GPU the
share of time that it was busy is shown as well. How long a request of scans takes is measured by
`speed_requests`.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import numpy as np
import torch
from parts import requests as speed_requests

from anomaly_platform.ml.detectors.sequence_lstm.events import (
    Batch,
    EventSequences,
    pack,
    plan_batches,
)
from anomaly_platform.ml.detectors.sequence_lstm.habits import Habits
from anomaly_platform.ml.detectors.sequence_lstm.model import (
    DeviceBatch,
    DeviceEvents,
    SequenceModel,
    build,
)
from anomaly_platform.ml.detectors.sequence_lstm.parameters import (
    TrainingParameters,
    architecture_for,
)
from anomaly_platform.ml.detectors.sequence_lstm.scans import (
    SCAN_SPEC,
    encode_scans,
    scan_vocabularies,
)
from anomaly_platform.ml.features.scans.definition import ScanFeatureSet
from anomaly_platform.simulator.supply_network import simulate_supply_network

ROOT = Path(__file__).resolve().parents[1]
PADDED_SEQUENCES = 32
SECONDS = 6.0


def simulated(events: int) -> tuple[EventSequences, dict[str, int]]:
    """Sequences of a simulated network, and the sizes of their vocabularies."""
    scans = ScanFeatureSet().compute(simulate_supply_network(events=events, seed=5).scans)
    vocabularies = scan_vocabularies(scans)
    sizes = {name: len(vocabulary) for name, vocabulary in vocabularies.items()}
    return encode_scans(scans, vocabularies).training, sizes


def ours(sequences: EventSequences, parameters: TrainingParameters) -> Iterator[Batch]:
    """Batches as the product makes them."""
    for epoch in count():
        rng = np.random.default_rng(epoch)
        yield from plan_batches(sequences.offsets, parameters.batch_events, rng)


def in_random_order(sequences: EventSequences, together: int) -> Iterator[Batch]:
    """Batches of so many sequences in random order."""
    for epoch in count():
        order = np.random.default_rng(epoch).permutation(len(sequences))
        for begin in range(0, len(order) - together + 1, together):
            yield pack(sequences.offsets, order[begin : begin + together])


class Trainer:
    """One model and its optimiser, and a step over a batch."""

    def __init__(
        self,
        sequences: EventSequences,
        sizes: dict[str, int],
        parameters: TrainingParameters,
        device: str,
    ) -> None:
        self.device = torch.device(device)
        architecture = architecture_for(SCAN_SPEC, sizes, sequences, parameters)
        habits, _ = Habits.learn(SCAN_SPEC, sizes, sequences)
        self.model: SequenceModel = build(architecture, habits, parameters.dropout, 1).to(
            self.device
        )
        self.events = DeviceEvents.place(sequences, architecture, habits, self.device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, fused=True)
        self.clip = parameters.clip
        self.amp = device == "cuda"

    def step(self, batch: Batch, steps: int | None = None) -> int:
        """Learn from a batch, padded to `steps` where given; return its real events."""
        placed = DeviceBatch.place(batch, self.device)
        keep: torch.Tensor | None = None
        if steps is not None:
            placed, keep = pad(batch, steps, self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp):
            surprise = self.model(self.events, placed).sum(dim=1)
        if keep is not None:
            surprise = surprise[keep]
        self.optimizer.zero_grad(set_to_none=True)
        surprise.mean().backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        return len(batch.rows)


def pad(batch: Batch, steps: int, device: torch.device) -> tuple[DeviceBatch, torch.Tensor]:
    """Lay a batch out as a rectangle: what is beyond a sequence's end repeats its first event."""
    sequences, longest = batch.shape
    grid = np.repeat(batch.rows[:sequences, None], steps, axis=1)
    real = np.zeros((sequences, steps), dtype=bool)
    at = batch.slots // longest, batch.slots % longest
    grid[at], real[at] = batch.rows, True
    slots = np.arange(sequences)[None, :] * steps + np.arange(steps)[:, None]
    placed = DeviceBatch(
        rows=torch.from_numpy(grid.T.ravel().copy()).to(device),
        sizes=torch.full((steps,), sequences),
        slots=torch.from_numpy(slots.ravel()).to(device),
        shape=(sequences, steps),
    )
    return placed, torch.from_numpy(real.T.ravel().copy()).to(device)


def measure(step: Callable[[Batch], int], batches: Iterator[Batch], device: torch.device) -> float:
    """Events per second over `SECONDS`, after a warm-up."""
    for _ in range(5):
        step(next(batches))
    began, events = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS:
        events += step(next(batches))
        if device.type == "cuda":
            torch.cuda.synchronize()
    return events / (time.perf_counter() - began)


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/measured/speed_sequence.md")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parameters = TrainingParameters()
    sequences, sizes = simulated(chosen.events)
    longest = int(sequences.lengths.max())
    ways: dict[str, tuple[Iterator[Batch], int | None]] = {
        "ours: bucketed and packed": (ours(sequences, parameters), None),
        f"padded: {PADDED_SEQUENCES} a batch, to {longest} steps": (
            in_random_order(sequences, PADDED_SEQUENCES),
            longest,
        ),
        "single: one sequence at a time": (in_random_order(sequences, 1), None),
    }
    found = dict.fromkeys(ways, 0.0)
    for _ in range(2):
        for name, (batches, steps) in ways.items():
            trainer = Trainer(sequences, sizes, parameters, device)
            rate = measure(lambda b, t=trainer, s=steps: t.step(b, s), batches, trainer.device)
            found[name] = max(found[name], rate)
    loads = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    lines = [
        f"""# Speed of the barcode detectors

Written by `python benchmarks/speed_sequence.py`; do not edit. Only ratios of one run
mean anything elsewhere. {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} logical cores,
load averages {loads}, Python {platform.python_version()}, torch {torch.__version__}.

## Training

{sequences.events:,} scans in {len(sequences):,} sequences, mean length
{sequences.lengths.mean():.1f}; {device}, 1 thread(s).
Scans a second, padding not counted, the better of two rounds.

| way | scans/s | ours is faster by | wanted |
|---|--:|--:|--:|"""
    ]
    best = next(iter(found.values()))
    for (name, rate), wanted in zip(found.items(), ("", "≥ 2×", "≥ 10×"), strict=True):
        lines.append(f"| {name} | {rate:,.0f} | {best / rate:.1f}× | {wanted} |")
    if device == "cuda":
        lines.append(f"\nGPU utilisation at the end: {torch.cuda.utilization()} %.")
    lines += ["", *speed_requests.section(), ""]
    chosen.out.write_text("\n".join(lines))
    print(f"{chosen.out} written")


if __name__ == "__main__":
    main()
