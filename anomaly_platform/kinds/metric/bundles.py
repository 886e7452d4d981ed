"""Opening the bundles of a metric stream from the lake."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from anomaly_platform.kinds.bundles import files_of
from anomaly_platform.streams import MetricStream

if TYPE_CHECKING:
    from anomaly_platform.kinds.parts import Parts
    from anomaly_platform.ml.bundles.bundle import Bundle

DETECTOR: Final = MetricStream.scored_by

#: Most bytes per model: 252 KB of its own, 6 KB of its entity's calibration, 9 KB of its place in
#: its host's matrix, and room for calibrations left behind until the next full training.
BYTES_PER_SERIES: Final = 300_000
#: Most bytes per series in a file taken over: calibrations and matrices that nobody reads there.
BYTES_LEFT_BEHIND: Final = 15_000
#: What a bundle may weigh besides.
BYTES_BESIDES: Final = 1_000_000


def allowed_bytes(manifest: Mapping[str, Any]) -> int:
    """Return how many bytes a bundle may have.

    A training of a few series takes over the files of its parent whole, with the models that it
    replaces. These count as far as `extending` leaves such files where they are.
    """
    from anomaly_platform.ml.training.extending import LEAST_IN_USE, MOST_LAYERS

    trained = int(manifest["data"]["trained"])
    models = max(trained, min(int(manifest["slots"]), math.ceil(trained / LEAST_IN_USE)))
    taken_over = min(len(manifest.get("layers", ())), MOST_LAYERS)
    left_behind = taken_over * trained * BYTES_LEFT_BEHIND
    return BYTES_BESIDES + models * BYTES_PER_SERIES + left_behind


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
