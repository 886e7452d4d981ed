"""What the sequence model reads: fields, vocabularies, and sequences of events as flat arrays.

Here belongs the description of a token stream (`SequenceSpec`), the coding of its values
(`Vocabulary`), the ragged layout that training and scoring share (`EventSequences`) and the plan
by which sequences become batches (`plan_batches`). NumPy only: no model, no training, no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from anomaly_platform.ml.arrays import Floats, Ints, Singles, SmallInts

UNKNOWN = 0
BEGIN = 1
END = 2
ABSENT = 3
RESERVED = 4
"""Codes below this one have a meaning of their own; a vocabulary's values start here.

`UNKNOWN`: a value that training never saw. `BEGIN`: before a first event. `END`: the end of a
sequence. `ABSENT`: no value was given; that is read, but neither predicted nor a surprise.
"""

SHORTEST_ELAPSED_HOURS = 1.0 / 3600.0
"""Added to every elapsed time before its logarithm, so that two events in one second are finite."""


@dataclass(frozen=True)
class SequenceSpec:
    """Which fields an event has and what the model does with each.

    Parameters
    ----------
    targets
        Categorical fields that the model predicts, in chain-rule order: the second is predicted
        given the first, and so on. At least one.
    context
        Categorical fields that are known before the event happens (a product, a type of session).
    inputs
        Categorical fields that are read once the event has happened, but not predicted.
    continuous
        Numeric fields that are read once the event has happened. Standardised by the model.
    timed
        Whether the time to the next event is predicted as well, as a density over log hours.
    ended
        Whether the end of a sequence is an event of its own: a sequence that stops early is then
        as surprising as a wrong event. For sequences that are complete when they are scored.
    habits
        For some targets the fields whose smoothed frequencies its head starts from, the most
        telling first. `last x` is field x of the event before; a plain name is a field that is
        known when the target is predicted (a context, or an earlier target).
    habitual
        Targets that are judged by their habit alone, without the network: what a place does at
        some hour is a fact about the place, and a network that sees the past finds in it reasons
        that were accidents. Later targets and the elapsed time are predicted without knowing them.
    """

    targets: tuple[str, ...]
    context: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    continuous: tuple[str, ...] = ()
    timed: bool = True
    ended: bool = False
    habits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    habitual: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.targets:
            raise ValueError("a sequence model needs at least one field to predict")
        names = (*self.categorical, *self.continuous)
        if len(set(names)) != len(names):
            raise ValueError(f"a field has one role only, got {names}")
        if not set(self.habitual) <= set(self.habits):
            raise ValueError("a field that is judged by its habit needs one")
        for target, given in self.habits.items():
            at = self.targets.index(target)
            known = {*self.context, *self.targets[:at], *(f"last {name}" for name in self.lagged)}
            if not given or not set(given) <= known:
                raise ValueError(f"the habit of {target} needs fields of {sorted(known)}")

    @property
    def categorical(self) -> tuple[str, ...]:
        """All categorical fields, in the column order of `EventSequences.codes`."""
        return (*self.targets, *self.inputs, *self.context)

    @property
    def lagged(self) -> tuple[str, ...]:
        """Categorical fields that the model reads of the previous event."""
        return (*self.targets, *self.inputs)

    @property
    def components(self) -> tuple[str, ...]:
        """Names of the parts of an event's surprise, in column order."""
        return (*self.targets, *(("elapsed",) if self.timed else ()))

    @property
    def feature_schema(self) -> tuple[str, ...]:
        """Every column that the model reads."""
        elapsed = ("elapsed_hours",) if self.timed else ()
        return (*self.categorical, *self.continuous, *elapsed)


@dataclass(frozen=True)
class Vocabulary:
    """The values of one categorical field and their codes, fixed at training.

    Values never seen in training get the code `UNKNOWN`; codes are dense, and independent of the
    order in which values appeared.
    """

    values: tuple[str, ...]
    _codes: Mapping[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        codes = {value: code for code, value in enumerate(self.values, start=RESERVED)}
        if len(codes) != len(self.values):
            raise ValueError("a vocabulary's values must differ")
        object.__setattr__(self, "_codes", codes)

    @classmethod
    def learn(cls, values: Sequence[str] | npt.NDArray[np.object_]) -> Vocabulary:
        """Collect the distinct values, sorted."""
        return cls(tuple(sorted({str(value) for value in values})))

    def __len__(self) -> int:
        return len(self.values) + RESERVED

    def encode(self, values: Sequence[str | None]) -> SmallInts:
        """Codes of `values`, `UNKNOWN` for those never seen, `ABSENT` for None."""
        codes: dict[str | None, int] = {None: ABSENT}
        codes.update(self._codes)
        return np.fromiter(
            (codes.get(value, UNKNOWN) for value in values), dtype=np.int32, count=len(values)
        )

    def decode(self, code: int) -> str:
        """Return the value behind a code, in words for the reserved ones."""
        if code >= RESERVED:
            return self.values[code - RESERVED]
        return ("something never seen", "the beginning", "the end", "nothing")[code]


@dataclass(frozen=True)
class EventSequences:
    """Sequences of events, one after the other, as flat arrays.

    Parameters
    ----------
    codes
        (n, fields) codes, columns as in `SequenceSpec.categorical`.
    continuous
        (n, k) raw numeric fields, finite.
    elapsed_hours
        (n,) hours since the previous event of the same sequence, ≥ 0; 0 for a first event.
    offsets
        (sequences + 1,) positions: sequence i has the rows offsets[i] to offsets[i + 1] − 1.
    weights
        (sequences,) how often each sequence occurs. Equal sequences may be given once.
    groups
        (sequences,) which of them are no independent observations (units of a lot, which travel
        together): a group that does the same thing many times did it once. By default each
        sequence is its own group.
    observations
        (n,) how much each event counts where habits are counted, > 0, for those who know better
        than by the group: of what moves together each event counts its share. By default a group
        counts 1 in each context.
    """

    codes: SmallInts
    continuous: Singles
    elapsed_hours: Floats
    offsets: Ints
    weights: Singles
    groups: Ints | None = None
    observations: Floats | None = None

    def __post_init__(self) -> None:
        rows = int(self.offsets[-1])
        lengths = [len(self.codes), len(self.continuous), len(self.elapsed_hours)]
        if self.observations is not None:
            lengths.append(len(self.observations))
        if any(length != rows for length in lengths):
            raise ValueError(f"offsets end at {rows}, but the arrays have {lengths} rows")
        if len(self.weights) != len(self):
            raise ValueError(f"{len(self)} sequences, but {len(self.weights)} weights")
        if self.groups is not None and len(self.groups) != len(self):
            raise ValueError(f"{len(self)} sequences, but {len(self.groups)} groups")
        if len(self) and int(self.lengths.min()) < 1:
            raise ValueError("a sequence has at least one event")
        self._refuse_not_finite()

    def _refuse_not_finite(self) -> None:
        bad = ~np.isfinite(self.elapsed_hours) | (self.elapsed_hours < 0)
        if bad.any():
            row = int(np.argmax(bad))
            raise ValueError(
                f"elapsed_hours is {self.elapsed_hours[row]} in row {row}: "
                "finite and not negative is needed"
            )
        wrong = ~np.isfinite(self.continuous)
        if wrong.any():
            row, column = (int(i) for i in np.argwhere(wrong)[0])
            raise ValueError(
                f"continuous field {column} is {self.continuous[row, column]} in row {row}: "
                "finite is needed"
            )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def events(self) -> int:
        """Number of events, every sequence counted once."""
        return int(self.offsets[-1])

    @property
    def lengths(self) -> Ints:
        """(sequences,) number of events of each."""
        return np.diff(self.offsets)

    def take(self, sequences: npt.NDArray[np.integer]) -> EventSequences:
        """Return the named sequences, in the order asked for."""
        lengths = self.lengths[sequences]
        offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        rows = np.repeat(self.offsets[:-1][sequences] - offsets[:-1], lengths)
        rows = rows + np.arange(offsets[-1])
        return EventSequences(
            codes=self.codes[rows],
            continuous=self.continuous[rows],
            elapsed_hours=self.elapsed_hours[rows],
            offsets=offsets,
            weights=self.weights[sequences],
            groups=None if self.groups is None else self.groups[sequences],
            observations=None if self.observations is None else self.observations[rows],
        )

    def group_of_sequence(self) -> Ints:
        """(sequences,) group of each sequence."""
        return np.arange(len(self)) if self.groups is None else self.groups

    def group_of_event(self) -> Ints:
        """(n,) group of each event's sequence."""
        return np.repeat(self.group_of_sequence(), self.lengths)

    def positions(self) -> Ints:
        """(n,) place of each event in its sequence, from 0."""
        return np.arange(self.events) - np.repeat(self.offsets[:-1], self.lengths)


def joined(first: EventSequences, second: EventSequences) -> EventSequences:
    """Sequences of both, in order; their groups must come from one numbering."""
    return EventSequences(
        codes=np.concatenate([first.codes, second.codes]),
        continuous=np.concatenate([first.continuous, second.continuous]),
        elapsed_hours=np.concatenate([first.elapsed_hours, second.elapsed_hours]),
        offsets=np.concatenate([first.offsets, first.offsets[-1] + second.offsets[1:]]),
        weights=np.concatenate([first.weights, second.weights]),
        groups=np.concatenate([first.group_of_sequence(), second.group_of_sequence()]),
        observations=None
        if first.observations is None or second.observations is None
        else np.concatenate([first.observations, second.observations]),
    )


def untimed_sequences(
    codes: SmallInts, offsets: Ints, weights: Singles | None = None
) -> EventSequences:
    """Sequences that have nothing but categorical fields."""
    rows = len(codes)
    return EventSequences(
        codes=codes,
        continuous=np.zeros((rows, 0), dtype=np.float32),
        elapsed_hours=np.zeros(rows),
        offsets=offsets,
        weights=np.ones(len(offsets) - 1, dtype=np.float32) if weights is None else weights,
    )


@dataclass(frozen=True)
class Batch:
    """Where the events of one batch lie: time-major, longest sequence first.

    `rows` (n,) are rows of the flat arrays ordered by step, then by sequence; `sizes` (steps,)
    says how many sequences still run at each step (never increasing), which is the layout of a
    packed sequence. `slots` (n,) are the same events' cells in a (sequences, steps) grid.
    """

    rows: Ints
    sizes: Ints
    slots: Ints
    sequences: Ints

    @property
    def shape(self) -> tuple[int, int]:
        """Sequences and steps of the grid that holds the batch."""
        return len(self.sequences), len(self.sizes)


def pack(offsets: Ints, sequences: Ints) -> Batch:
    """Lay out the named sequences as one packed batch."""
    lengths = offsets[sequences + 1] - offsets[sequences]
    order = np.argsort(-lengths, kind="stable")
    sequences, lengths = sequences[order], lengths[order]
    steps = int(lengths[0])
    sizes = np.searchsorted(-lengths, -np.arange(steps), side="left").astype(np.int64)
    step = np.repeat(np.arange(steps), sizes)
    rank = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return Batch(
        rows=offsets[sequences[rank]] + step,
        sizes=sizes,
        slots=rank * steps + step,
        sequences=sequences,
    )


def plan_batches(
    offsets: Ints, batch_events: int, rng: np.random.Generator | None = None
) -> Iterator[Batch]:
    """Group sequences of similar length into batches of about `batch_events` events.

    Sequences are sorted by length (ties in random order), cut wherever the budget of events is
    full, and the batches are handed out in random order; without `rng` in order of length. A
    sequence longer than the budget is a batch of its own: nothing is ever truncated.
    """
    lengths = np.diff(offsets)
    if not len(lengths):
        return
    ties = np.arange(len(lengths)) if rng is None else rng.permutation(len(lengths))
    order = ties[np.argsort(lengths[ties], kind="stable")]
    block = (np.cumsum(lengths[order]) - lengths[order]) // batch_events
    cuts = np.flatnonzero(np.diff(block)) + 1
    groups = np.split(order, cuts)
    for group in range(len(groups)) if rng is None else rng.permutation(len(groups)):
        yield pack(offsets, groups[group].astype(np.int64))
