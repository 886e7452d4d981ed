"""Scoring with the trained sequence model: NumPy only, in batches or one event at a time.

Here belongs the forward pass over exported weights and the surprise of each event. A process that
only scores (the daily assets, the API) never imports torch. In a batch and one at a time the same
function advances the carried state, so that both agree to single-precision rounding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly_platform.ml.detectors.sequence_lstm.architecture import (
    BACKGROUND_SCALE,
    BACKGROUND_WEIGHT,
    LOG_SIGMA_MAX,
    LOG_SIGMA_MIN,
    Architecture,
    SequenceState,
)
from anomaly_platform.ml.detectors.sequence_lstm.events import (
    ABSENT,
    SHORTEST_ELAPSED_HOURS,
    UNKNOWN,
    Batch,
    EventSequences,
    FloatArray,
    IntArray,
    plan_batches,
)
from anomaly_platform.ml.detectors.sequence_lstm.habits import Habits, previous_codes

PROBABILITY_FLOOR = 1e-7
"""No categorical surprise exceeds −log of this: what never happened is not infinitely unlikely."""
SCORING_EVENTS = 65_536
"""Events that one batch holds; the attention's memory grows with it."""
LAYER_NORM_EPSILON = 1e-5


@dataclass(frozen=True)
class Surprise:
    """Scores of events.

    surprise (n, components): −log p of each part, columns as in `SequenceSpec.components`;
    entropy (n, components): what the surprise of that part is on average, as the model sees it;
    expected (n, targets): the most likely event, greedily along the chain; expected_p
    (n, targets): the probability of each of these given those before; expected_hours (n,): where
    the likeliest component of the elapsed time has its centre (NaN without time).
    """

    surprise: FloatArray
    entropy: FloatArray
    expected: IntArray
    expected_p: FloatArray
    expected_hours: FloatArray

    @property
    def total(self) -> npt.NDArray[np.float64]:
        """(n,) sum over the components: the raw anomaly score."""
        return np.asarray(self.surprise.sum(axis=1, dtype=np.float64))


class SequenceScorer:
    """The forward pass over exported weights."""

    def __init__(self, architecture: Architecture, arrays: Mapping[str, npt.NDArray[Any]]):
        self.architecture = architecture
        spec = architecture.spec
        self._habits = Habits.from_arrays(spec, architecture.sizes, arrays)
        self._embed = [arrays[f"embeddings/{name}/weight"] for name in spec.categorical]
        self._gates = np.ascontiguousarray(
            np.concatenate([arrays["lstm/input"], arrays["lstm/hidden"]], axis=1).T
        )
        self._gate_bias = arrays["lstm/bias"]
        self._qkv = np.ascontiguousarray(arrays["qkv/weight"].T), arrays["qkv/bias"]
        self._mix = np.ascontiguousarray(arrays["mix/weight"].T), arrays["mix/bias"]
        self._norm = arrays["norm/weight"], arrays["norm/bias"]
        self._heads = [
            self._head(name, arrays) if name not in spec.habitual else None for name in spec.targets
        ]
        self._possible = np.zeros(max(architecture.sizes.values()), dtype=np.float32)
        self._possible[list(architecture.impossible)] = -np.inf
        if spec.timed:
            self._clock_hidden = (
                np.ascontiguousarray(arrays["clock_hidden/weight"].T),
                arrays["clock_hidden/bias"],
            )
            self._clock = np.ascontiguousarray(arrays["clock/weight"].T), arrays["clock/bias"]

    def _head(
        self, name: str, arrays: Mapping[str, npt.NDArray[Any]]
    ) -> tuple[FloatArray, FloatArray]:
        weight = np.ascontiguousarray(arrays[f"heads/{name}/weight"].T)
        return weight, _without(arrays[f"heads/{name}/bias"], self.architecture.impossible)

    def score(self, sequences: EventSequences) -> Surprise:
        """Surprise of every event, in the row order of `sequences`."""
        architecture = self.architecture
        spec = architecture.spec
        rows = sequences.events
        out = Surprise(
            surprise=np.empty((rows, len(spec.components)), dtype=np.float32),
            entropy=np.empty((rows, len(spec.components)), dtype=np.float32),
            expected=np.empty((rows, len(spec.targets)), dtype=np.int32),
            expected_p=np.empty((rows, len(spec.targets)), dtype=np.float32),
            expected_hours=np.full(rows, np.nan, dtype=np.float32),
        )
        numeric = architecture.numeric(sequences.continuous, sequences.elapsed_hours)
        previous = previous_codes(spec, sequences)
        for batch in plan_batches(sequences.offsets, SCORING_EVENTS):
            self._score_batch(sequences, numeric, previous, batch, out)
        return out

    def _score_batch(
        self,
        sequences: EventSequences,
        numeric: FloatArray,
        previous: IntArray,
        batch: Batch,
        out: Surprise,
    ) -> None:
        rows, sizes = batch.rows, batch.sizes
        state = SequenceState.begin(self.architecture, int(sizes[0]), len(sizes))
        states = np.empty((len(rows), self.architecture.hidden), dtype=np.float32)
        position = 0
        for running in sizes:
            here = rows[position : position + running]
            state = _first(state, int(running))
            states[position : position + running] = self._advance(state, sequences.codes[here])
            state.previous = sequences.codes[here, : state.previous.shape[1]]
            state.numeric = numeric[here]
            position += int(running)
        result = self._judge(
            states, sequences.codes[rows], previous[rows], sequences.elapsed_hours[rows]
        )
        self._pardon(result, previous[rows], np.arange(len(rows)) < sizes[0])
        for target, source in zip(_fields(out), _fields(result), strict=True):
            target[rows] = source

    def step(
        self,
        state: SequenceState,
        codes: IntArray,
        continuous: FloatArray,
        elapsed_hours: float,
    ) -> tuple[Surprise, SequenceState]:
        """Score the next event of one sequence and return the state after it.

        Parameters
        ----------
        state
            The sequence's state so far; left as it is.
        codes, continuous, elapsed_hours
            (fields,) codes, (k,) raw numeric fields, and hours since the previous event.
        """
        first = state.seen == 0
        after = SequenceState(
            hidden=state.hidden,
            cell=state.cell,
            keys=state.keys.copy(),
            values=state.values.copy(),
            previous=state.previous,
            numeric=state.numeric,
            seen=state.seen,
        )
        row = np.asarray(codes, dtype=np.int32)[None, :]
        hours = np.array([elapsed_hours], dtype=np.float64)
        surprise = self._judge(self._advance(after, row), row, state.previous, hours)
        self._pardon(surprise, state.previous, np.array([first]))
        after.previous = row[:, : after.previous.shape[1]].copy()
        after.numeric = self.architecture.numeric(
            np.asarray(continuous, dtype=np.float32)[None, :], hours
        )
        return surprise, after

    def _pardon(self, scores: Surprise, previous: IntArray, first: npt.NDArray[np.bool_]) -> None:
        """Leave out what cannot be judged.

        A first event has no elapsed time. Its first field says nothing either unless sequences
        are complete: it is where observation began. Nor does the first field after an event that
        did not give it.
        """
        if self.architecture.spec.timed:
            scores.surprise[first, -1] = 0.0
            scores.entropy[first, -1] = 0.0
            scores.expected_hours[first] = np.nan
        if not self.architecture.spec.ended:
            blind = first | (previous[:, 0] == ABSENT)
            scores.surprise[blind, 0] = 0.0
            scores.entropy[blind, 0] = 0.0

    def _advance(self, state: SequenceState, codes: IntArray) -> FloatArray:
        """Read the event before and the context of the one to come; return what predicts it."""
        architecture = self.architecture
        lagged = state.previous.shape[1]
        parts = [self._embed[i][state.previous[:, i]] for i in range(lagged)]
        parts += [self._embed[i][codes[:, i]] for i in range(lagged, codes.shape[1])]
        inputs = np.concatenate([*parts, state.numeric, state.hidden], axis=1)
        hidden, width = architecture.hidden, architecture.hidden // architecture.heads
        gates = inputs @ self._gates + self._gate_bias
        keep_in = _sigmoid(gates[:, :hidden])
        keep_old = _sigmoid(gates[:, hidden : 2 * hidden])
        new = np.tanh(gates[:, 2 * hidden : 3 * hidden])
        show = _sigmoid(gates[:, 3 * hidden :])
        state.cell = keep_old * state.cell + keep_in * new
        state.hidden = show * np.tanh(state.cell)

        qkv = state.hidden @ self._qkv[0] + self._qkv[1]
        query, key, value = qkv.reshape(-1, 3, architecture.heads, width).transpose(1, 0, 2, 3)
        slot = state.seen % state.keys.shape[2]
        state.keys[:, :, slot] = key
        state.values[:, :, slot] = value
        state.seen += 1
        used = min(state.seen, state.keys.shape[2])
        weight = (state.keys[:, :, :used] @ query[..., None])[..., 0] / np.float32(math.sqrt(width))
        weight = np.exp(weight - weight.max(axis=-1, keepdims=True))
        weight /= weight.sum(axis=-1, keepdims=True)
        seen = (weight[:, :, None, :] @ state.values[:, :, :used])[:, :, 0]
        mixed = state.hidden + seen.reshape(-1, hidden) @ self._mix[0] + self._mix[1]
        centred = mixed - mixed.mean(axis=1, keepdims=True)
        spread = np.sqrt((centred * centred).mean(axis=1, keepdims=True) + LAYER_NORM_EPSILON)
        return np.asarray(centred / spread * self._norm[0] + self._norm[1], dtype=np.float32)

    def _judge(
        self,
        states: FloatArray,
        codes: IntArray,
        previous: IntArray,
        elapsed_hours: npt.NDArray[np.float64],
    ) -> Surprise:
        spec = self.architecture.spec
        rows = np.arange(len(states))
        known = likely = states
        surprise, entropy, expected = [], [], []
        guessed = codes.copy()
        expected_p = np.empty((len(states), len(self._heads)), dtype=np.float32)
        for i, head in enumerate(self._heads):
            came = codes[:, i]
            unseen = self.architecture.unseen[spec.targets[i]]
            habit = self._habit(spec.targets[i], codes, previous)
            p = _probabilities(self._logits(head, known) + habit, unseen)
            best_p = p
            if i:
                habit = self._habit(spec.targets[i], guessed, previous)
                best_p = _probabilities(self._logits(head, likely) + habit, unseen)
            best = best_p.argmax(axis=1).astype(np.int32)
            guessed[:, i] = best
            expected.append(best)
            expected_p[:, i] = best_p[rows, best]
            probability = np.where(came == ABSENT, np.float32(1.0), p[rows, came])
            entropy.append(-(p * np.log(np.maximum(p, np.float32(PROBABILITY_FLOOR)))).sum(axis=1))
            surprise.append(-np.log(np.maximum(probability, np.float32(PROBABILITY_FLOOR))))
            if head is not None:
                likely = np.concatenate([likely, self._embed[i][best]], axis=1)
                known = np.concatenate([known, self._embed[i][came]], axis=1)
        hours = np.full(len(states), np.nan, dtype=np.float32)
        if spec.timed:
            part, usual, hours = self._clock_surprise(known, elapsed_hours)
            surprise.append(part)
            entropy.append(usual)
        return Surprise(
            surprise=np.stack(surprise, axis=1).astype(np.float32),
            entropy=np.stack(entropy, axis=1).astype(np.float32),
            expected=np.stack(expected, axis=1),
            expected_p=expected_p,
            expected_hours=hours,
        )

    def _logits(self, head: tuple[FloatArray, FloatArray] | None, known: FloatArray) -> FloatArray:
        if head is None:
            return np.zeros(1, dtype=np.float32)
        return np.asarray(known @ head[0] + head[1], dtype=np.float32)

    def _habit(self, target: str, codes: IntArray, previous: IntArray) -> FloatArray | float:
        habit = self._habits.tables.get(target)
        if habit is None:
            return 0.0
        rows = habit.rows(self._habits.contexts(target, codes, previous))
        return habit.table[rows] + self._possible[: habit.table.shape[1]]

    def _clock_surprise(
        self, known: FloatArray, elapsed_hours: npt.NDArray[np.float64]
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        architecture = self.architecture
        hidden = np.tanh(known @ self._clock_hidden[0] + self._clock_hidden[1])
        raw = (hidden @ self._clock[0] + self._clock[1]).astype(np.float64)
        weight, centre, log_sigma = np.split(raw, 3, axis=1)
        log_sigma = np.clip(log_sigma, LOG_SIGMA_MIN, LOG_SIGMA_MAX)
        log_weight = weight - _logsumexp(weight)[:, None]
        elapsed = np.log(elapsed_hours + SHORTEST_ELAPSED_HOURS)
        elapsed = (elapsed - architecture.elapsed_center) / architecture.elapsed_scale
        z = (elapsed[:, None] - centre) * np.exp(-log_sigma)
        learned = _logsumexp(log_weight - 0.5 * z * z - log_sigma) + math.log1p(-BACKGROUND_WEIGHT)
        wide = elapsed / BACKGROUND_SCALE
        background = -0.5 * wide * wide + math.log(BACKGROUND_WEIGHT / BACKGROUND_SCALE)
        log_density = np.logaddexp(learned, background) - 0.5 * math.log(2 * math.pi)
        likeliest = centre[np.arange(len(centre)), (log_weight - log_sigma).argmax(axis=1)]
        hours = np.exp(
            np.clip(likeliest * architecture.elapsed_scale + architecture.elapsed_center, -20, 20)
        )
        # The entropy of a mixture is at most that of its parts, plus that of the choice.
        p = np.exp(log_weight)
        usual = (p * (log_sigma - log_weight)).sum(axis=1) + 0.5 * math.log(2 * math.pi * math.e)
        return (
            (-log_density).astype(np.float32),
            usual.astype(np.float32),
            hours.astype(np.float32),
        )


def _fields(scores: Surprise) -> tuple[npt.NDArray[np.generic], ...]:
    return (
        scores.surprise,
        scores.entropy,
        scores.expected,
        scores.expected_p,
        scores.expected_hours,
    )


def _first(state: SequenceState, running: int) -> SequenceState:
    """Keep the sequences that still run; they are the first ones of a packed batch."""
    if running == len(state.hidden):
        return state
    return SequenceState(
        hidden=state.hidden[:running],
        cell=state.cell[:running],
        keys=state.keys[:running],
        values=state.values[:running],
        previous=state.previous[:running],
        numeric=state.numeric[:running],
        seen=state.seen,
    )


def _sigmoid(x: FloatArray) -> FloatArray:
    half = np.float32(0.5)
    return np.asarray(half * np.tanh(half * x) + half, dtype=np.float32)


def _without(bias: FloatArray, codes: tuple[int, ...]) -> FloatArray:
    bias = bias.copy()
    bias[list(codes)] = -np.inf
    return bias


def _probabilities(logits: FloatArray, unseen: float) -> FloatArray:
    """Softmax over the values that training knew, and `unseen` for all others together."""
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p *= np.float32(1.0 - unseen) / p.sum(axis=1, keepdims=True)
    p[:, UNKNOWN] = unseen
    return np.asarray(p, dtype=np.float32)


def _logsumexp(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    top = x.max(axis=1)
    return np.asarray(top + np.log(np.exp(x - top[:, None]).sum(axis=1)))
