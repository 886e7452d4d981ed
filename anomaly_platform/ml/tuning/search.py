"""Successive halving: many settings on few entities, the best third of them on more.

Today's settings are judged in every round, beside the candidates, so that each round compares
what was judged on the same rows.
"""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from anomaly_platform.ml.tuning.judging import Measured
from anomaly_platform.ml.tuning.space import DetectorSettings

#: The share of candidates that a round leaves, and by how much the entities grow.
_KEPT = 3
_GROWTH = 2
_LEAST_ENTITIES = 2
#: Candidates that are judged on all entities at once, without rounds before.
_FEW = 3


@dataclass(frozen=True)
class Trial:
    """Settings that were judged.

    Attributes
    ----------
    settings, measured
        What, and what it is worth.
    round
        From 1 on.
    entities
        On how many.
    seconds
        How long it took.
    is_present
        Whether they are today's.
    """

    settings: DetectorSettings
    measured: Measured
    round: int
    entities: int
    seconds: float
    is_present: bool


Try = Callable[[DetectorSettings, Collection[str]], tuple[Measured, float]]


def search(
    present: DetectorSettings,
    field: Sequence[DetectorSettings],
    entities: Sequence[str],
    judged: Try,
    *,
    out_of_time: Callable[[], bool],
    tell: Callable[[Trial], None],
) -> DetectorSettings | None:
    """Return the best settings if they are better than today's on the rows that all saw.

    Parameters
    ----------
    present, field
        Today's settings, and the candidates.
    entities
        In the order in which they are taken.
    judged
        Judges settings on some entities; returns the seconds, too.
    out_of_time
        Whether no further settings can be judged.
    tell
        Takes each trial when it has ended.

    Raises
    ------
    TimeoutError
        When time was up before any candidate was judged.
    """
    best: DetectorSettings | None = None
    for number, count in enumerate(_rounds(len(field), len(entities)), 1):
        part = entities[:count]
        found: dict[DetectorSettings, Measured] = {}
        for one in (present, *field):
            if found and out_of_time():
                break
            measured, seconds = judged(one, part)
            found[one] = measured
            tell(Trial(one, measured, number, count, seconds, one == present))
        if len(found) == 1:
            break
        ranked = sorted(found, key=lambda one: -found[one].objective)
        # Of equal ones today's stay.
        better = found[ranked[0]].objective > found[present].objective
        best = ranked[0] if better else present
        if len(found) <= len(field):
            break
        field = [one for one in ranked if one != present][: math.ceil(len(field) / _KEPT)]
    if best is None:
        raise TimeoutError
    return None if best == present else best


def _rounds(candidates: int, entities: int) -> Iterator[int]:
    """Yield how many entities each round judges, all of them in the last one."""
    left, counts = candidates, [entities]
    while left > _FEW:
        left = math.ceil(left / _KEPT)
        counts.append(min(entities, max(_LEAST_ENTITIES, math.ceil(counts[-1] / _GROWTH))))
    # Where there are few entities, two rounds would judge the same ones.
    yield from dict.fromkeys(reversed(counts))
