"""A training from a reserved version to a challenger in the index, whatever the kind of stream.

What belongs here: where a training comes from, that one which fails is recorded and told of, and
what every bundle's entry says. What is learned, and from what, is each kind's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from anomaly_platform import __version__
from anomaly_platform.notifications.outbox import Alert, Kind, Severity, fingerprint
from anomaly_platform.registry.bundle_index import BundleRecord
from anomaly_platform.storage.postgres.transactions import Connection
from anomaly_platform.storage.tables.partitions import Partition

if TYPE_CHECKING:
    from anomaly_platform.kinds.parts import Parts

Key = tuple[str, str]
Within = Callable[[Connection], object]

#: The cause of what is trained because there is nothing yet.
FIRST_TRAINING: Final = "first training"
#: What its scores may not be taken for.
OF_ITS_OWN_ROWS: Final = (
    "the first one has learned from the rows that it then scored, incidents among them included; "
    "rows of later runs are judged by it"
)


class StageError(RuntimeError):
    """A stage cannot do what is asked; the text says why and what to do."""


class TrainingInterruptedError(RuntimeError):
    """A training was killed from outside; started again, it goes on where it was."""


@dataclass(frozen=True, slots=True)
class TrainingOrigin:
    """Where a training comes from: Dagster's run, what asked for it, and why in words."""

    run_id: str = ""
    cause: str = "request"
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a detector's bundle, reserved or in the index."""

    stream: str
    detector: str
    number: int

    @property
    def key(self) -> tuple[str, str, int]:
        """Stream, detector and number."""
        return self.stream, self.detector, self.number

    @property
    def path(self) -> str:
        """Where its bundle is in the lake."""
        return f"models/{self.stream}/{self.detector}/{self.number:06d}"


def no_features(parts: Parts[Any]) -> StageError:
    """Return what stops a training that has no rows."""
    return StageError(
        f"{parts.stream.name} has no features to train on; materialize some days first"
    )


def begin_of_data(days: Iterable[Partition], since: datetime) -> datetime:
    """Return where the data of a window begin: not before the first of its days that has any."""
    first = min(day.partition for day in days)
    return max(since, datetime.fromisoformat(first).replace(tzinfo=UTC))


def origin_of(record: BundleRecord | None) -> TrainingOrigin:
    """Return where the training of a version came from."""
    said = {} if record is None else record.parameters
    return TrainingOrigin(*(str(said.get(name, "")) for name in ("run_id", "cause", "reason")))


def known_origin(given: TrainingOrigin, versions: Iterable[BundleRecord]) -> TrainingOrigin:
    """Return the origin of a training; where nothing was said, the first one is just that.

    Parameters
    ----------
    versions
        All that there are of the stream and detector.
    """
    asked = given.reason or given.cause != TrainingOrigin().cause
    if asked or any(one.trained_at is not None for one in versions):
        return given
    return replace(given, cause=FIRST_TRAINING)


@contextmanager
def new_version(
    parts: Parts[Any], detector: str, *, parent: int | None = None
) -> Iterator[Version]:
    """Reserve a version; a training that ends with an error is recorded as failed and told of."""
    stream = parts.stream.name
    version = Version(
        stream, detector, parts.bundles.reserve_version(stream, detector, parent=parent)
    )
    try:
        yield version
    except BaseException as error:
        # Also when the run is cancelled: nothing is left "in training" for ever.
        cause = error if error.__cause__ is None else error.__cause__
        reason = f"{type(cause).__name__}: {cause}"
        # Neither of a cancelled run nor of one that goes on where it was killed.
        silent = isinstance(error, TrainingInterruptedError) or not isinstance(error, Exception)
        tell = None if silent else _tell_of_failure(parts, version, reason)
        parts.bundles.fail(*version.key, reason, also=tell)
        raise


def enter(
    parts: Parts[Any],
    version: Version,
    *,
    digest: str,
    trained_at: datetime,
    window: tuple[datetime | None, datetime | None],
    metrics: Mapping[str, Any],
    hyper_parameters: Mapping[str, Any],
    watermark: int,
    origin: TrainingOrigin,
    seconds: float,
    series: pl.DataFrame,
    failed_series: Sequence[tuple[str, str, str]] = (),
    replaces: int | None = None,
) -> None:
    """Enter a bundle that lies in the lake as a challenger.

    Parameters
    ----------
    digest, trained_at, window, metrics, series, replaces
        See ``Bundles.register``.
    hyper_parameters, watermark, origin, seconds
        How it was trained, up to which ingested file, what asked for it, and how long it took.
    failed_series
        Entity, metric and reason of those that this training tried in vain.
    """
    parts.bundles.register(
        *version.key,
        path=version.path,
        digest=digest,
        trained_at=trained_at,
        window_start=window[0],
        window_end=window[1],
        metrics=metrics,
        parameters={
            **hyper_parameters,
            "watermark": watermark,
            **asdict(origin),
            "code_version": __version__,
            "training_seconds": seconds,
        },
        series=series,
        replaces=replaces,
        also=None if replaces is not None else _tell_of_series(parts, version, failed_series),
    )


def alert_about(
    version: Version,
    kind: Kind,
    severity: Severity,
    said: str,
    details: Mapping[str, Any],
    *about: str,
) -> Alert:
    """Return an alert about a version; it is one with others of the kind, detector and `about`."""
    stream, detector, number = version.key
    return Alert(
        kind=kind,
        fingerprint=fingerprint(kind, stream, detector, *about),
        subject=f"{stream}/{detector}",
        severity=severity,
        title=f"{stream}: {said}",
        stream=stream,
        details={"version": number, **details},
        occurrence=str(number),
    )


def _tell_of_failure(parts: Parts[Any], version: Version, reason: str) -> Within:
    """Return what tells that a training failed as a whole; what served before goes on serving."""
    said = f"training {version.detector} failed; version {version.number} cannot serve"
    alert = alert_about(version, "model_disabled", "critical", said, {"reason": reason})
    return lambda connection: parts.outbox.raise_alert(connection, alert)


def _tell_of_series(
    parts: Parts[Any], version: Version, failed: Sequence[tuple[str, str, str]]
) -> Within:
    """Return what tells which series could not be trained, and ends older failures."""
    said = f"{len(failed)} series of {version.detector} could not be trained"
    named = [f"{entity}/{metric}: {why}" for entity, metric, why in failed]
    details = {"failed": len(failed), "series": named}
    alert = alert_about(version, "model_disabled", "warning", said, details, "series")

    def tell(connection: Connection) -> None:
        outbox, told = parts.outbox, {"version": version.number}
        whole = fingerprint("model_disabled", version.stream, version.detector)
        outbox.resolve_alert(connection, whole, told)
        if failed:
            outbox.raise_alert(connection, alert)
        else:
            outbox.resolve_alert(connection, alert.fingerprint, told)

    return tell
