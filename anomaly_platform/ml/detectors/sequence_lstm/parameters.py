"""What a user may choose about the sequence model, and the shape that follows from the data.

Here belongs `TrainingParameters` and how an `Architecture` is fixed from them and the training
sequences. No torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from anomaly_platform.ml.detectors.sequence_lstm.architecture import Architecture
from anomaly_platform.ml.detectors.sequence_lstm.events import (
    SHORTEST_ELAPSED_HOURS,
    EventSequences,
    SequenceSpec,
)


@dataclass(frozen=True)
class TrainingParameters:
    """How a sequence model is shaped and trained.

    Parameters
    ----------
    hidden, heads, span, mixtures
        As in `Architecture`.
    dropout, unknown_rate
        Share of the state's units, and of the codes read, that are hidden in training.
    learning_rate, weight_decay, clip
        Of AdamW; the rate falls to a twentieth along a cosine over `max_epochs`; the gradient's
        norm is clipped.
    batch_events
        Events per batch, about.
    max_epochs, patience
        Training ends after `patience` epochs without a better validation loss.
    threads
        CPU threads of torch. More than one gives up bit-identity across machines, not on one.
    device
        `auto` takes a GPU where there is one; `cpu` or `cuda` say so.
    amp
        Mixed precision; None means on a GPU only.
    """

    hidden: int = 64
    heads: int = 2
    span: int = 32
    mixtures: int = 6
    dropout: float = 0.2
    unknown_rate: float = 0.01
    learning_rate: float = 4e-3
    weight_decay: float = 1e-3
    clip: float = 1.0
    batch_events: int = 2048
    max_epochs: int = 25
    patience: int = 4
    threads: int = 1
    device: str = "auto"
    amp: bool | None = None

    def __post_init__(self) -> None:
        positive = ("hidden", "heads", "span", "mixtures", "batch_events", "max_epochs", "threads")
        for name in positive:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, at least 1 is needed")
        if not 0 <= self.dropout < 1 or not 0 <= self.unknown_rate < 1:
            raise ValueError("dropout and unknown_rate lie in [0, 1)")
        if self.patience < 1 or self.learning_rate <= 0 or self.clip <= 0:
            raise ValueError("patience is at least 1, learning_rate and clip are positive")


def architecture_for(
    spec: SequenceSpec,
    sizes: Mapping[str, int],
    sequences: EventSequences,
    parameters: TrainingParameters,
) -> Architecture:
    """Fix the model's shape, with the scales of its inputs learned from the training sequences."""
    numeric = sequences.continuous.astype(np.float64)
    center, scale = numeric.mean(axis=0), numeric.std(axis=0)
    later = sequences.elapsed_hours[sequences.positions() > 0]
    elapsed = np.log(later + SHORTEST_ELAPSED_HOURS)
    spread = float(elapsed.std()) if len(elapsed) else 0.0
    return Architecture(
        spec=spec,
        sizes=dict(sizes),
        hidden=parameters.hidden,
        heads=parameters.heads,
        span=parameters.span,
        mixtures=parameters.mixtures,
        unseen={
            name: _unseen_probability(sequences, column) for column, name in enumerate(spec.targets)
        },
        numeric_center=tuple(float(c) for c in center),
        numeric_scale=tuple(float(s) if s > 0 else 1.0 for s in scale),
        elapsed_center=float(elapsed.mean()) if len(elapsed) else 0.0,
        elapsed_scale=max(spread, 1e-3),
    )


def _unseen_probability(sequences: EventSequences, column: int) -> float:
    """Good–Turing estimate of the next value being new, held within 1e-7 to 1e-2."""
    weights = np.repeat(sequences.weights, sequences.lengths)
    counts = np.bincount(sequences.codes[:, column], weights=weights)
    once = int(np.count_nonzero((counts > 0) & (counts <= 1)))
    return float(np.clip((once + 0.5) / (weights.sum() + 1.0), 1e-7, 1e-2))
