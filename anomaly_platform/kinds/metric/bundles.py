"""Opening the bundles of a metric stream from the lake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from anomaly_platform.kinds.training import StageError
from anomaly_platform.streams import MetricStream

if TYPE_CHECKING:
    from anomaly_platform.kinds.parts import Parts
    from anomaly_platform.ml.bundles.bundle import Bundle

DETECTOR: Final = MetricStream.scored_by


def open_version(
    parts: Parts, stream: MetricStream, version: int, *, verify: Literal["all", "each"] = "all"
) -> Bundle:
    """Open a registered bundle, its digests verified now or, with ``each``, as it is read.

    Raises
    ------
    StageError
        When the index does not know the version, or its files are gone.
    """
    record = parts.bundles.get(stream.name, DETECTOR, version)
    if record is None or record.path is None:
        raise StageError(f"{stream.name} {DETECTOR} {version} has no files")
    return open_path(parts, record.path, verify=verify, expected_digest=record.digest)


def open_path(
    parts: Parts,
    path: str,
    *,
    verify: Literal["all", "each"] = "all",
    expected_digest: str | None = None,
) -> Bundle:
    """Open a bundle of the lake."""
    from anomaly_platform.ml.bundles.bundle import open_bundle

    folder = parts.lake.fetch_folder(path)
    return open_bundle(folder, verify=verify, expected_digest=expected_digest)
