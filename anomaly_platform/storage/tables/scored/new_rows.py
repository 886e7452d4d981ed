"""Rows on their way into a day that is being replaced."""

from collections.abc import Callable
from concurrent.futures import Executor

import polars as pl

from anomaly_platform.storage.tables.scored.days import ScoredDay


class NewRows:
    """Takes the rows of a day that is being replaced, chunk by chunk.

    Attributes
    ----------
    stored : ScoredDay
        What is stored now; there once the day is replaced.
    """

    stored: ScoredDay

    def __init__(
        self, thread: Executor, begin: Callable[[], None], copy: Callable[[pl.DataFrame], int]
    ) -> None:
        self._thread = thread
        self._copy = copy
        self._rows = 0
        self._under_way = thread.submit(begin)

    def add(self, chunk: pl.DataFrame) -> None:
        """Copy a chunk in the other thread, once the one before it is stored.

        The chunk has the columns of `table.schema`, and perhaps the optional ones. What went wrong
        with the chunk before it is raised here.
        """
        self.count()
        self._under_way = self._thread.submit(self._append, chunk)

    def count(self) -> int:
        """Wait until all that was added is stored; return how many rows."""
        self._under_way.result()
        return self._rows

    def _append(self, chunk: pl.DataFrame) -> None:
        self._rows += self._copy(chunk)
