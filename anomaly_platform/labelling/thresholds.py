"""Thresholds of single series that differ from their stream's.

Belongs here: the rows of ``thresholds``. A threshold lies on the score scale from 0, at which
everything is an anomaly that has a score, to 1, at which nothing is, since scores stay below it; it
takes the place of the stream's for its series wherever readings are judged. It outlives a training,
and the bundle, which is immutable, is not touched.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Final, Literal, LiteralString

from anomaly_platform.storage.postgres.transactions import Connection, TableAccess, columns_of, lock
from anomaly_platform.storage.tables import audit

THRESHOLD_RULE: Final = (
    "choose a score from 0, which flags everything that has a score, to 1, which flags nothing, "
    "such as 0.8"
)
"""What may be a threshold, as people are told."""

Origin = Literal["person", "labels"]


@dataclass(frozen=True, slots=True)
class Threshold:
    """The threshold of one series.

    Attributes
    ----------
    threshold : float
        Score in [0, 1] from which a reading of the series is an anomaly.
    origin : str
        ``person``, or ``labels`` where it follows from what people said about readings.
    """

    stream: str
    entity: str
    metric: str
    threshold: float
    origin: Origin
    set_by: str
    set_at: dt.datetime


class ThresholdStore(TableAccess):
    """Reads and writes ``thresholds``."""

    def all(self, stream: str) -> dict[tuple[str, str], Threshold]:
        """Return every threshold of the stream's single series by (entity, metric)."""
        found = self._read("WHERE stream = %s ORDER BY entity, metric", stream)
        return {(one.entity, one.metric): one for one in found}

    def of_all_streams(self) -> list[Threshold]:
        """Return every threshold."""
        return self._read("")

    def _read(self, which: LiteralString, *values: str) -> list[Threshold]:
        return self._transactions.rows(
            Threshold,
            f"SELECT {columns_of(Threshold)} FROM thresholds {which}",  # noqa: S608
            values,
        )

    def set(
        self,
        connection: Connection,
        stream: str,
        entity: str,
        metric: str,
        threshold: float,
        *,
        origin: Origin,
        set_by: str,
    ) -> bool:
        """Set a series' threshold within the caller's transaction, and audit the change.

        One that a person set is not changed by labels.

        Returns
        -------
        bool
            Whether anything changed.

        Raises
        ------
        ValueError
            When the threshold does not lie in [0, 1].
        """
        if not 0.0 <= threshold <= 1.0:
            raise ValueError(f"threshold {threshold}: {THRESHOLD_RULE}")
        before = _current(connection, stream, entity, metric)
        if before is not None:
            same = before["threshold"] == threshold and before["origin"] == origin
            if same or (origin == "labels" and before["origin"] == "person"):
                return False
        connection.execute(
            "INSERT INTO thresholds (stream, entity, metric, threshold, origin, set_by) "
            "VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (stream, entity, metric) DO UPDATE SET "
            "threshold = excluded.threshold, origin = excluded.origin, set_by = excluded.set_by, "
            "set_at = now()",
            (stream, entity, metric, threshold, origin, set_by),
        )
        audit.record(
            connection,
            set_by,
            "threshold.set",
            f"{stream}/{entity}/{metric}",
            before,
            {"threshold": threshold, "origin": origin},
        )
        return True

    def clear(
        self,
        connection: Connection,
        stream: str,
        entity: str,
        metric: str,
        *,
        set_by: str,
        origin: Origin | None = None,
    ) -> bool:
        """Let the stream's threshold hold again for a series; return whether anything changed.

        Parameters
        ----------
        origin : str or None
            Clear only a threshold of this origin.
        """
        before = _current(connection, stream, entity, metric)
        if before is None or (origin is not None and before["origin"] != origin):
            return False
        connection.execute(
            "DELETE FROM thresholds WHERE stream = %s AND entity = %s AND metric = %s",
            (stream, entity, metric),
        )
        audit.record(
            connection, set_by, "threshold.clear", f"{stream}/{entity}/{metric}", before, None
        )
        return True


def _current(
    connection: Connection, stream: str, entity: str, metric: str
) -> dict[str, object] | None:
    """Return what is set of a series, which nobody else changes until the transaction ends."""
    lock(connection, "thresholds", stream, entity, metric)
    row = connection.execute(
        "SELECT threshold, origin FROM thresholds "
        "WHERE stream = %s AND entity = %s AND metric = %s",
        (stream, entity, metric),
    ).fetchone()
    return None if row is None else {"threshold": float(row[0]), "origin": str(row[1])}
