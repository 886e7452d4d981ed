"""Thresholds of single series, held in memory and read anew when the table changes.

The table ``thresholds`` announces every change of itself (a trigger), whoever makes it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from anomaly_platform.platform import Platform

CHANNEL: Final = "thresholds"
"""PostgreSQL channel on which a change of the table is announced."""


class SeriesThresholds:
    """The thresholds that differ from their stream's.

    Parameters
    ----------
    platform : Platform
        Whose table it is.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._held: dict[tuple[str, str, str], float] = {}

    def of(self, stream: str, entity: str, metric: str, default: float) -> float:
        """Return the score from which a reading of the series is an anomaly."""
        return self._held.get((stream, entity, metric), default)

    async def announced(self, _payload: str | None) -> None:
        """Read the table: the listener of its channel."""
        self._held = await asyncio.to_thread(self._read)

    def _read(self) -> dict[tuple[str, str, str], float]:
        found = self._platform.warehouse.labels.thresholds.of_all_streams()
        return {(one.stream, one.entity, one.metric): one.threshold for one in found}
