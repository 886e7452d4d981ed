"""What the reader and the writer of bundles agree on: names, errors, digests."""

import hashlib
from collections.abc import Mapping
from typing import Any

from anomaly_platform.ml.tensor_file import AnyArray

FORMAT = 1
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


def arrays_digest(arrays: Mapping[str, AnyArray]) -> str:
    """Return the SHA-256 over names and bytes of some arrays, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name}\0{arrays[name].nbytes}\0".encode())
        digest.update(arrays[name].data)
    return digest.hexdigest()
