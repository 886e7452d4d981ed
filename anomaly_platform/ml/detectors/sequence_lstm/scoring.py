"""Scoring with the trained sequence model: the forward pass over exported weights, without torch.

Here belongs the surprise of each event. A process that only scores (the daily assets, the API)
never imports torch. A sequence's scores depend on the sequence alone, to the bit: whatever is
added up is added up in `kernels`; all else goes value by value.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from anomaly_platform.ml.arrays import Arrays, Floats, Ints, Singles, SmallInts
from anomaly_platform.ml.bundles.checking import checked
from anomaly_platform.ml.detectors.sequence_lstm import kernels
from anomaly_platform.ml.detectors.sequence_lstm.architecture import Architecture
from anomaly_platform.ml.detectors.sequence_lstm.events import ABSENT, EventSequences
from anomaly_platform.ml.detectors.sequence_lstm.habits import Habits, previous_codes

EVENTS_AT_A_TIME = 4096
"""Whole sequences of about so many events are judged together: their arrays stay in the cache."""


@dataclass(frozen=True)
class Surprise:
    """Scores of events.

    surprise (n, components): −log p of each part, columns as in `SequenceSpec.components`;
    entropy (n, components): what the surprise of that part is on average, as the model sees it;
    expected (n, targets): the most likely event, greedily along the chain; expected_p
    (n, targets): the probability of each of these given those before; expected_hours (n,): where
    the likeliest component of the elapsed time has its centre (NaN without time).
    """

    surprise: Singles
    entropy: Singles
    expected: SmallInts
    expected_p: Singles
    expected_hours: Singles

    @property
    def total(self) -> Floats:
        """(n,) sum over the components: the raw anomaly score."""
        return np.asarray(self.surprise.sum(axis=1, dtype=np.float64))


class SequenceScorer:
    """The forward pass over exported weights."""

    def __init__(self, architecture: Architecture, arrays: Arrays):
        _check_weights(architecture, arrays)

        def layer(name: str) -> tuple[Singles, Singles]:
            weight = np.ascontiguousarray(arrays[f"{name}/weight"].T)
            return weight, np.ascontiguousarray(arrays[f"{name}/bias"])

        self.architecture = architecture
        spec = architecture.spec
        self._habits = Habits.from_arrays(spec, architecture.sizes, arrays)
        self._embed = [arrays[f"embeddings/{name}/weight"] for name in spec.categorical]
        # What a code adds to the gates is the same in every event: a table, made once.
        gates = np.ascontiguousarray(arrays["lstm/input"].T)
        widths = np.cumsum([embed.shape[1] for embed in self._embed])
        *fields, numeric = np.split(gates, widths)
        nothing = np.zeros(gates.shape[1], dtype=np.float32)
        self._inputs = np.concatenate(
            [kernels.linear(*pair, nothing) for pair in zip(self._embed, fields, strict=True)]
        )
        self._numeric = numeric, arrays["lstm/bias"]
        self._starts = np.cumsum([0, *(len(embed) for embed in self._embed[:-1])])
        self._hidden = np.ascontiguousarray(arrays["lstm/hidden"].T)
        self._qkv, self._mix = layer("qkv"), layer("mix")
        self._norm = arrays["norm/weight"], arrays["norm/bias"]
        self._heads = [
            None if name in spec.habitual else layer(f"heads/{name}") for name in spec.targets
        ]
        self._clock = (layer("clock_hidden"), layer("clock")) if spec.timed else None
        self._possible = np.zeros(max(architecture.sizes.values()), dtype=np.float32)
        self._possible[list(architecture.impossible)] = -np.inf

    def score(self, sequences: EventSequences) -> Surprise:
        """Surprise of every event, in the row order of `sequences`."""
        spec, rows = self.architecture.spec, sequences.events
        out = Surprise(
            surprise=np.empty((rows, len(spec.components)), dtype=np.float32),
            entropy=np.empty((rows, len(spec.components)), dtype=np.float32),
            expected=np.empty((rows, len(spec.targets)), dtype=np.int32),
            expected_p=np.empty((rows, len(spec.targets)), dtype=np.float32),
            expected_hours=np.full(rows, np.nan, dtype=np.float32),
        )
        previous = previous_codes(spec, sequences)
        numeric = self.architecture.previous_numeric(sequences)
        for offsets in _portions(sequences.offsets):
            here = slice(offsets[0], offsets[-1])
            codes = np.ascontiguousarray(sequences.codes[here])
            states = self._read(codes, previous[here], numeric[here], offsets - offsets[0])
            known = self._choices(states, codes, previous[here], out, here)
            if self._clock is not None:
                hidden, mixture = self._clock
                out.surprise[here, -1], out.entropy[here, -1], out.expected_hours[here] = (
                    kernels.clock(
                        kernels.linear(known, *hidden),
                        *mixture,
                        sequences.elapsed_hours[here],
                        self.architecture.elapsed_center,
                        self.architecture.elapsed_scale,
                    ).T
                )
        self._pardon(out, previous, sequences.offsets[:-1])
        return out

    def _read(
        self, codes: SmallInts, previous: SmallInts, numeric: Singles, offsets: Ints
    ) -> Singles:
        """Return (n, hidden) what predicts each event: the events before it, and its context."""
        fields = np.concatenate([previous, codes[:, previous.shape[1] :]], axis=1)
        gates = kernels.linear(numeric, *self._numeric)
        kernels.add_rows(self._inputs, fields + self._starts, gates)
        hidden = kernels.recur(gates, offsets, self._hidden)
        heads, span = self.architecture.heads, self.architecture.span
        read = kernels.attend(kernels.linear(hidden, *self._qkv), offsets, heads, span)
        states = hidden + kernels.linear(read, *self._mix)
        kernels.normalise(states, *self._norm)
        return np.asarray(states)

    def _choices(
        self, states: Singles, codes: SmallInts, previous: SmallInts, out: Surprise, here: slice
    ) -> Singles:
        """Judge the target fields, and return (n, k) what is known once they are."""
        known = likely = states
        guessed = codes.copy()
        for i, name in enumerate(self.architecture.spec.targets):
            unseen = self.architecture.unseen[name]
            logits = self._logits(i, known, codes, previous)
            p, out.surprise[here, i], out.entropy[here, i] = kernels.choose(
                logits, codes, i, unseen
            )
            if i:
                logits = self._logits(i, likely, guessed, previous)
                p, _, _ = kernels.choose(logits, guessed, i, unseen)
            best = p.argmax(axis=1)
            guessed[:, i] = out.expected[here, i] = best
            out.expected_p[here, i] = p[np.arange(len(p)), best]
            if self._heads[i] is not None:
                known = np.concatenate([known, self._embed[i][codes[:, i]]], axis=1)
                likely = np.concatenate([likely, self._embed[i][best]], axis=1)
        return known

    def _logits(
        self, target: int, known: Singles, codes: SmallInts, previous: SmallInts
    ) -> Singles:
        """Return (n, values) what the habit and the head of a target say, impossible codes out."""
        name, head = self.architecture.spec.targets[target], self._heads[target]
        logits = self._possible[: self.architecture.sizes[name]]
        habit = self._habits.tables.get(name)
        if habit is not None:
            rows = habit.rows(self._habits.contexts(name, codes, previous))
            logits = logits + habit.table[rows]
        if head is not None:
            logits = logits + kernels.linear(known, *head)
        return logits

    def _pardon(self, scores: Surprise, previous: SmallInts, first: Ints) -> None:
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
            blind = previous[:, 0] == ABSENT
            blind[first] = True
            scores.surprise[blind, 0] = 0.0
            scores.entropy[blind, 0] = 0.0


def _check_weights(architecture: Architecture, arrays: Arrays) -> None:
    """Refuse weights of another shape than the architecture's: the kernels check no bounds.

    Raises
    ------
    BadModelError
        When one is missing or another.
    """
    spec, sizes, hidden = architecture.spec, architecture.sizes, architecture.hidden
    width = architecture.input_width

    def layer(name: str, given: int, made: int) -> None:
        checked(arrays, f"{name}/weight", (made, given))
        checked(arrays, f"{name}/bias", (made,))

    for name, embedded in architecture.embedding_widths.items():
        checked(arrays, f"embeddings/{name}/weight", (sizes[name], embedded))
    checked(arrays, "lstm/input", (4 * hidden, width))
    checked(arrays, "lstm/bias", (4 * hidden,))
    checked(arrays, "lstm/hidden", (4 * hidden, hidden))
    layer("qkv", hidden, 3 * hidden)
    layer("mix", hidden, hidden)
    checked(arrays, "norm/weight", (hidden,))
    checked(arrays, "norm/bias", (hidden,))
    known = hidden
    for name in spec.targets:
        if name not in spec.habitual:
            layer(f"heads/{name}", known, sizes[name])
            known += architecture.embedding_widths[name]
    if spec.timed:
        within = checked(arrays, "clock_hidden/bias", (None,)).shape[0]
        layer("clock_hidden", known, within)
        layer("clock", within, 3 * architecture.mixtures)
    for target in spec.habits:
        keys = arrays.get(f"habits/{target}/keys")
        count = 0 if keys is None else keys.size
        checked(arrays, f"habits/{target}/keys", (count,), kinds="iu")
        checked(arrays, f"habits/{target}/table", (count + 1, sizes[target]))


def _portions(offsets: Ints) -> Iterator[Ints]:
    """Cut offsets of sequences where `EVENTS_AT_A_TIME` events are full."""
    portion = offsets[:-1] // EVENTS_AT_A_TIME
    cuts = [0, *(np.flatnonzero(np.diff(portion)) + 1), len(portion)]
    for begin, end in pairwise(cuts):
        yield offsets[begin : end + 1]
