"""Bundles of models and which of them are in service.

Belongs here: the index of bundles and of the single models in them, and the promotion of one.
Does not belong here: the files of a bundle (``ml.bundle``), nor whether it deserves promotion.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import polars as pl
from psycopg.rows import class_row

from anomaly_platform.resources.copying import PgType, copy_frame
from anomaly_platform.resources.transactions import Connection, Transactions, lock

CHAMPIONS_CHANNEL: Final = "champions"
"""PostgreSQL channel on which every promotion is announced, as JSON."""

_MODEL: Final[Mapping[str, PgType]] = {
    "entity": "text",
    "metric": "text",
    "status": "text",
    "accuracy": "float8",
    "false_positive_rate": "float8",
    "threshold": "float8",
    "rows": "int8",
    "trained_at": "timestamptz",
}


class PromotionError(ValueError):
    """A version cannot be put into service; the message says why."""


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
    created_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Champion:
    """The version in service of one detector of one stream."""

    stream: str
    detector: str
    version: int
    promoted_at: dt.datetime
    reason: str


class Bundles:
    """Reads and writes ``bundles``, ``ml_models`` and ``champions``."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def reserve_version(self, stream: str, detector: str, *, parent: int | None = None) -> int:
        """Take the next version number for a training that begins.

        Returns
        -------
        int
            From 1 on, never given out twice; its status is ``training`` until
            :meth:`register` or :meth:`fail`.
        """
        with self._transactions.begin() as connection:
            lock(connection, "bundles", stream, detector)
            row = connection.execute(
                "INSERT INTO bundles (stream, detector, version, status, parent) "
                "SELECT %(stream)s, %(detector)s, coalesce(max(version), 0) + 1, 'training', "
                "%(parent)s FROM bundles WHERE stream = %(stream)s AND detector = %(detector)s "
                "RETURNING version",
                {"stream": stream, "detector": detector, "parent": parent},
            ).fetchone()
        if row is None:
            raise AssertionError("INSERT … RETURNING returned nothing")
        return int(row[0])

    def register(
        self,
        stream: str,
        detector: str,
        version: int,
        *,
        path: str,
        digest: str,
        trained_at: dt.datetime,
        window_start: dt.datetime | None,
        window_end: dt.datetime | None,
        metrics: Mapping[str, Any],
        parameters: Mapping[str, Any],
        series: pl.DataFrame,
        replaces: int | None = None,
    ) -> None:
        """Enter a trained bundle as a challenger, with a row per series in ``ml_models``.

        Parameters
        ----------
        stream, detector, version
            As reserved.
        path, digest : str
            Where its files are in the lake, and the digest of its manifest.
        trained_at, window_start, window_end : datetime
            With time zone.
        metrics, parameters : mapping
            What can be written as JSON, NaN as null.
        series : polars.DataFrame
            ``entity``, ``metric``, ``status`` (``trained``, ``insufficient_history`` or
            ``failed``) and ``rows``; ``accuracy``, ``false_positive_rate``, ``threshold`` and
            ``trained_at`` where known.
        replaces : int, optional
            A challenger that gives way to this one in the same transaction.

        Raises
        ------
        ValueError
            When the version was not reserved or is registered already.
        """
        with self._transactions.begin() as connection:
            changed = connection.execute(
                "UPDATE bundles SET status = 'challenger', path = %s, digest = %s, "
                "trained_at = %s, window_start = %s, window_end = %s, metrics = %s, "
                "parameters = %s WHERE stream = %s AND detector = %s AND version = %s "
                "AND status = 'training'",
                (
                    path,
                    digest,
                    trained_at,
                    window_start,
                    window_end,
                    _json(metrics),
                    _json(parameters),
                    stream,
                    detector,
                    version,
                ),
            ).rowcount
            if not changed:
                raise ValueError(
                    f"{stream} {detector} {version} is not a version in training: "
                    "reserve one, and register it once"
                )
            _insert_models(
                connection,
                stream,
                detector,
                version,
                path=path,
                trained_at=trained_at,
                series=series,
            )
            if replaces is not None:
                _close(
                    connection,
                    (stream, detector, replaces),
                    "rejected",
                    f"set on a newer champion as version {version}",
                )

    def fail(self, stream: str, detector: str, version: int, reason: str) -> None:
        """Record that a training or a bundle failed; a champion is not touched."""
        with self._transactions.begin() as connection:
            _close(connection, (stream, detector, version), "failed", reason)

    def reject(self, stream: str, detector: str, version: int, reason: str) -> None:
        """Record that a challenger did not pass its gates."""
        with self._transactions.begin() as connection:
            _close(connection, (stream, detector, version), "rejected", reason)

    def promote(self, stream: str, detector: str, version: int, reason: str) -> Champion:
        """Put a version into service, atomically, and announce it.

        Its series become the active models; those of the version before retire. Promoting the
        champion again changes nothing. Going back to an earlier version is a promotion too.

        Raises
        ------
        PromotionError
            When there is no such version, or it has no usable files.
        """
        with self._transactions.begin() as connection:
            return _promote(connection, stream, detector, version, reason)

    def promote_set(self, stream: str, versions: Mapping[str, int], reason: str) -> None:
        """Put one version per detector into service, all of them or, on an error, none.

        Raises
        ------
        PromotionError
            When there is no such version, or it has no usable files.
        """
        with self._transactions.begin() as connection:
            for detector in sorted(versions):
                _promote(connection, stream, detector, versions[detector], reason)

    def champions(self, stream: str) -> dict[str, int]:
        """Return the version in service of each of the stream's detectors, of one instant."""
        with self._transactions.begin() as connection:
            rows = connection.execute(
                "SELECT detector, version FROM champions WHERE stream = %s ORDER BY detector",
                (stream,),
            ).fetchall()
        return {str(detector): int(version) for detector, version in rows}

    def champion(self, stream: str, detector: str) -> Champion | None:
        """Return the version in service, if there is one."""
        with self._transactions.begin() as connection:
            return _champion(connection, stream, detector)

    def get(self, stream: str, detector: str, version: int) -> BundleRecord | None:
        """Return one bundle, if there is such a version."""
        found = [one for one in self.all(stream, detector) if one.version == version]
        return found[0] if found else None

    def all(self, stream: str, detector: str) -> list[BundleRecord]:
        """Return every bundle of a detector, the newest first."""
        with (
            self._transactions.begin() as connection,
            connection.cursor(row_factory=class_row(BundleRecord)) as cursor,
        ):
            return cursor.execute(
                "SELECT stream, detector, version, status, reason, path, digest, parent, "
                "trained_at, window_start, window_end, metrics, parameters, created_at "
                "FROM bundles WHERE stream = %s AND detector = %s ORDER BY version DESC",
                (stream, detector),
            ).fetchall()

    def history(self, stream: str, detector: str) -> list[Champion]:
        """Return every promotion, the latest first."""
        with (
            self._transactions.begin() as connection,
            connection.cursor(row_factory=class_row(Champion)) as cursor,
        ):
            return cursor.execute(
                "SELECT stream, detector, version, promoted_at, reason FROM champion_history "
                "WHERE stream = %s AND detector = %s ORDER BY id DESC",
                (stream, detector),
            ).fetchall()


def _close(connection: Connection, key: tuple[str, str, int], status: str, reason: str) -> bool:
    """End a training or a challenger; return whether there was one to end."""
    return bool(
        connection.execute(
            "UPDATE bundles SET status = %s, reason = %s WHERE stream = %s AND detector = %s "
            "AND version = %s AND status IN ('training', 'challenger')",
            (status, reason, *key),
        ).rowcount
    )


def _promote(
    connection: Connection, stream: str, detector: str, version: int, reason: str
) -> Champion:
    lock(connection, "champion", stream, detector)
    key = (stream, detector)
    found = connection.execute(
        "SELECT status FROM bundles "
        "WHERE stream = %s AND detector = %s AND version = %s FOR UPDATE",
        (*key, version),
    ).fetchone()
    if found is None:
        raise PromotionError(f"there is no version {version} of {stream} {detector}")
    if found[0] not in ("challenger", "retired", "champion"):
        raise PromotionError(
            f"version {version} of {stream} {detector} cannot serve: it is {found[0]}"
        )
    current = _champion(connection, stream, detector)
    if current is not None and current.version == version:
        return current
    connection.execute(
        "UPDATE bundles SET status = 'retired' "
        "WHERE stream = %s AND detector = %s AND status = 'champion'",
        key,
    )
    connection.execute(
        "UPDATE bundles SET status = 'champion', reason = NULL "
        "WHERE stream = %s AND detector = %s AND version = %s",
        (*key, version),
    )
    connection.execute(
        "UPDATE ml_models SET status = 'inactive' "
        "WHERE stream = %s AND model_type = %s AND status = 'active'",
        key,
    )
    connection.execute(
        "UPDATE ml_models SET status = 'active' WHERE stream = %s AND model_type = %s "
        "AND bundle_version = %s AND status IN ('candidate', 'inactive')",
        (*key, version),
    )
    connection.execute(
        "INSERT INTO champions (stream, detector, version, reason) "
        "VALUES (%s, %s, %s, %s) ON CONFLICT (stream, detector) DO UPDATE SET "
        "version = excluded.version, promoted_at = now(), reason = excluded.reason",
        (*key, version, reason),
    )
    connection.execute(
        "INSERT INTO champion_history (stream, detector, version, previous, reason) "
        "VALUES (%s, %s, %s, %s, %s)",
        (*key, version, None if current is None else current.version, reason),
    )
    connection.execute(
        "SELECT pg_notify(%s, %s)",
        (
            CHAMPIONS_CHANNEL,
            json.dumps({"stream": stream, "detector": detector, "version": version}),
        ),
    )
    promoted = _champion(connection, stream, detector)
    if promoted is None:
        raise AssertionError("a champion vanished within its own transaction")
    return promoted


def _champion(connection: Connection, stream: str, detector: str) -> Champion | None:
    with connection.cursor(row_factory=class_row(Champion)) as cursor:
        return cursor.execute(
            "SELECT stream, detector, version, promoted_at, reason FROM champions "
            "WHERE stream = %s AND detector = %s",
            (stream, detector),
        ).fetchone()


def _insert_models(
    connection: Connection,
    stream: str,
    detector: str,
    version: int,
    *,
    path: str,
    trained_at: dt.datetime,
    series: pl.DataFrame,
) -> None:
    known = series.with_columns(
        value.alias(name)
        for name, value in {
            "accuracy": pl.lit(None, pl.Float64),
            "false_positive_rate": pl.lit(None, pl.Float64),
            "threshold": pl.lit(None, pl.Float64),
            # A series that a bundle has from its parent is as old as it was there.
            "trained_at": pl.lit(trained_at),
        }.items()
        if name not in series.columns
    ).with_columns(pl.col("accuracy", "false_positive_rate").cast(pl.Float64).fill_nan(None))
    connection.execute(
        "CREATE TEMPORARY TABLE incoming (entity text, metric text, status text, accuracy float8, "
        "false_positive_rate float8, threshold float8, rows bigint, trained_at timestamptz) "
        "ON COMMIT DROP"
    )
    with connection.cursor() as cursor:
        copy_frame(cursor, "incoming", known, _MODEL)
    connection.execute(
        "INSERT INTO ml_models (id, stream, device_id, metric_name, model_type, bundle_version, "
        "model_path, status, accuracy, false_positive_rate, threshold, training_samples, "
        "trained_at) SELECT md5(concat_ws(E'\\x1f', %(stream)s::text, %(detector)s::text, "
        "%(version)s::text, entity, metric))::uuid, %(stream)s, entity, metric, %(detector)s, "
        "%(version)s, %(path)s, CASE status WHEN 'trained' THEN 'candidate' ELSE status END, "
        "accuracy, false_positive_rate, threshold, rows, trained_at FROM incoming",
        {
            "stream": stream,
            "detector": detector,
            "version": version,
            "path": path,
        },
    )
    connection.execute("DROP TABLE incoming")


def _json(values: Mapping[str, Any]) -> str:
    """Return JSON that PostgreSQL takes: it knows neither NaN nor infinity."""
    return json.dumps(_finite(values))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0.0 else None
    if isinstance(value, Mapping):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return value
