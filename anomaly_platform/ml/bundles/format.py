"""Format of bundles: names, errors and digests that reader and writer share."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomaly_platform.ml.arrays import Arrays

#: A bundle whose arrays are all in one file of its own.
FORMAT = 1
#: A bundle that has array files of other bundles beside its own.
LAYERED_FORMAT = 2
MANIFEST = "manifest.json"
SERIES = "series.parquet"
ARRAYS = "arrays.safetensors"
SHARED = "shared/"
OWN_KEYS = ("format", "files", "slots", "series_key", "shared_digests")


class BundleError(ValueError):
    """A bundle that cannot be written or opened; the message says what is wrong with it."""


class BundleExistsError(BundleError):
    """Another bundle is already published under this directory."""


class DigestMismatchError(BundleError):
    """A file or an array is not what was published: changed, damaged or cut short."""


class MissingFeaturesError(BundleError):
    """The bundle needs features that the caller does not have."""


@dataclass(frozen=True)
class Layer:
    """One array file of a bundle and the slots in it.

    Attributes
    ----------
    name
        Of the file, within the bundle's directory.
    first, slots
        The bundle's slots ``first … first + slots - 1`` are the file's ``0 … slots - 1``.
    """

    name: str
    first: int
    slots: int


def layers_of(manifest: Mapping[str, Any]) -> list[Layer]:
    """Return the array files in the order of their slots; the bundle's own comes last.

    Raises
    ------
    BundleError
        When the manifest's numbers contradict each other.
    """
    layers: list[Layer] = []
    first = 0
    try:
        for entry in manifest.get("layers", ()):
            layers.append(Layer(str(entry["file"]), first, int(entry["slots"])))
            first += layers[-1].slots
        own = int(manifest["slots"]) - first
    except (TypeError, ValueError, KeyError) as error:
        raise BundleError("the manifest's layers are damaged") from error
    names = {layer.name for layer in layers}
    if own < 0 or len(names) < len(layers) or any(Path(n).name != n or n == ARRAYS for n in names):
        raise BundleError("the manifest's layers do not fit its slots")
    return [*layers, Layer(ARRAYS, first, own)]


def layer_name(sha256: str) -> str:
    """Return the name under which a bundle keeps another's array file: its content's."""
    return f"arrays-{sha256[:16]}.safetensors"


def feature_names(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the stored features in a manifest's ``feature_schema``.

    Raises
    ------
    BundleError
        When the manifest has none.
    """
    schema = manifest.get("feature_schema")
    features = schema.get("features") if isinstance(schema, Mapping) else None
    if not features or isinstance(features, str):
        raise BundleError("the manifest must name its features in feature_schema.features")
    return tuple(str(name) for name in features)


def arrays_digest(arrays: Arrays) -> str:
    """Return the SHA-256 over names and bytes of some arrays, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(digest_head(name, arrays[name].nbytes))
        digest.update(arrays[name].data)
    return digest.hexdigest()


def digest_head(name: str, size: int) -> bytes:
    """Return what `arrays_digest` takes before the bytes of an array."""
    return f"{name}\0{size}\0".encode()
