"""Smoothed counts that the sequence model's heads start from: what usually follows what.

Here belong the tables of conditional frequencies with back-off, and their lookup. A head adds its
own logits to the log frequencies of a few declared fields ("the next place, given the last place
and the product"), so that the network learns only how the past changes the habit. What never
happened in a well-known context is thereby unlikely from the first step of training on, which a
softmax alone approaches slowly.

Frequencies are interpolated from the shortest context to the longest (Jelinek and Mercer's
scheme with a prior of `PRIOR_STRENGTH` events, i.e. a Dirichlet prior centred on the shorter
context). While training, an event's own count is left out of what it is judged by.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from anomaly_platform.ml.arrays import AnyArray, Arrays, Floats, Ints, Singles, SmallInts
from anomaly_platform.ml.detectors.sequence_lstm.events import BEGIN, EventSequences, SequenceSpec

PRIOR_STRENGTH = 2.0
LEAST_EVENTS = 4
"""A context seen less often than this has no row of its own, the shorter context serves."""
LOG_FLOOR = -16.0
SUSPECT_SHARE = 0.001
"""A value that is rarer than this in its context is set aside: among thousands of observations
the few that are wrong would otherwise make a habit of what nobody does."""


@dataclass(frozen=True)
class Habit:
    """Log frequencies of one target field.

    keys (c,) sorted contexts, of every length; table (c + 1, vocabulary) their log frequencies,
    the last row for no context at all.
    """

    keys: Ints
    table: Singles

    def rows(self, contexts: list[Ints]) -> Ints:
        """(n,) row of the table for each event: its longest context that is known."""
        found = np.full(len(contexts[0]) if contexts else 0, len(self.keys), dtype=np.int64)
        for keys in contexts:  # from the shortest to the longest
            at = np.searchsorted(self.keys, keys)
            at = np.minimum(at, len(self.keys) - 1)
            known = self.keys[at] == keys if len(self.keys) else np.zeros(len(keys), dtype=bool)
            found = np.where(known, at, found)
        return found


class Habits:
    """The habits of all target fields that declare some. Fitted: use `learn` or `from_arrays`."""

    def __init__(
        self, spec: SequenceSpec, sizes: Mapping[str, int], tables: Mapping[str, Habit]
    ) -> None:
        self._spec = spec
        self._sizes = dict(sizes)
        self.tables = dict(tables)

    @classmethod
    def learn(
        cls, spec: SequenceSpec, sizes: Mapping[str, int], sequences: EventSequences
    ) -> tuple[Self, Singles]:
        """Count training sequences.

        Returns
        -------
        tuple
            The habits, and (n, targets) what to add to the log frequency of each training event's
            own value so that its own group is not counted.
        """
        habits = cls(spec, sizes, {})
        own = np.zeros((sequences.events, len(spec.targets)), dtype=np.float32)
        previous = previous_codes(spec, sequences)
        groups = sequences.group_of_event()
        for column, target in enumerate(spec.targets):
            if target in spec.habits:
                contexts = habits.contexts(target, sequences.codes, previous)
                habits.tables[target], own[:, column] = _count(
                    contexts,
                    sequences.codes[:, column],
                    groups,
                    sequences.observations,
                    sizes[target],
                )
        return habits, own

    def contexts(self, target: str, codes: SmallInts, previous: SmallInts) -> list[Ints]:
        """Keys of each event's contexts for one target, from one field to all declared ones."""
        key = np.zeros(len(codes), dtype=np.int64)
        keys = []
        names = self._spec.habits[target]
        for length, name in enumerate(names, start=1):
            field = name.removeprefix("last ")
            source = codes if field == name else previous
            key = key * self._sizes[field] + source[:, self._spec.categorical.index(field)]
            keys.append(key * (len(names) + 1) + length)
        return keys

    def rows(self, codes: SmallInts, previous: SmallInts) -> dict[str, Ints]:
        """Row of each target's table for each event."""
        return {
            target: habit.rows(self.contexts(target, codes, previous))
            for target, habit in self.tables.items()
        }

    def to_arrays(self) -> dict[str, AnyArray]:
        """Keys and tables by target."""
        arrays: dict[str, AnyArray] = {}
        for target, habit in self.tables.items():
            arrays[f"habits/{target}/keys"] = habit.keys
            arrays[f"habits/{target}/table"] = habit.table
        return arrays

    @classmethod
    def from_arrays(cls, spec: SequenceSpec, sizes: Mapping[str, int], arrays: Arrays) -> Self:
        """Read what `to_arrays` returned."""
        tables = {
            target: Habit(
                np.array(arrays[f"habits/{target}/keys"], dtype=np.int64),
                np.array(arrays[f"habits/{target}/table"], dtype=np.float32),
            )
            for target in spec.habits
        }
        return cls(spec, sizes, tables)


def previous_codes(spec: SequenceSpec, sequences: EventSequences) -> SmallInts:
    """(n, lagged fields) codes of the event before, `BEGIN` for a first event."""
    lagged = sequences.codes[:, : len(spec.lagged)]
    previous = np.full_like(lagged, BEGIN)
    previous[1:] = lagged[:-1]
    previous[sequences.offsets[:-1]] = BEGIN
    return previous


def _count(
    contexts: list[Ints], came: SmallInts, groups: Ints, observations: Floats | None, size: int
) -> tuple[Habit, Singles]:
    everywhere = np.zeros(len(came), dtype=np.int64)
    share, whole, together = _shares(everywhere, came, groups, observations)
    base = np.bincount(came, weights=share, minlength=size).astype(np.float64)[None, :]
    total = base.sum(axis=1)
    uniform = np.full((1, size), 1.0 / size)
    own = _without_own(base[0, came], total[everywhere], uniform[0, came], whole, together)
    serving = (base + PRIOR_STRENGTH * uniform) / (total + PRIOR_STRENGTH)[:, None]
    above = everywhere
    parts, tables = [], [serving]
    for keys in contexts:
        share, whole, together = _shares(keys, came, groups, observations)
        values, inverse = np.unique(keys, return_inverse=True)
        seen = np.bincount(inverse, weights=share)
        # Shares add up to whole numbers but for rounding.
        kept = seen >= LEAST_EVENTS - 1e-6
        at = np.where(kept, np.cumsum(kept) - 1, -1)[inverse]
        inside = np.flatnonzero(at >= 0)
        rows, value = at[inside], came[inside]
        known = int(kept.sum())
        counted = np.bincount(rows * size + value, weights=share[inside], minlength=known * size)
        grid = np.asarray(counted, dtype=np.float64).reshape(known, size)
        shorter = np.zeros(known, dtype=np.int64)
        shorter[rows] = above[inside]
        prior = serving[shorter]
        totals = np.asarray(seen[kept], dtype=np.float64)
        grid = np.where(grid < SUSPECT_SHARE * totals[:, None], 0.0, grid)
        tables.append((grid + PRIOR_STRENGTH * prior) / (totals + PRIOR_STRENGTH)[:, None])
        own[inside] = _without_own(
            grid[rows, value], totals[rows], prior[rows, value], whole[inside], together[inside]
        )
        parts.append(values[kept])
        above = above.copy()
        above[inside] = rows + len(serving)
        serving = np.concatenate(tables)
    keys = np.concatenate(parts)
    order = np.argsort(keys, kind="stable")
    stacked = np.concatenate([serving[1:][order], serving[:1]])
    logs = np.maximum(np.log(stacked), LOG_FLOOR).astype(np.float32)
    return Habit(keys[order], logs), own.astype(np.float32)


def _shares(
    keys: Ints, came: SmallInts, groups: Ints, observations: Floats | None
) -> tuple[Floats, Floats, Floats]:
    """Return what each event counts, its group in its context, and that for the same value; (n,).

    Unless told otherwise, a group counts 1 in each context, shared among its events there: what
    one of a hundred units does is a hundredth, and no habit of the lot.
    """
    _, key = np.unique(keys, return_inverse=True)
    _, group = np.unique(groups, return_inverse=True)
    pair = key.astype(np.int64) * (int(group.max()) + 1) + group
    _, inverse, times = np.unique(pair, return_inverse=True, return_counts=True)
    share = 1.0 / times[inverse] if observations is None else observations
    whole = np.bincount(inverse, weights=share)[inverse]
    size = int(came.max()) + 1
    _, same = np.unique(inverse.astype(np.int64) * size + came, return_inverse=True)
    together = np.bincount(same, weights=share)[same]
    return np.asarray(share, dtype=np.float64), np.asarray(whole), np.asarray(together)


def _without_own(count: Floats, total: Floats, prior: Floats, whole: Floats, own: Floats) -> Floats:
    """Change of a log frequency without an event's group: `whole` in all, `own` of its value."""
    with_own = (count + PRIOR_STRENGTH * prior) / (total + PRIOR_STRENGTH)
    left = np.maximum(count - own, 0.0)
    without = (left + PRIOR_STRENGTH * prior) / (np.maximum(total - whole, 0.0) + PRIOR_STRENGTH)
    floor = np.exp(LOG_FLOOR)
    return np.asarray(np.log(np.maximum(without, floor)) - np.log(np.maximum(with_own, floor)))
