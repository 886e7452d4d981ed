"""Reserves, registers, promotes, rejects and deletes versions of bundles.

Belongs here: the transactions that change the index of bundles and of the single models in them.
Does not belong here: reading it (``bundle_index``), the files of a bundle (``ml.bundles``), nor
whether a bundle deserves promotion.
"""

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from anomaly_platform.registry import promotion
from anomaly_platform.registry.bundle_index import BundleIndex
from anomaly_platform.registry.pending_updates import enqueue
from anomaly_platform.registry.promotion import AlsoWithin, ChampionMovedError
from anomaly_platform.storage.postgres.transactions import Connection, lock
from anomaly_platform.storage.tables.ml_models import insert_models

#: A version that has been in training for so long was left by a process that was killed.
_ABANDONED_AFTER = dt.timedelta(days=2)


class Bundles(BundleIndex):
    """Writes ``bundles``, ``ml_models`` and ``champions``, and reads them."""

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
            connection.execute(
                "UPDATE bundles SET status = 'failed', reason = 'its process ended without a word' "
                "WHERE stream = %s AND detector = %s AND status = 'training' "
                "AND created_at < now() - %s",
                (stream, detector, _ABANDONED_AFTER),
            )
            ((version,),) = connection.execute(
                "INSERT INTO bundles (stream, detector, version, status, parent) "
                "SELECT %(stream)s, %(detector)s, coalesce(max(version), 0) + 1, 'training', "
                "%(parent)s FROM bundles WHERE stream = %(stream)s AND detector = %(detector)s "
                "RETURNING version",
                {"stream": stream, "detector": detector, "parent": parent},
            ).fetchall()
        return int(version)

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
        also: AlsoWithin | None = None,
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
            ``failed``) and ``rows``; ``accuracy``, ``false_positive_rate``,
            ``true_positive_rate``, ``event_recall``, ``threshold`` and ``trained_at`` where known.
        replaces : int, optional
            A challenger that gives way to this one in the same transaction.
        also : callable, optional
            Called with the connection, within the transaction.

        Raises
        ------
        ValueError
            When the version was not reserved or is registered already.
        """
        key = (stream, detector, version)
        with self._transactions.begin() as connection:
            changed = connection.execute(
                "UPDATE bundles SET status = 'challenger', path = %s, digest = %s, "
                "trained_at = %s, window_start = %s, window_end = %s, metrics = %s, "
                "parameters = %s WHERE stream = %s AND detector = %s AND version = %s "
                "AND status = 'training'",
                (
                    *(path, digest, trained_at, window_start, window_end),
                    *(json.dumps(_finite(one)) for one in (metrics, parameters)),
                    *key,
                ),
            ).rowcount
            if not changed:
                raise ValueError(
                    f"{stream} {detector} {version} is not a version in training: "
                    "reserve one, and register it once"
                )
            insert_models(connection, *key, path=path, trained_at=trained_at, series=series)
            enqueue(connection, key, "version")
            if replaces is not None:
                promotion.close(
                    connection,
                    (stream, detector, replaces),
                    "rejected",
                    f"set on a newer champion as version {version}",
                )
            if also is not None:
                also(connection)

    def fail(
        self,
        stream: str,
        detector: str,
        version: int,
        reason: str,
        *,
        also: AlsoWithin | None = None,
    ) -> None:
        """Record that a training or a bundle failed; a champion is not touched.

        Parameters
        ----------
        also : callable, optional
            Called with the connection, within the transaction, unless it had ended before.
        """
        with self._transactions.begin() as connection:
            closed = promotion.close(connection, (stream, detector, version), "failed", reason)
            if closed and also is not None:
                also(connection)

    def reject(
        self,
        stream: str,
        detector: str,
        version: int,
        reason: str,
        *,
        gates: Sequence[Mapping[str, Any]] = (),
        also: AlsoWithin | None = None,
    ) -> None:
        """Record that a challenger did not pass its gates.

        Parameters
        ----------
        gates : sequence of mapping
            What it had to pass, for the record.
        also : callable, optional
            Called with the connection, within the transaction, unless the version was no
            challenger any more.
        """
        key = (stream, detector, version)
        with self._transactions.begin() as connection:
            if not promotion.close(connection, key, "rejected", reason):
                return
            _record_gates(connection, key, gates)
            if also is not None:
                also(connection)

    def promote_set(
        self,
        stream: str,
        versions: Mapping[str, int],
        reason: str,
        *,
        gates: Sequence[Mapping[str, Any]] = (),
        compared_with: Mapping[str, int] | None = None,
        overrule: bool = False,
        also: AlsoWithin | None = None,
    ) -> None:
        """Put one version per detector into service, all of them or, on an error, none.

        Their series become the active models; those of the versions before retire. Each change is
        announced; promoting a champion again changes nothing, and going back to an earlier version
        is a promotion too.

        Parameters
        ----------
        gates : sequence of mapping
            What they had to pass, for the record.
        compared_with : mapping, optional
            By detector, the champion that the decision rests on; if another one serves by now,
            nothing changes.
        overrule : bool
            Whether a version may serve that its gates have rejected.
        also : callable, optional
            Called with the connection, within the transaction.

        Raises
        ------
        ChampionMovedError
            When another champion serves than the decision rests on.
        PromotionError
            When there is no such version, or it has no usable files.
        """
        with self._transactions.begin() as connection:
            for detector in sorted(versions):
                key = (stream, detector, versions[detector])
                _refuse_moved(connection, key, (compared_with or {}).get(detector))
                promotion.promote(connection, key, reason, overrule=overrule)
                _record_gates(connection, key, gates)
            if also is not None:
                also(connection)

    def delete(self, stream: str, detector: str, version: int, reason: str) -> None:
        """Mark a version as deleted; pruning removes its files.

        Raises
        ------
        PromotionError
            When there is no such version, or it serves or is in training.
        """
        with self._transactions.begin() as connection:
            promotion.delete(connection, (stream, detector, version), reason)


def _refuse_moved(
    connection: Connection, key: tuple[str, str, int], compared_with: int | None
) -> None:
    """Lock who serves; refuse a promotion that rests on a champion that does not serve any more."""
    stream, detector, version = key
    lock(connection, "champion", stream, detector)
    serving = promotion.champion_of(connection, stream, detector)
    if serving is None or compared_with is None or serving.version in (compared_with, version):
        return
    raise ChampionMovedError(
        f"version {serving.version} of {stream} {detector} serves by now, "
        f"{version} was compared with {compared_with}"
    )


def _record_gates(
    connection: Connection, key: tuple[str, str, int], gates: Sequence[Mapping[str, Any]]
) -> None:
    if gates:
        connection.execute(
            "UPDATE bundles SET gates = %s WHERE stream = %s AND detector = %s AND version = %s",
            (json.dumps(_finite(gates)), *key),
        )


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0.0 else None
    if isinstance(value, Mapping):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return value
