"""The shape of the sequence model and the state that a sequence carries; no weights, no torch.

Here belongs what training and scoring share: `Architecture` (fields, widths, scales of the
inputs) and `SequenceState` with its bytes. The state is bounded whatever a sequence's length: the
LSTM's two vectors, which remember the whole past in their way, the keys and values of the last
`span` events for the attention, and the last event.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly_platform.ml.detectors.sequence_lstm.events import (
    ABSENT,
    BEGIN,
    END,
    SHORTEST_ELAPSED_HOURS,
    UNKNOWN,
    FloatArray,
    IntArray,
    SequenceSpec,
)

BACKGROUND_WEIGHT = 0.005
BACKGROUND_SCALE = 4.0
"""A share of the elapsed time's density is one wide normal, in units of the training spread.

Some times have reasons that no scan tells (a hold-up, a holiday), and whole lots share them: the
share says how often, and thereby how much a time alone can surprise.
"""
LOG_SIGMA_MIN, LOG_SIGMA_MAX = math.log(0.02), math.log(4.0)
STATE_VERSION = 1


@dataclass(frozen=True)
class Architecture:
    """The shape of a sequence model and the scales of its inputs; everything but its weights.

    Parameters
    ----------
    spec, sizes
        Fields, and the size of each categorical field's vocabulary (reserved codes included).
    hidden, heads, span, mixtures
        Width of the LSTM, attention heads (a divisor of it), events that attention reaches back,
        components of the elapsed time's density.
    unseen
        Per target field, the probability of a value that training never contained. A softmax
        cannot learn it, so it is estimated from the training's counts (Good and Turing: the share
        of values seen once) and left out of the softmax.
    numeric_center, numeric_scale
        Per continuous field, from the training part.
    elapsed_center, elapsed_scale
        Of log hours between events, from the training part.
    """

    spec: SequenceSpec
    sizes: Mapping[str, int]
    hidden: int
    heads: int
    span: int
    mixtures: int
    unseen: Mapping[str, float]
    numeric_center: tuple[float, ...]
    numeric_scale: tuple[float, ...]
    elapsed_center: float
    elapsed_scale: float

    def __post_init__(self) -> None:
        if self.hidden % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a width of {self.hidden}")
        if self.span < 1 or self.mixtures < 1:
            raise ValueError("span and mixtures are at least 1")

    @property
    def embedding_widths(self) -> dict[str, int]:
        """Width of each field's embedding: grows with the square root of its vocabulary, 4–32."""
        return {
            name: int(min(32, max(4, 2 * math.isqrt(self.sizes[name]))))
            for name in self.spec.categorical
        }

    @property
    def impossible(self) -> tuple[int, ...]:
        """Codes that are never predicted by a softmax."""
        return (UNKNOWN, BEGIN, ABSENT, *(() if self.spec.ended else (END,)))

    @property
    def input_width(self) -> int:
        """Numbers that the LSTM reads per event."""
        elapsed = 1 if self.spec.timed else 0
        return sum(self.embedding_widths.values()) + len(self.spec.continuous) + elapsed

    def to_json(self) -> str:
        """Return the architecture as a JSON object."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Architecture:
        """Read what `to_json` wrote."""
        raw: dict[str, Any] = json.loads(text)
        spec: dict[str, Any] = raw.pop("spec")
        for name, value in spec.items():
            spec[name] = tuple(value) if isinstance(value, list) else value
        spec["habits"] = {target: tuple(given) for target, given in spec["habits"].items()}
        for name in ("numeric_center", "numeric_scale"):
            raw[name] = tuple(raw[name])
        return cls(spec=SequenceSpec(**spec), **raw)

    def numeric(self, continuous: FloatArray, elapsed_hours: npt.NDArray[np.float64]) -> FloatArray:
        """(n, k) standardised numeric inputs; values beyond ±8 spreads are held there."""
        center = np.asarray(self.numeric_center, dtype=np.float64)
        scale = np.asarray(self.numeric_scale, dtype=np.float64)
        parts = [(continuous - center) / scale]
        if self.spec.timed:
            elapsed = np.log(elapsed_hours + SHORTEST_ELAPSED_HOURS)
            parts.append(((elapsed - self.elapsed_center) / self.elapsed_scale)[:, None])
        return np.clip(np.concatenate(parts, axis=1), -8.0, 8.0).astype(np.float32)


@dataclass
class SequenceState:
    """What sequences carry from one event to the next; B sequences side by side.

    hidden, cell (B, H); keys, values (B, heads, span, H / heads), a ring; `seen` counts the
    events so far; previous (B, lagged fields) codes and numeric (B, k) inputs of the last event.
    """

    hidden: FloatArray
    cell: FloatArray
    keys: FloatArray
    values: FloatArray
    previous: IntArray
    numeric: FloatArray
    seen: int = 0

    @classmethod
    def begin(
        cls, architecture: Architecture, sequences: int = 1, steps: int | None = None
    ) -> SequenceState:
        """Return the state before the first event, with room for `steps` events (at most span)."""
        hidden, heads, spec = architecture.hidden, architecture.heads, architecture.spec
        room = architecture.span if steps is None else min(steps, architecture.span)
        ring = (sequences, heads, room, hidden // heads)
        numeric = len(spec.continuous) + (1 if spec.timed else 0)
        return cls(
            hidden=np.zeros((sequences, hidden), dtype=np.float32),
            cell=np.zeros((sequences, hidden), dtype=np.float32),
            keys=np.zeros(ring, dtype=np.float32),
            values=np.zeros(ring, dtype=np.float32),
            previous=np.full((sequences, len(spec.lagged)), BEGIN, dtype=np.int32),
            numeric=np.zeros((sequences, numeric), dtype=np.float32),
        )

    def to_bytes(self) -> bytes:
        """Return the state of one sequence in a compact form, the used part of the ring only."""
        used = min(self.seen, self.keys.shape[2])
        head = np.array([STATE_VERSION, self.seen], dtype="<i8").tobytes()
        body = (
            self.hidden,
            self.cell,
            self.keys[:, :, :used],
            self.values[:, :, :used],
            self.numeric,
        )
        return b"".join(
            [head, self.previous.astype("<i4").tobytes()]
            + [part.astype("<f4").tobytes() for part in body]
        )

    @classmethod
    def from_bytes(cls, data: bytes, architecture: Architecture) -> SequenceState:
        """Read what `to_bytes` wrote for a model of the same architecture."""
        state = cls.begin(architecture)
        if len(data) < 16:
            raise ValueError("a sequence's state is truncated")
        version, seen = (int(v) for v in np.frombuffer(data, dtype="<i8", count=2))
        if version != STATE_VERSION:
            raise ValueError(f"state version {version}, this code reads {STATE_VERSION}")
        used = min(seen, architecture.span)
        parts: list[npt.NDArray[np.generic]] = [
            state.previous,
            state.hidden,
            state.cell,
            state.keys[:, :, :used],
            state.values[:, :, :used],
            state.numeric,
        ]
        position = 16
        if len(data) != position + 4 * sum(part.size for part in parts):
            raise ValueError("a sequence's state does not fit this model's architecture")
        for part in parts:
            kind = "<i4" if part.dtype == np.int32 else "<f4"
            flat = np.frombuffer(data, dtype=kind, count=part.size, offset=position)
            part[...] = flat.reshape(part.shape)
            position += 4 * part.size
        state.seen = seen
        return state
