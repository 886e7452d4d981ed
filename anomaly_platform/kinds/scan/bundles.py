"""The bundles of a stream of scans: one per detector, and the fusion that names a set of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from anomaly_platform.kinds.bundles import files_of
from anomaly_platform.kinds.scan.rows import available_columns
from anomaly_platform.kinds.training import StageError
from anomaly_platform.registry.bundle_index import BundleRecord
from anomaly_platform.streams import ScanStream

if TYPE_CHECKING:
    from anomaly_platform.kinds.parts import Parts
    from anomaly_platform.ml.detectors.rules.detector import RulesModel
    from anomaly_platform.ml.scans.scoring import BarcodeModels


def manifest_of(parts: Parts[ScanStream], detector: str, version: int) -> dict[str, Any]:
    """Return a bundle's manifest; raises as `files_of`."""
    _, folder = files_of(parts, detector, version)
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_bytes())
    return manifest


def members_of(parts: Parts[ScanStream], version: int) -> dict[str, int]:
    """Return the versions of the set that a fusion names, its own included."""
    members = manifest_of(parts, parts.stream.scored_by, version)["members"]
    pinned = {name: int(one["version"]) for name, one in members.items()}
    return {**pinned, parts.stream.scored_by: version}


def newest_members(parts: Parts[ScanStream]) -> dict[str, BundleRecord]:
    """Return the newest bundle of each detector that waits to be judged or serves.

    Raises
    ------
    StageError
        When there are no rules yet.
    """
    found = {}
    for detector in parts.stream.detectors:
        for record in parts.bundles.all(parts.stream.name, detector):
            if record.status in ("challenger", "champion"):
                found[detector] = record
                break
    if "rules" not in found:
        raise StageError(f"{parts.stream.name} has no rules yet; materialize rules_model first")
    return found


def read(parts: Parts[ScanStream], record: BundleRecord) -> Any:
    """Return the detector of a bundle, verified."""
    from anomaly_platform.ml.scans.bundles import read_detector

    return read_detector(
        files_of(parts, record.detector, record.version)[1],
        record.detector,
        available=available_columns(parts.stream),
        expected_digest=record.digest,
    )


def read_rules(parts: Parts[ScanStream]) -> tuple[BundleRecord, RulesModel]:
    """Return the newest rules; raises as `newest_members`."""
    record = newest_members(parts)["rules"]
    rules: RulesModel = read(parts, record)
    return record, rules


def read_serving(parts: Parts[ScanStream], version: int) -> BarcodeModels:
    """Open the set that a fusion names, verified."""
    from anomaly_platform.ml.scans.bundles import read_set

    return read_set(
        lambda detector, one: files_of(parts, detector, one)[1],
        version,
        available=available_columns(parts.stream),
    )
