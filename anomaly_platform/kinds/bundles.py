"""Where the files of a version are, whatever the kind of stream."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomaly_platform.kinds.training import StageError
from anomaly_platform.registry.bundle_index import BundleRecord

if TYPE_CHECKING:
    from anomaly_platform.kinds.parts import Parts


def files_of(parts: Parts[Any], detector: str, version: int) -> tuple[BundleRecord, Path]:
    """Return a version as the index knows it, and its bundle's folder.

    Raises
    ------
    StageError
        When the index does not know the version, or its files are gone.
    """
    record = parts.bundles.get(parts.stream.name, detector, version)
    if record is None or record.path is None:
        raise StageError(f"{parts.stream.name} {detector} {version} has no files")
    return record, parts.lake.fetch_folder(record.path)
