"""Monitoring statistics per day: volumes, rates, drift, quality."""

import datetime as dt
from collections.abc import Mapping

from anomaly_platform.storage.postgres.transactions import TableAccess, lock


class MonitoringStats(TableAccess):
    """Reads and writes ``monitoring_stats``."""

    def replace_day(
        self, stream: str, day: dt.date, stats: Mapping[tuple[str, str], float | None]
    ) -> None:
        """Make these the numbers of a day, in one transaction.

        Parameters
        ----------
        stream : str
        day : date
            UTC date.
        stats : mapping of (subject, stat) to float or None
            Such as ``{("features/mean_12", "psi"): 0.03}``.
        """
        with self._transactions.begin() as connection:
            lock(connection, "monitoring", stream, day.isoformat())
            connection.execute(
                "DELETE FROM monitoring_stats WHERE stream = %s AND day = %s", (stream, day)
            )
            connection.cursor().executemany(
                "INSERT INTO monitoring_stats (stream, day, subject, stat, value) "
                "VALUES (%s, %s, %s, %s, %s)",
                [
                    (stream, day, subject, stat, None if value is None else float(value))
                    for (subject, stat), value in stats.items()
                ],
            )

    def of_day(self, stream: str, day: dt.date) -> dict[str, float]:
        """Return the numbers of a day as a whole, by name."""
        rows = self._transactions.tuples(
            "SELECT stat, value FROM monitoring_stats WHERE stream = %s AND day = %s "
            "AND subject = 'day' AND value IS NOT NULL ORDER BY stat",
            (stream, day),
        )
        return dict(rows)
