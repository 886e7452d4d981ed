"""The sequence model as a PyTorch module: embeddings, LSTM, causal attention, heads.

Here belongs what training differentiates. Nothing but the training loop imports this module;
scoring reads the exported weights (`scoring`) and never needs torch.

Architecture. The event before (embeddings of its categorical fields, its numeric fields, the log
of its elapsed time) and the context of the event to come go through an LSTM (Hochreiter and
Schmidhuber 1997); a multi-head attention over the last `span` outputs, each event seeing itself
and its past only, is added to it and normalised. From there the heads factor the probability of
the next event by the chain rule: p(first target) · p(second | first) · … · p(elapsed | all).
The elapsed time's density is a mixture of log-normals (as in Shchur et al., "Intensity-free
learning of temporal point processes", 2020) with one wide fixed component, so that a time far
outside anything seen has a large but finite surprise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from anomaly_platform.ml.arrays import Singles
from anomaly_platform.ml.detectors.sequence_lstm.architecture import (
    BACKGROUND_SCALE,
    BACKGROUND_WEIGHT,
    LOG_SIGMA_MAX,
    LOG_SIGMA_MIN,
    Architecture,
)
from anomaly_platform.ml.detectors.sequence_lstm.events import (
    ABSENT,
    SHORTEST_ELAPSED_HOURS,
    UNKNOWN,
    Batch,
    EventSequences,
)
from anomaly_platform.ml.detectors.sequence_lstm.habits import Habits, previous_codes


@dataclass(frozen=True)
class DeviceEvents:
    """All sequences as tensors on one device, with the fields of the event before beside them."""

    codes: Tensor
    previous: Tensor
    numeric: Tensor
    log_elapsed: Tensor
    timed: Tensor
    weights: Tensor
    habit_rows: dict[str, Tensor]
    own_counts: Tensor | None

    @classmethod
    def place(
        cls,
        sequences: EventSequences,
        architecture: Architecture,
        habits: Habits,
        device: torch.device,
        own_counts: Singles | None = None,
    ) -> DeviceEvents:
        """Standardise and shift the arrays once, and put them on the device.

        `own_counts` (n, targets) takes each event out of the habits that it was counted in.
        """
        spec = architecture.spec
        first = np.zeros(sequences.events, dtype=bool)
        first[sequences.offsets[:-1]] = True
        previous = previous_codes(spec, sequences)
        elapsed = np.log(sequences.elapsed_hours + SHORTEST_ELAPSED_HOURS)
        standard = (elapsed - architecture.elapsed_center) / architecture.elapsed_scale

        def to(array: npt.NDArray[np.generic]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        return cls(
            codes=to(sequences.codes.astype(np.int64)),
            previous=to(previous.astype(np.int64)),
            numeric=to(architecture.previous_numeric(sequences)),
            log_elapsed=to(standard.astype(np.float32)),
            timed=to(~first),
            weights=to(np.repeat(sequences.weights, sequences.lengths)),
            habit_rows={
                name: to(rows) for name, rows in habits.rows(sequences.codes, previous).items()
            },
            own_counts=None if own_counts is None else to(own_counts),
        )


@dataclass(frozen=True)
class DeviceBatch:
    """A `Batch` as tensors: (n,) rows and grid cells on the device, sizes per step on the CPU."""

    rows: Tensor
    sizes: Tensor
    slots: Tensor
    shape: tuple[int, int]

    @classmethod
    def place(cls, batch: Batch, device: torch.device) -> DeviceBatch:
        """Put a batch's layout on the device."""
        return cls(
            rows=torch.from_numpy(batch.rows).to(device),
            sizes=torch.from_numpy(batch.sizes),
            slots=torch.from_numpy(batch.slots).to(device),
            shape=batch.shape,
        )


class SequenceModel(nn.Module):
    """Embeddings, LSTM, windowed causal self-attention, and one head for each part of an event."""

    def __init__(self, architecture: Architecture, habits: Habits, dropout: float) -> None:
        super().__init__()
        self.architecture = architecture
        spec, sizes = architecture.spec, architecture.sizes
        widths = architecture.embedding_widths
        hidden = architecture.hidden
        self.embeddings = nn.ModuleDict(
            {name: nn.Embedding(sizes[name], widths[name]) for name in spec.categorical}
        )
        self.lstm = nn.LSTM(architecture.input_width, hidden)
        self.qkv = nn.Linear(hidden, 3 * hidden)
        self.mix = nn.Linear(hidden, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleDict()
        known = hidden
        for name in spec.targets:
            if name not in spec.habitual:
                self.heads[name] = nn.Linear(known, sizes[name])
                known += widths[name]
        for name, habit in habits.tables.items():
            self.register_buffer(f"habit_{name}", torch.from_numpy(habit.table), persistent=False)
        if spec.timed:
            self.clock_hidden = nn.Linear(known, hidden)
            self.clock = nn.Linear(hidden, 3 * architecture.mixtures)
            with torch.no_grad():
                spread = torch.linspace(-1.5, 1.5, architecture.mixtures)
                bias = torch.cat([torch.zeros_like(spread), spread, torch.full_like(spread, -0.7)])
                self.clock.bias.copy_(bias)

    def forward(
        self, events: DeviceEvents, batch: DeviceBatch, hide: Tensor | None = None
    ) -> Tensor:
        """Surprise of each event of a packed batch.

        Parameters
        ----------
        events, batch
            The data, and which of its rows are asked for, in packed order.
        hide
            (n, fields) bool: codes to read as unknown, in training, so that a value never seen
            has an embedding that means something.

        Returns
        -------
        Tensor
            (n, components) negative log-likelihoods, in single precision.
        """
        codes = events.codes[batch.rows]
        state = self._state(events, batch, codes, hide)
        return self._surprise(state, codes, events, batch.rows)

    def _state(
        self, events: DeviceEvents, batch: DeviceBatch, codes: Tensor, hide: Tensor | None
    ) -> Tensor:
        spec = self.architecture.spec
        context = codes[:, len(spec.lagged) :]
        read = torch.cat([events.previous[batch.rows], context], dim=1)
        if hide is not None:
            read = read.masked_fill(hide, UNKNOWN)
        parts = [self.embeddings[name](read[:, i]) for i, name in enumerate(spec.categorical)]
        inputs = torch.cat([*parts, events.numeric[batch.rows]], dim=1)
        out = self._recur(inputs, batch.sizes)
        attended = self._attend(self.qkv(out), batch.slots, batch.shape)
        state: Tensor = self.norm((out + self.mix(attended)).float())
        kept: Tensor = self.dropout(state)
        return kept

    def _recur(self, inputs: Tensor, sizes: Tensor) -> Tensor:
        """Run the LSTM; in single precision on CPUs, many of which have no bfloat16 LSTM."""
        if inputs.device.type == "cpu":
            with torch.autocast("cpu", enabled=False):
                packed, _ = self.lstm(PackedSequence(inputs.float(), sizes))
        else:
            packed, _ = self.lstm(PackedSequence(inputs, sizes))
        out: Tensor = packed.data
        return out

    def _attend(self, qkv: Tensor, slots: Tensor, shape: tuple[int, int]) -> Tensor:
        """Attention of every event over the last `span` events up to itself, block by block.

        Queries in blocks of `span` steps see their own block and the one before, so that memory
        grows with the length of a sequence and not with its square.
        """
        sequences, steps = shape
        span, heads = self.architecture.span, self.architecture.heads
        block = min(span, steps)
        blocks = math.ceil(steps / block)
        grid = qkv.new_zeros(sequences * blocks * block, qkv.shape[1])
        cells = (slots // steps) * (blocks * block) + slots % steps
        grid = grid.index_copy(0, cells, qkv)
        grid = grid.view(sequences, blocks, block, 3, heads, -1).permute(3, 0, 1, 4, 2, 5)
        query, key, value = grid[0], grid[1], grid[2]
        step = torch.arange(block, device=qkv.device)
        if blocks == 1:
            mask = step[:, None] >= step[None, :]
        else:
            shifted = [
                functional.pad(part[:, :-1], (0, 0, 0, 0, 0, 0, 1, 0)) for part in (key, value)
            ]
            key = torch.cat([shifted[0], key], dim=3)
            value = torch.cat([shifted[1], value], dim=3)
            behind = (step[:, None] + block) - torch.arange(2 * block, device=qkv.device)[None, :]
            band = (behind >= 0) & (behind < span)
            exists = torch.ones(blocks, 1, 2 * block, dtype=torch.bool, device=qkv.device)
            exists[0, :, :block] = False
            mask = (band[None] & exists)[None, :, None]
        seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        flat = seen.permute(0, 1, 3, 2, 4).reshape(sequences * blocks * block, -1)
        return flat[cells]

    def _surprise(self, state: Tensor, codes: Tensor, events: DeviceEvents, rows: Tensor) -> Tensor:
        spec = self.architecture.spec
        known = [state]
        parts = []
        for i, name in enumerate(spec.targets):
            came = codes[:, i]
            logits = torch.zeros(1, device=state.device)
            if name not in spec.habitual:
                logits = self.heads[name](torch.cat(known, dim=1)).float()
            if name in events.habit_rows:
                logits = logits + self._habit(name, i, came, events, rows)
            logits[:, list(self.architecture.impossible)] = -torch.inf
            unseen = self.architecture.unseen[name]
            # A code that a softmax never predicts is judged by its own probability, or not at
            # all; any other code stands in for it, so that no infinity enters the gradient.
            new, absent = came == UNKNOWN, came == ABSENT
            learned = functional.cross_entropy(
                logits, torch.where(new | absent, logits.shape[1] - 1, came), reduction="none"
            )
            part = torch.where(new, -math.log(unseen), learned - math.log1p(-unseen))
            parts.append(torch.where(absent, 0.0, part))
            if name not in spec.habitual:
                known.append(self.embeddings[name](codes[:, i]))
        if spec.timed:
            hidden = torch.tanh(self.clock_hidden(torch.cat(known, dim=1)))
            density = self._log_density(self.clock(hidden).float(), events.log_elapsed[rows])
            parts.append(torch.where(events.timed[rows], -density, 0.0))
        return torch.stack(parts, dim=1)

    def _habit(
        self, name: str, column: int, came: Tensor, events: DeviceEvents, rows: Tensor
    ) -> Tensor:
        """Log frequencies that the head starts from; an event's own count is left out."""
        logs: Tensor = self.get_buffer(f"habit_{name}")[events.habit_rows[name][rows]]
        if events.own_counts is None:
            return logs
        return logs.scatter_add(1, came[:, None], events.own_counts[rows, column, None])

    def _log_density(self, raw: Tensor, elapsed: Tensor) -> Tensor:
        weight, centre, log_sigma = raw.chunk(3, dim=1)
        log_sigma = log_sigma.clamp(LOG_SIGMA_MIN, LOG_SIGMA_MAX)
        z = (elapsed[:, None] - centre) * torch.exp(-log_sigma)
        parts = torch.log_softmax(weight, dim=1) - 0.5 * z * z - log_sigma
        learned = torch.logsumexp(parts, dim=1) + math.log1p(-BACKGROUND_WEIGHT)
        wide = elapsed / BACKGROUND_SCALE
        background = -0.5 * wide * wide + math.log(BACKGROUND_WEIGHT / BACKGROUND_SCALE)
        return torch.logaddexp(learned, background) - 0.5 * math.log(2 * math.pi)

    def to_arrays(self) -> dict[str, Singles]:
        """Weights as named arrays, the LSTM's two biases added into one."""
        state = {
            name: value.detach().float().cpu().numpy() for name, value in self.state_dict().items()
        }
        arrays = {
            "lstm/input": state.pop("lstm.weight_ih_l0"),
            "lstm/hidden": state.pop("lstm.weight_hh_l0"),
            "lstm/bias": state.pop("lstm.bias_ih_l0") + state.pop("lstm.bias_hh_l0"),
        }
        for name, value in state.items():
            arrays[name.replace(".", "/")] = value
        return {name: np.array(value) for name, value in arrays.items()}


def build(architecture: Architecture, habits: Habits, dropout: float, seed: int) -> SequenceModel:
    """Return a model with weights drawn from the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SequenceModel(architecture, habits, dropout)
