"""At which levels a version calls, and what it has seen, at the end of each day that it scored.

Each version goes on from its own, so that a roll-back takes up where the version was. A version of
which only some series were trained has the others as its parent had them: they go on from what the
parent has left. What a state is, stands in ``ml.scoring.call_states``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from anomaly_platform.ml.scoring.call_states import SCHEMA, CallStates
from anomaly_platform.storage.lake.day_states import DayStates
from anomaly_platform.streams import MetricStream

if TYPE_CHECKING:
    from anomaly_platform.ml.series_tables import Key
    from anomaly_platform.storage.lake.lake import Lake
    from anomaly_platform.storage.tables.partitions import Partition, Partitions


def stage_of(version: int | None) -> str:
    """Return the stage of a version's files; None is the fallback without one."""
    return f"call_states.{version or 0}"


class Lineage(Protocol):
    """From where versions have their series."""

    def ancestors(self, stream: str, detector: str, version: int) -> list[int]:
        """Return the version that a version was made from, the one that this was made from, …."""

    def trained_since(
        self, stream: str, detector: str, version: int, ancestor: int
    ) -> frozenset[Key]:
        """Return the series that a version does not have as an ancestor had them."""


@dataclass(frozen=True, slots=True)
class Left:
    """What a version goes on from.

    Attributes
    ----------
    own
        The newest file of its own.
    ancestor
        One of an ancestor that is newer.
    """

    own: Partition | None = None
    ancestor: Partition | None = None

    @property
    def newest(self) -> Partition | None:
        """The newer file of the two."""
        return self.ancestor or self.own


class CallStateFiles:
    """The files of one version of a stream, and those of the versions that it was made from.

    Parameters
    ----------
    version
        None is the fallback without one.
    """

    def __init__(
        self,
        lake: Lake,
        partitions: Partitions,
        lineage: Lineage,
        stream: str,
        version: int | None,
    ) -> None:
        self.own = DayStates(lake, partitions, stream, stage_of(version), CallStates, SCHEMA)
        self._partitions = partitions
        self._lineage = lineage
        self._key = stream, MetricStream.scored_by
        self._version = version
        ancestors = [] if version is None else lineage.ancestors(*self._key, version)
        self._ancestors = {stage_of(one): one for one in ancestors}

    def left(self, before: str | None = None) -> Left:
        """Return what the newest day has left, or the newest one before a day, ``YYYY-MM-DD``."""
        own = self.own.newest() if before is None else self.own.before(before)
        if not self._ancestors:
            return Left(own)
        stages = self.own.stage, *self._ancestors
        newest = self._partitions.newest(self.own.stream, *stages, before=before)
        if newest is None or newest.stage == self.own.stage:
            return Left(own)
        return Left(own, newest)

    def begun_anew(self, left: Left) -> frozenset[Key]:
        """Return the series that do not go on from the ancestor's file, as they were trained since.

        Nor do their hosts.
        """
        if left.ancestor is None or self._version is None:
            return frozenset()
        ancestor = self._ancestors[left.ancestor.stage]
        return self._lineage.trained_since(*self._key, self._version, ancestor)

    def read(self, left: Left) -> CallStates:
        """Return the states that the version goes on with."""
        own = self.own.read(left.own)
        if left.ancestor is None:
            return own
        return self.own.read(left.ancestor).with_anew(self.begun_anew(left), own)
