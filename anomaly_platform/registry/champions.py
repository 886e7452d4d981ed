"""Promotes and rolls back versions by hand: one version or a whole set.

Belongs here: which versions serve together, and what a person's promotion, roll-back or deletion
does. A metric stream has one detector; of a stream of scans the version of the fusion names a set,
whose members its manifest pins.
"""

import json
from dataclasses import dataclass
from typing import Any

from anomaly_platform.registry.bundle_index import BundleRecord
from anomaly_platform.registry.bundles import Bundles
from anomaly_platform.registry.promotion import PromotionError
from anomaly_platform.storage.lake.lake import Lake
from anomaly_platform.streams import Stream


@dataclass(frozen=True, slots=True)
class ModelSets:
    """Promotes versions that serve together, and rolls them back.

    Parameters
    ----------
    bundles : Bundles
        The index of versions.
    lake : Lake
        Where their files are.
    """

    bundles: Bundles
    lake: Lake

    def members_of(self, stream: Stream, version: int) -> dict[str, int]:
        """Return the versions that serve together under this version, by detector.

        Raises
        ------
        PromotionError
            When there is no such version, or its files are gone.
        """
        record = self.find(stream, stream.scored_by, version)
        if stream.detectors == (stream.scored_by,):
            return {stream.scored_by: version}
        members = self.manifest_of(record)["members"]
        versions = {name: int(one["version"]) for name, one in members.items()}
        return {**versions, stream.scored_by: version}

    def manifest_of(self, record: BundleRecord) -> dict[str, Any]:
        """Return a bundle's manifest.

        Raises
        ------
        PromotionError
            When its files are gone.
        """
        name = f"version {record.version} of {record.stream} {record.detector}"
        if not record.path or not self.lake.exists(record.path):
            raise PromotionError(f"{name} is {record.status} and its files are gone")
        folder = self.lake.fetch_folder(record.path)
        manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_bytes())
        return manifest

    def find(self, stream: Stream, detector: str, version: int) -> BundleRecord:
        """Return a version.

        Raises
        ------
        PromotionError
            When there is none of that number; the text says which there are.
        """
        record = self.bundles.get(stream.name, detector, version)
        if record is None:
            known = [str(one.version) for one in self.bundles.all(stream.name, detector)]
            there = f"there are {', '.join(known)}" if known else "nothing has been trained yet"
            raise PromotionError(
                f"there is no version {version} of {stream.name} {detector}; {there}"
            )
        return record

    def put_into_service(
        self, stream: Stream, version: int, reason: str, *, overrule: bool = False
    ) -> dict[str, int]:
        """Promote a version, or the set that it names, past the gates; return what serves.

        Raises
        ------
        PromotionError
            When a version cannot serve; nothing has changed then.
        """
        versions = self.members_of(stream, version)
        for detector, one in versions.items():
            self.manifest_of(self.find(stream, detector, one))
        self.bundles.promote_set(stream.name, versions, reason, overrule=overrule)
        return versions

    def roll_back(self, stream: Stream, reason: str, *, to: int | None = None) -> dict[str, int]:
        """Put the version into service again that served before, or the one asked for.

        Raises
        ------
        PromotionError
            When nothing served before, or the version never served.
        """
        detector = stream.scored_by
        if to is None:
            to = self.bundles.previous(stream.name, detector)
            if to is None:
                raise PromotionError(
                    f"{stream.name}: no earlier version of {detector} can serve again"
                )
        elif to not in {one.version for one in self.bundles.history(stream.name, detector)}:
            self.find(stream, detector, to)
            raise PromotionError(
                f"version {to} of {stream.name} {detector} never served; "
                "`anomaly models promote` puts it into service"
            )
        return self.put_into_service(stream, to, reason)
