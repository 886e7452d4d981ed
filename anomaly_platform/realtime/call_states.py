"""At which level a version calls on series now: from the lake, and what it has judged since.

Belongs here: deriving the states. Does not belong here: what a state is (``ml.scoring.calls``), nor
what of it is in memory (``series_state_cache``).
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from cachetools import LRUCache

from anomaly_platform.ml.arrays import Floats
from anomaly_platform.registry.bundle_index import BundleIndex
from anomaly_platform.storage.lake.call_states import CallStateFiles
from anomaly_platform.storage.tables import online
from anomaly_platform.storage.tables.online import Key

if TYPE_CHECKING:
    from anomaly_platform.ml.scoring.call_states import CallStates
    from anomaly_platform.storage.lake.lake import Lake
    from anomaly_platform.storage.postgres.transactions import Transactions
    from anomaly_platform.storage.tables.partitions import Partition, Partitions

_FILES_HELD = 4


@dataclass(frozen=True, slots=True)
class CallsFound:
    """States of series, and how long they serve.

    Attributes
    ----------
    states
        By series.
    unsettled
        Series of which a batch has yet to judge readings that came late, or that another version
        judged: their states will be others then.
    begins
        Whether the version has left no states yet: each transaction begins with these anew, until
        it has.
    """

    states: Mapping[Key, Floats]
    unsettled: Set[Key] = frozenset()
    begins: bool = False


class CallsNow:
    """Finds the states of series; parameters as of ``SeriesStates``."""

    def __init__(self, transactions: Transactions, lake: Lake, partitions: Partitions) -> None:
        self._transactions = transactions
        self._lake = lake
        self._partitions = partitions
        self._bundles = BundleIndex(transactions)
        self._lock = threading.Lock()
        self._held: LRUCache[str, CallStates] = LRUCache(_FILES_HELD)

    def of(
        self,
        stream: str,
        version: int | None,
        keys: Sequence[Key],
        *,
        alpha: float,
        first: Callable[[Key], Floats],
    ) -> CallsFound:
        """Return the states of series after all that is known to have been judged of them.

        Parameters
        ----------
        stream, version, keys
            Whose; None is the fallback without a version.
        alpha
            Of the version.
        first
            Returns the state at which a series begins with it.
        """
        from anomaly_platform.ml.scoring.call_states import LAST
        from anomaly_platform.ml.scoring.calls import rates_of, tell

        files = CallStateFiles(self._lake, self._partitions, self._bundles, stream, version)
        left = files.left()
        own, newest, anew = self._read(left.own), self._read(left.newest), files.begun_anew(left)
        states = {}
        for key in keys:
            known = (own if key in anew else newest).series.get(key)
            states[key] = first(key) if known is None else known.copy()
        if left.own is None or left.newest is None:
            # Nothing is left by this version yet: what it has judged since is little, and to look
            # for it among what others have judged would take long.
            return CallsFound(states, begins=True)
        since = {
            key: int(state[LAST]) if np.isfinite(state[LAST]) else 0
            for key, state in states.items()
        }
        with self._transactions.begin() as connection:
            found = online.judged_since(connection, stream, version, since, left.newest.updated_at)
        unsettled = {(one.entity, one.metric) for one in found if not one.final}
        read = Counter((one.entity, one.metric) for one in found)
        # What lies further back is not known: the batch will know.
        unsettled |= {key for key, n in read.items() if n >= online.MOST_JUDGED}
        rows = [one for one in found if one.final]
        if rows:
            places = {key: n for n, key in enumerate(states)}
            stacked = np.array(list(states.values()))
            tell(
                stacked,
                np.array([places[one.entity, one.metric] for one in rows]),
                np.array([one.event_time for one in rows], dtype=np.int64),
                np.array([one.value for one in rows]),
                np.array([one.p_value for one in rows], dtype=np.float64),
                rates_of(np.array([one.threshold for one in rows]), alpha),
            )
            states = dict(zip(states, stacked, strict=True))
        return CallsFound(states, unsettled)

    def _read(self, file: Partition | None) -> CallStates:
        from anomaly_platform.ml.scoring.call_states import CallStates

        if file is None:
            return CallStates()
        # Predictions ask from several threads; the first one reads for all.
        with self._lock:
            found = self._held.get(file.path)
            if found is None:
                found = CallStates.of_table(self._lake.read(file.path))
                self._held[file.path] = found
            return found
