"""Reads the index of bundles: which versions there are, which serve, and which have served."""

import datetime as dt
from dataclasses import dataclass
from typing import Any

from anomaly_platform.registry import promotion
from anomaly_platform.registry.promotion import Champion
from anomaly_platform.storage.postgres.transactions import TableAccess, columns_of


@dataclass(frozen=True, slots=True)
class BundleRecord:
    """A bundle as the index knows it.

    Attributes
    ----------
    status : str
        ``training``, ``challenger``, ``champion``, ``retired``, ``rejected``, ``failed`` or
        ``deleted``, with a `reason` where there is one.
    path, digest : str or None
        Where its files are in the lake, and the digest of its manifest.
    parent : int or None
        The version that it was made from, if only a few of its series were trained anew.
    gates : list of dict
        What it had to pass: ``gate``, ``value``, ``bound`` and ``passed`` of each.
    """

    stream: str
    detector: str
    version: int
    status: str
    reason: str | None
    path: str | None
    digest: str | None
    parent: int | None
    trained_at: dt.datetime | None
    window_start: dt.datetime | None
    window_end: dt.datetime | None
    metrics: dict[str, Any]
    parameters: dict[str, Any]
    gates: list[dict[str, Any]]
    created_at: dt.datetime

    @property
    def trained_because_of(self) -> str:
        """What asked for its training and why; what was asked for may begin with its cause."""
        cause, reason = (str(self.parameters.get(name) or "") for name in ("cause", "reason"))
        if not (cause and reason) or reason.startswith(f"{cause}:"):
            return reason or cause
        return f"{cause}: {reason}"


_RECORD = f"SELECT {columns_of(BundleRecord)} FROM bundles "  # noqa: S608 - constants


class BundleIndex(TableAccess):
    """Reads ``bundles``, ``ml_models`` and ``champions``."""

    def previous(self, stream: str, detector: str) -> int | None:
        """Return the version that served before the present one, if it can serve again.

        Rolling back twice goes back two versions and not forward again.
        """
        with self._transactions.begin() as connection:
            return promotion.previous(connection, stream, detector)

    def champions(self, stream: str) -> dict[str, int]:
        """Return the version in service of each of the stream's detectors, of one instant."""
        rows = self._transactions.tuples(
            "SELECT detector, version FROM champions WHERE stream = %s ORDER BY detector",
            (stream,),
        )
        return {str(detector): int(version) for detector, version in rows}

    def champion(self, stream: str, detector: str) -> Champion | None:
        """Return the version in service, if there is one."""
        with self._transactions.begin() as connection:
            return promotion.champion_of(connection, stream, detector)

    def get(self, stream: str, detector: str, version: int) -> BundleRecord | None:
        """Return one bundle, if there is such a version."""
        return self._transactions.row(
            BundleRecord,
            _RECORD + "WHERE stream = %s AND detector = %s AND version = %s",
            (stream, detector, version),
        )

    def all(self, stream: str, detector: str) -> list[BundleRecord]:
        """Return every bundle of a detector, the newest first."""
        return self._transactions.rows(
            BundleRecord,
            _RECORD + "WHERE stream = %s AND detector = %s ORDER BY version DESC",
            (stream, detector),
        )

    def deleted_series(
        self, stream: str, detector: str, version: int
    ) -> frozenset[tuple[str, str]]:
        """Return the series of a version whose models were deleted one by one."""
        rows = self._transactions.tuples(
            "SELECT device_id, metric_name FROM ml_models WHERE stream = %s "
            "AND model_type = %s AND bundle_version = %s AND status = 'deleted'",
            (stream, detector, version),
        )
        return frozenset((str(entity), str(metric)) for entity, metric in rows)

    def ancestors(self, stream: str, detector: str, version: int) -> list[int]:
        """Return the version that a version was made from, the one that this was made from, …."""
        rows = self._transactions.tuples(
            "WITH RECURSIVE line AS ("
            "SELECT parent, 1 AS step FROM bundles WHERE stream = %(stream)s "
            "AND detector = %(detector)s AND version = %(version)s "
            "UNION ALL SELECT b.parent, step + 1 FROM line JOIN bundles b "
            "ON b.stream = %(stream)s AND b.detector = %(detector)s AND b.version = line.parent) "
            "SELECT parent FROM line WHERE parent IS NOT NULL ORDER BY step",
            {"stream": stream, "detector": detector, "version": version},
        )
        return [int(parent) for (parent,) in rows]

    def trained_since(
        self, stream: str, detector: str, version: int, ancestor: int
    ) -> frozenset[tuple[str, str]]:
        """Return the series that a version does not have as an ancestor had them."""
        rows = self._transactions.tuples(
            "SELECT m.device_id, m.metric_name FROM ml_models m LEFT JOIN ml_models a "
            "ON a.stream = m.stream AND a.model_type = m.model_type AND a.bundle_version = "
            "%(ancestor)s AND a.device_id = m.device_id AND a.metric_name = m.metric_name "
            "WHERE m.stream = %(stream)s AND m.model_type = %(detector)s "
            # A series that a bundle has from its parent is as old as it was there.
            "AND m.bundle_version = %(version)s AND m.trained_at IS DISTINCT FROM a.trained_at",
            {"stream": stream, "detector": detector, "version": version, "ancestor": ancestor},
        )
        return frozenset((str(entity), str(metric)) for entity, metric in rows)

    def history(self, stream: str, detector: str) -> list[Champion]:
        """Return every promotion, the latest first."""
        return self._transactions.rows(
            Champion,
            f"SELECT {columns_of(Champion)} FROM champion_history "  # noqa: S608
            "WHERE stream = %s AND detector = %s ORDER BY id DESC",
            (stream, detector),
        )
