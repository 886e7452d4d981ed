"""The shape of the sequence model, which training and scoring share; no weights, no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from anomaly_platform.ml.arrays import Singles
from anomaly_platform.ml.detectors.sequence_lstm.events import (
    ABSENT,
    BEGIN,
    END,
    SHORTEST_ELAPSED_HOURS,
    UNKNOWN,
    EventSequences,
    SequenceSpec,
)

BACKGROUND_WEIGHT = 0.005
BACKGROUND_SCALE = 4.0
"""A share of the elapsed time's density is one wide normal, in units of the training spread.

Some times have reasons that no scan tells (a hold-up, a holiday), and whole lots share them: the
share says how often, and thereby how much a time alone can surprise.
"""
#: Far beyond what is of use; a larger number would take the machine's memory.
_MOST = 4096
LOG_SIGMA_MIN, LOG_SIGMA_MAX = math.log(0.02), math.log(4.0)


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
        if max(self.hidden, self.span, self.mixtures) > _MOST:
            raise ValueError(f"width, span and mixtures are {_MOST} at most")
        numbers = (*self.unseen.values(), *self.numeric_center, self.elapsed_center)
        scales = (*self.numeric_scale, self.elapsed_scale)
        if not all(map(math.isfinite, (*numbers, *scales))) or min(scales) <= 0:
            raise ValueError("the scales of the sequence model's inputs are none")

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

    def previous_numeric(self, sequences: EventSequences) -> Singles:
        """(n, k) standardised numeric fields of the event before, zeros before a first one.

        Values beyond ±8 spreads are held there.
        """
        center = np.asarray(self.numeric_center, dtype=np.float64)
        scale = np.asarray(self.numeric_scale, dtype=np.float64)
        parts = [(sequences.continuous - center) / scale]
        if self.spec.timed:
            elapsed = np.log(sequences.elapsed_hours + SHORTEST_ELAPSED_HOURS)
            parts.append(((elapsed - self.elapsed_center) / self.elapsed_scale)[:, None])
        own = np.concatenate(parts, axis=1)
        previous = np.zeros(own.shape, dtype=np.float32)
        previous[1:] = np.clip(own[:-1], -8.0, 8.0)
        previous[sequences.offsets[:-1]] = 0.0
        return previous
