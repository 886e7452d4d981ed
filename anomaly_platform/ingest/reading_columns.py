"""Readings that came together, by column: an object per reading costs more than storing it.

Belongs here: the columns, and their way to and from single readings. What a good reading is, is
decided in `online_readings`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar
from uuid import UUID

import numpy as np
import numpy.typing as npt

from anomaly_platform.ingest.online_readings import Reading

Key = tuple[str, str]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ReadingColumns:
    """Good readings; see `Reading` for what each column means.

    Attributes
    ----------
    keys
        (n,) entity and metric.
    times
        (n,) microseconds since 1970.
    values
        (n,)
    event_ids, metadata, has_time
        (n,) or None: no reading has an id of its sender's, or metadata; every one has a time.
    """

    keys: Sequence[Key]
    times: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    event_ids: Sequence[UUID | None] | None = None
    metadata: Sequence[str | None] | None = None
    has_time: Sequence[bool] | None = None

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def of(cls, readings: Sequence[Reading]) -> ReadingColumns:
        """Return the columns of readings."""
        n = len(readings)
        return cls(
            [(one.entity, one.metric) for one in readings],
            np.fromiter((one.time for one in readings), np.int64, n),
            np.fromiter((one.value for one in readings), np.float64, n),
            _unless_all([one.event_id for one in readings], None),
            _unless_all([one.metadata for one in readings], None),
            _unless_all([one.has_time for one in readings], True),
        )

    @classmethod
    def joined(cls, parts: Sequence[ReadingColumns]) -> ReadingColumns:
        """Return the readings of all parts, one after the other."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            list(chain.from_iterable(one.keys for one in parts)),
            np.concatenate([one.times for one in parts]),
            np.concatenate([one.values for one in parts]),
            _all_of([(len(one), one.event_ids) for one in parts], None),
            _all_of([(len(one), one.metadata) for one in parts], None),
            _all_of([(len(one), one.has_time) for one in parts], True),
        )

    def readings(self) -> list[Reading]:
        """Return them one by one."""
        n = len(self)
        return [
            Reading(key[0], key[1], time, value, event_id, metadata, has_time)
            for key, time, value, event_id, metadata, has_time in zip(
                self.keys,
                self.times.tolist(),
                self.values.tolist(),
                self.event_ids or [None] * n,
                self.metadata or [None] * n,
                self.has_time or [True] * n,
                strict=True,
            )
        ]


def _unless_all(column: list[_T], usual: object) -> list[_T] | None:
    return None if all(one is usual for one in column) else column


def _all_of(parts: Iterable[tuple[int, Sequence[Any] | None]], usual: object) -> list[Any] | None:
    known = list(parts)
    if all(column is None for _, column in known):
        return None
    return [one for n, column in known for one in (column or [usual] * n)]
