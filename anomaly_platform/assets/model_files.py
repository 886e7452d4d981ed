"""Opening the bundles of a metric stream from the lake."""

from typing import TYPE_CHECKING, Literal

from dagster import Failure

from anomaly_platform.platform import DETECTOR, Platform
from anomaly_platform.streams import MetricStream

if TYPE_CHECKING:
    from anomaly_platform.ml.bundles.bundle import Bundle


def open_version(
    platform: Platform,
    stream: MetricStream,
    version: int,
    *,
    verify: Literal["all", "each"] = "all",
) -> "Bundle":
    """Open a registered bundle, its digests verified now or, with ``each``, as it is read.

    Raises
    ------
    Failure
        When the index does not know the version, or its files are gone.
    """
    record = platform.warehouse.bundles.get(stream.name, DETECTOR, version)
    if record is None or record.path is None:
        raise Failure(f"{stream.name} {DETECTOR} {version} has no files")
    return open_path(platform, record.path, verify=verify, expected_digest=record.digest)


def open_path(
    platform: Platform,
    path: str,
    *,
    verify: Literal["all", "each"] = "all",
    expected_digest: str | None = None,
) -> "Bundle":
    """Open a bundle of the lake."""
    from anomaly_platform.ml.bundles.bundle import open_bundle

    folder = platform.lake.fetch_folder(path)
    return open_bundle(folder, verify=verify, expected_digest=expected_digest)
