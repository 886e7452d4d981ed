"""Opening the bundles of a metric stream from the lake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from anomaly_platform.kinds.bundles import files_of
from anomaly_platform.streams import MetricStream

if TYPE_CHECKING:
    from anomaly_platform.kinds.parts import Parts
    from anomaly_platform.ml.bundles.bundle import Bundle

DETECTOR: Final = MetricStream.scored_by


def open_version(
    parts: Parts[MetricStream], version: int, *, verify: Literal["all", "each"] = "all"
) -> Bundle:
    """Open a registered bundle, its digests verified now or, with ``each``, as it is read.

    Raises
    ------
    StageError
        When the index does not know the version, or its files are gone.
    """
    from anomaly_platform.ml.bundles.bundle import open_bundle

    record, folder = files_of(parts, DETECTOR, version)
    return open_bundle(folder, verify=verify, expected_digest=record.digest)
