"""What is told of unusual readings: the numbers of an explanation, and words made from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from anomaly_platform.ml.arrays import Ints
from anomaly_platform.ml.scoring.explaining.explain import Judged, are_seasonal, explain
from anomaly_platform.ml.scoring.explaining.numbers import INNOVATION, NEITHER, Explanation
from anomaly_platform.ml.scoring.explaining.words import Role, sentence
from anomaly_platform.ml.scoring.reasons import CLOCKED, run_reason
from anomaly_platform.ml.series_runs.layout import ORDINARY


class Explained(NamedTuple):
    """Why a reading is unusual.

    Attributes
    ----------
    explanation
        In numbers.
    reason
        In words.
    """

    explanation: Explanation
    reason: str


def by_innovation(told: Explained) -> Explanation:
    """Return the explanation of a reading that is told because its metric moves apart."""
    return replace(told.explanation, parts={INNOVATION: 1.0}, inputs=(), usual=None)


def explained(judged: Judged, roles: Ints) -> Iterator[Explained]:
    """Yield what is told of each of (n,) readings, by their `words.Role`."""
    models, slots, layout = judged.models, judged.slots, judged.layout
    found, kinds, times = explain(judged), judged.kinds.tolist(), judged.times.tolist()
    values = judged.features[layout.names.index("value")].tolist()
    runs = judged.features[len(layout.names) :]
    seasonal = [False] * len(found)
    if models is not None:
        seasonal = are_seasonal(models, slots).tolist()
    for i, (one, value, kind, time, role) in enumerate(
        zip(found, values, kinds, times, roles.tolist(), strict=True)
    ):
        said = []
        if kind != ORDINARY and models is not None:
            said.append(run_reason(kind, time, value, runs[:, i], models.runs[slots[i]]))
        if not said or one.direction != NEITHER:
            # Nobody needs to hear the same time twice.
            clock = time if seasonal[i] and kind not in CLOCKED else None
            said.append(sentence(value, one, layout, clock, Role(role)))
        if role == Role.CALL:
            said.append("not yet an anomaly, told because its series was quiet before")
        yield Explained(one, "; ".join(said))
