"""The host models of a bundle: where they are among its shared arrays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anomaly_platform.ml.arrays import AnyArray
from anomaly_platform.ml.bundles.checking import as_bad_model
from anomaly_platform.ml.bundles.format import SHARED
from anomaly_platform.ml.calibration.conformal import Calibration
from anomaly_platform.ml.host_model.model import HostModel

if TYPE_CHECKING:
    from anomaly_platform.ml.bundles.bundle import Bundle
    from anomaly_platform.ml.bundles.writer import BundleWriter

_INDEX = "host/entities"
_MODEL, _TOGETHER = "model", "together"


@dataclass(frozen=True, eq=False)
class BundledHost:
    """A host's model, and the calibration of all evidence about it, its series' included."""

    model: HostModel
    together: Calibration


class HostsWriter:
    """Writes the host models of a bundle, one after the other.

    Parameters
    ----------
    writer
        Of the bundle.
    """

    def __init__(self, writer: BundleWriter) -> None:
        self._writer = writer
        self._numbers: dict[str, int] = {}
        self._whole: set[str] = set()

    def model(self, entity: str, model: HostModel) -> None:
        """Write a host's model; it counts once `together` has followed."""
        number = self._numbers[entity] = len(self._numbers)
        self._share(number, _MODEL, model.to_arrays())

    def together(self, entity: str, calibration: Calibration) -> None:
        """Write the calibration of all evidence about a host whose model is written."""
        self._share(self._numbers[entity], _TOGETHER, calibration.to_arrays())
        self._whole.add(entity)

    def copy(self, hosts: Hosts, entity: str) -> None:
        """Take over a host of another bundle."""
        number = self._numbers[entity] = len(self._numbers)
        self._whole.add(entity)
        for part, name, array in hosts.arrays(entity):
            self._share(number, part, {name: array})

    def index(self) -> None:
        """Write which hosts there are."""
        if self._whole:
            text = json.dumps({name: self._numbers[name] for name in sorted(self._whole)})
            self._writer.share(_INDEX, np.frombuffer(text.encode(), dtype=np.uint8))

    def _share(self, number: int, part: str, arrays: dict[str, AnyArray]) -> None:
        for name, array in arrays.items():
            self._writer.share(f"host/{number}/{part}/{name}", array)


class Hosts:
    """Reads the host models of a bundle; one that was made before there were any has none.

    Parameters
    ----------
    bundle
        It stays open.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._numbers: dict[str, int] = {}
        self._names: dict[str, list[tuple[str, str]]] = {}
        shared = bundle.manifest.get("shared_digests", {})
        if SHARED + _INDEX not in shared:
            return
        with as_bad_model(f"the hosts of the bundle at {bundle.directory}"):
            self._numbers = json.loads(bundle.shared(_INDEX).tobytes())
        for name in shared:
            kind, *rest = name.removeprefix(SHARED).split("/")
            if kind == "host" and len(rest) == 3:
                self._names.setdefault(rest[0], []).append((rest[1], rest[2]))

    @property
    def entities(self) -> set[str]:
        """The hosts that have a model."""
        return set(self._numbers)

    def arrays(self, entity: str) -> Iterator[tuple[str, str, AnyArray]]:
        """Yield part, name and content of each array of a host."""
        number = str(self._numbers[entity])
        for part, name in self._names.get(number, ()):
            yield part, name, self._bundle.shared(f"host/{number}/{part}/{name}")

    def of(self, entity: str) -> BundledHost | None:
        """Read what there is of a host, None where it has no model."""
        if entity not in self._numbers:
            return None
        with as_bad_model(f"the model of {entity} in the bundle at {self._bundle.directory}"):
            parts: dict[str, dict[str, AnyArray]] = {_MODEL: {}, _TOGETHER: {}}
            for part, name, array in self.arrays(entity):
                parts[part][name] = array
            return BundledHost(
                HostModel.from_arrays(parts[_MODEL]), Calibration.from_arrays(parts[_TOGETHER])
            )
