"""The sequence detector: how surprising each event is, given what came before it.

Here belongs the detector that others use: fit on sequences, score, explain, store as arrays. The
model is generic over token streams (`SequenceSpec`): scans of goods with places, events and times,
or the event ids of log sessions.

The raw score of an event is the sum of −log p over its parts: each predicted field given the
fields before it in the chain, and the density of the log of the elapsed time. The density is over
log hours, so a delay counts by its ratio to what is usual, not by its minutes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly_platform.ml.arrays import AnyArray, Arrays, Floats
from anomaly_platform.ml.detectors.base import part_of
from anomaly_platform.ml.detectors.sequence_lstm.architecture import Architecture
from anomaly_platform.ml.detectors.sequence_lstm.events import (
    EventSequences,
    SequenceSpec,
    Vocabulary,
)
from anomaly_platform.ml.detectors.sequence_lstm.parameters import (
    TrainingParameters,
    architecture_for,
)
from anomaly_platform.ml.detectors.sequence_lstm.scoring import SequenceScorer, Surprise

_ARCHITECTURE = "architecture/json"


@dataclass(frozen=True)
class SequenceEvidence:
    """Why an event surprised: what was expected and what came, field by field.

    `expected_p` and `observed_p` are the probability of each field given those before it;
    `expected_hours` is None for a first event or a model without time; `parts` are the nats of
    surprise by component.
    """

    expected: Mapping[str, str]
    expected_p: Mapping[str, float]
    observed: Mapping[str, str]
    observed_p: Mapping[str, float]
    expected_hours: float | None
    elapsed_hours: float | None
    parts: Mapping[str, float]

    @property
    def part(self) -> str:
        """The component that surprised most."""
        return max(self.parts, key=lambda name: self.parts[name])


class SequenceLSTM:
    """Embeddings, LSTM, causal attention, and the surprise of what really came next.

    Instances are fitted: use `fit` or `from_arrays`.
    """

    def __init__(
        self,
        architecture: Architecture,
        vocabularies: Mapping[str, Vocabulary],
        weights: Arrays,
        *,
        training: Mapping[str, Any] | None = None,
    ) -> None:
        missing = [n for n in architecture.spec.categorical if n not in vocabularies]
        if missing:
            raise ValueError(f"no vocabulary for {', '.join(missing)}")
        self.architecture = architecture
        self.vocabularies = dict(vocabularies)
        self.training = dict(training or {})
        """Facts about the training (history, best epoch, device); not part of the arrays."""
        self._weights = dict(weights)
        self._scorer = SequenceScorer(architecture, self._weights)

    @property
    def spec(self) -> SequenceSpec:
        """The fields that the model reads and predicts."""
        return self.architecture.spec

    @property
    def feature_schema(self) -> tuple[str, ...]:
        """Names of the columns that the model reads."""
        return self.spec.feature_schema

    @classmethod
    def fit(
        cls,
        spec: SequenceSpec,
        vocabularies: Mapping[str, Vocabulary],
        sequences: EventSequences,
        *,
        validation: EventSequences | None = None,
        counted: EventSequences | None = None,
        parameters: TrainingParameters | None = None,
        seed: int = 42,
        progress: Any | None = None,
        checkpoint: Path | None = None,
    ) -> SequenceLSTM:
        """Train on normal sequences.

        Parameters
        ----------
        spec, vocabularies, sequences
            The fields, their codes, and the training set. Every prefix of a sequence predicts the
            event after it.
        validation
            Sequences to stop by; a tenth of `sequences`, drawn by the seed, when none are given.
        counted
            More sequences that the habits are counted from, as in `training.train`.
        parameters, seed
            How to train; the seed decides everything random.
        progress, checkpoint
            As in `training.train`.
        """
        from anomaly_platform.ml.detectors.sequence_lstm.training import train

        parameters = parameters or TrainingParameters()
        if validation is None:
            sequences, validation = hold_out(sequences, 0.1, seed)
        sizes = {name: len(vocabularies[name]) for name in spec.categorical}
        architecture = architecture_for(spec, sizes, sequences, parameters)
        trained = train(
            architecture,
            sequences,
            validation,
            parameters,
            seed=seed,
            counted=counted,
            progress=progress,
            checkpoint=checkpoint,
        )
        return cls(
            trained.architecture,
            vocabularies,
            trained.arrays,
            training={
                "history": list(trained.history),
                "best_epoch": trained.best_epoch,
                "device": trained.device,
                "mixed_precision": trained.mixed_precision,
                "training_events": sequences.events,
                "validation_events": validation.events,
            },
        )

    def score(self, sequences: EventSequences) -> Floats:
        """(n,) raw scores, higher = more anomalous: nats of surprise of each event."""
        return self.surprise(sequences).total

    def surprise(self, sequences: EventSequences) -> Surprise:
        """Surprise by component, with what was expected, for each event."""
        return self._scorer.score(sequences)

    def explain(self, surprise: Surprise, sequences: EventSequences, row: int) -> SequenceEvidence:
        """Put one row of `surprise` into names. Cheap; meant for the rows that somebody reads."""
        spec = self.spec
        parts = dict(zip(spec.components, surprise.surprise[row].tolist(), strict=True))
        hours = float(surprise.expected_hours[row])
        timed = bool(np.isfinite(hours))
        expected, observed = {}, {}
        for i, name in enumerate(spec.targets):
            decode = self.vocabularies[name].decode
            expected[name] = decode(int(surprise.expected[row, i]))
            observed[name] = decode(int(sequences.codes[row, i]))
        return SequenceEvidence(
            expected=expected,
            expected_p=dict(zip(spec.targets, surprise.expected_p[row].tolist(), strict=True)),
            observed=observed,
            observed_p={name: float(np.exp(-parts[name])) for name in spec.targets},
            expected_hours=hours if timed else None,
            elapsed_hours=float(sequences.elapsed_hours[row]) if timed else None,
            parts=parts,
        )

    def to_arrays(self) -> dict[str, AnyArray]:
        """Everything that a score depends on: weights, vocabularies, the architecture."""
        arrays: dict[str, AnyArray] = {f"weights/{k}": v for k, v in self._weights.items()}
        arrays[_ARCHITECTURE] = _text_array(self.architecture.to_json())
        for name, vocabulary in self.vocabularies.items():
            arrays[f"vocabulary/{name}"] = _text_array("\n".join(vocabulary.values))
        return arrays

    @classmethod
    def from_arrays(
        cls, arrays: Arrays, feature_schema: tuple[str, ...] | None = None
    ) -> SequenceLSTM:
        """Read what `to_arrays` returned; refuse when a feature of `feature_schema` is missing."""
        architecture = Architecture.from_json(_array_text(arrays[_ARCHITECTURE]))
        missing = set(feature_schema or ()) - set(architecture.spec.feature_schema)
        if missing:
            raise ValueError(f"the model was not trained on: {', '.join(sorted(missing))}")
        vocabularies = {}
        for name in architecture.spec.categorical:
            text = _array_text(arrays[f"vocabulary/{name}"])
            vocabularies[name] = Vocabulary(tuple(text.split("\n")) if text else ())
            if len(vocabularies[name]) > architecture.sizes[name]:
                raise ValueError(f"the vocabulary of {name} is larger than the model's")
        stored = part_of(arrays, "weights/")
        weights = {name: np.array(value) for name, value in stored.items()}
        return cls(architecture, vocabularies, weights)


def hold_out(
    sequences: EventSequences, share: float, seed: int
) -> tuple[EventSequences, EventSequences]:
    """Split whole sequences at random into a larger and a smaller part, neither empty."""
    if len(sequences) < 2:
        raise ValueError("at least two sequences are needed to hold one out")
    order = np.random.default_rng(seed).permutation(len(sequences))
    held = min(len(sequences) - 1, max(1, round(share * len(sequences))))
    return sequences.take(np.sort(order[held:])), sequences.take(np.sort(order[:held]))


def _text_array(text: str) -> npt.NDArray[np.uint8]:
    return np.frombuffer(text.encode(), dtype=np.uint8).copy()


def _array_text(array: AnyArray) -> str:
    return np.asarray(array, dtype=np.uint8).tobytes().decode()
