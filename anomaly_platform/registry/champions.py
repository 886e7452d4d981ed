"""Putting versions into service by hand, and going back: one version or a whole set.

Belongs here: which versions serve together, and what a person's promotion, roll-back or deletion
does. A metric stream has one detector; of a stream of scans the version of the fusion names a set,
whose members its manifest pins.
"""

from __future__ import annotations

import json
from typing import Any

from anomaly_platform.platform import Platform
from anomaly_platform.registry.bundles import BundleRecord, PromotionError
from anomaly_platform.streams import Stream


def members_of(platform: Platform, stream: Stream, version: int) -> dict[str, int]:
    """Return the versions that serve together under this version, by detector.

    Raises
    ------
    PromotionError
        When there is no such version, or its files are gone.
    """
    record = find(platform, stream, stream.scored_by, version)
    if stream.detectors == (stream.scored_by,):
        return {stream.scored_by: version}
    manifest = manifest_of(platform, record)
    members = {name: int(one["version"]) for name, one in manifest["members"].items()}
    return {**members, stream.scored_by: version}


def manifest_of(platform: Platform, record: BundleRecord) -> dict[str, Any]:
    """Return a bundle's manifest.

    Raises
    ------
    PromotionError
        When its files are gone.
    """
    name = f"version {record.version} of {record.stream} {record.detector}"
    if not record.path or not platform.lake.exists(record.path):
        raise PromotionError(f"{name} is {record.status} and its files are gone")
    folder = platform.lake.fetch_folder(record.path, platform.settings.home / "cache")
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_bytes())
    return manifest


def find(platform: Platform, stream: Stream, detector: str, version: int) -> BundleRecord:
    """Return a version.

    Raises
    ------
    PromotionError
        When there is none of that number; the text says which there are.
    """
    record = platform.warehouse.bundles.get(stream.name, detector, version)
    if record is None:
        known = [str(one.version) for one in platform.warehouse.bundles.all(stream.name, detector)]
        there = f"there are {', '.join(known)}" if known else "nothing has been trained yet"
        raise PromotionError(f"there is no version {version} of {stream.name} {detector}; {there}")
    return record


def put_into_service(
    platform: Platform, stream: Stream, version: int, reason: str, *, overrule: bool = False
) -> dict[str, int]:
    """Promote a version, or the set that it names, past the gates; return what serves.

    Raises
    ------
    PromotionError
        When a version cannot serve; nothing has changed then.
    """
    versions = members_of(platform, stream, version)
    for detector, one in versions.items():
        manifest_of(platform, find(platform, stream, detector, one))
    platform.warehouse.bundles.promote_set(stream.name, versions, reason, overrule=overrule)
    return versions


def roll_back(
    platform: Platform, stream: Stream, reason: str, *, to: int | None = None
) -> dict[str, int]:
    """Put the version into service again that served before, or the one asked for.

    Raises
    ------
    PromotionError
        When nothing served before, or the version never served.
    """
    bundles = platform.warehouse.bundles
    detector = stream.scored_by
    if to is None:
        to = bundles.previous(stream.name, detector)
        if to is None:
            raise PromotionError(f"{stream.name}: no earlier version of {detector} can serve again")
    elif to not in {one.version for one in bundles.history(stream.name, detector)}:
        find(platform, stream, detector, to)
        raise PromotionError(
            f"version {to} of {stream.name} {detector} never served; "
            "`anomaly models promote` puts it into service"
        )
    return put_into_service(platform, stream, to, reason)
