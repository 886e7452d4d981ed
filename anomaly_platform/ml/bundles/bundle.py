"""Opens and verifies bundles: the models of a stream as one directory, written once.

``manifest.json`` says what the bundle is and holds the digest of every other file,
``series.parquet`` has a row per series, ``arrays.safetensors`` the arrays of all series, stacked:
one series is read by slices, without its neighbours. A bundle in which only a few series were
trained anew has its parent's array files beside its own (``arrays-<digest>.safetensors``, the same
bytes on disk where the file system knows hard links). No pickle anywhere: loading a bundle never
runs code. What the arrays mean belongs to the detectors, what a series' row says to training; the
writing itself is in ``writer``.
"""

import bisect
import contextlib
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import polars as pl

from anomaly_platform.ml.arrays import AnyArray, StoredArrays
from anomaly_platform.ml.bundles.checking import as_bad_model
from anomaly_platform.ml.bundles.format import (
    FORMAT,
    LAYERED_FORMAT,
    MANIFEST,
    OWN_KEYS,
    SERIES,
    SHARED,
    BundleError,
    DigestMismatchError,
    Layer,
    MissingFeaturesError,
    arrays_digest,
    feature_names,
    layers_of,
)
from anomaly_platform.ml.bundles.tensor_file import TensorFile, TensorFileError, TensorSpec

if TYPE_CHECKING:
    from anomaly_platform.ml.bundles.slots import SlotReader


class Bundle:
    """An open, verified bundle; see `open_bundle`. Reading is safe for several threads.

    Attributes
    ----------
    directory
        Where it was opened.
    digest
        SHA-256 of the manifest.
    manifest
        Its content.
    series
        The table of series.
    layers
        Its array files in the order of their slots, its own the last.
    """

    def __init__(
        self,
        directory: Path,
        digest: str,
        manifest: dict[str, Any],
        series: pl.DataFrame,
        layers: Sequence[Layer],
        tensors: Sequence[TensorFile],
    ) -> None:
        self.directory = directory
        self.digest = digest
        self.manifest = manifest
        self.series = series
        self.layers = tuple(layers)
        self._files = tuple(tensors)
        self._readers: list[SlotReader | None] = [None] * len(self._files)
        self._starts = [layer.first for layer in layers]
        self._verified = False
        #: Dtype and shape of the arrays of one series.
        self.specs = {
            name: TensorSpec(spec.dtype, spec.shape[1:])
            for file in reversed(self._files)
            for name, spec in file.specs.items()
            if not name.startswith(SHARED)
        }
        self.slot_digests = dict(series.select("slot", "digest").drop_nulls().iter_rows())
        key = manifest["series_key"]
        self._slots = dict(zip(series.select(key).iter_rows(), series["slot"], strict=True))

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the stored features that the bundle was trained on."""
        return feature_names(self.manifest)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the model's inputs; the features themselves unless the manifest names others."""
        return tuple(self.manifest["feature_schema"].get("inputs") or self.features)

    @property
    def bytes_read(self) -> int:
        """Bytes read from the array files so far, verification of whole files not counted."""
        return sum(file.bytes_read for file in self._files)

    def slot(self, *key: str) -> int | None:
        """Return the slot of a series, null for one without arrays.

        Raises
        ------
        KeyError
            When the bundle does not know the series.
        """
        slot: int | None = self._slots[key]
        return slot

    def __contains__(self, key: object) -> bool:
        return key in self._slots

    def arrays(self, slot: int) -> StoredArrays:
        """Read the arrays of one series and verify them; no other series' bytes are touched.

        Raises
        ------
        IndexError
            When there is no such slot.
        DigestMismatchError
            When the arrays are not what was published.
        """
        if slot not in self.slot_digests:
            raise IndexError(f"the bundle has no slot {slot}")
        place = bisect.bisect_right(self._starts, slot) - 1
        while not self.layers[place].slots:
            place -= 1
        index = slot - self._starts[place]
        with self._damage():
            arrays, digest = self._reader(place).read(index)
        if digest != self.slot_digests[slot]:
            msg = f"the arrays of slot {slot} in {self.directory} are not what was published"
            raise DigestMismatchError(msg)
        return arrays

    def _reader(self, place: int) -> "SlotReader":
        reader = self._readers[place]
        if reader is None:
            # Compiled functions: whoever only asks what a bundle is does without.
            from anomaly_platform.ml.bundles.slots import SlotReader

            reader = self._readers[place] = SlotReader(self._files[place], self.specs)
        return reader

    def shared(self, name: str) -> AnyArray:
        """Read and verify an array of the whole bundle.

        Raises
        ------
        KeyError
            When there is none of that name.
        DigestMismatchError
            When it is not what was published.
        """
        full = SHARED + name
        expected = self.manifest["shared_digests"][full]
        with self._damage():
            array = self._files[-1].read(full)
        if arrays_digest({full: array}) != expected:
            msg = f"the array {full!r} in {self.directory} is not what was published"
            raise DigestMismatchError(msg)
        return array

    def verify_arrays(self) -> None:
        """Verify the digests of the whole array files, once.

        Raises
        ------
        DigestMismatchError
            When a file is not what was published.
        """
        if self._verified:
            return
        for file, layer in zip(self._files, self.layers, strict=True):
            if file.digest() != self.manifest["files"][layer.name]["sha256"]:
                msg = (
                    f"{layer.name} in {self.directory} is not what was published: "
                    "its digest differs"
                )
                raise DigestMismatchError(msg)
        self._verified = True

    @contextlib.contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except TensorFileError as error:
            raise DigestMismatchError(str(error)) from error

    def close(self) -> None:
        """Close the array files."""
        for file in self._files:
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_bundle(
    directory: Path,
    *,
    expected_features: Iterable[str] | None = None,
    expected_digest: str | None = None,
    verify: Literal["all", "each"] = "all",
) -> Bundle:
    """Open a bundle and verify it.

    Parameters
    ----------
    directory
        As published.
    expected_features
        The features that the caller can supply; the bundle's must be among them.
    expected_digest
        The bundle's digest as recorded elsewhere.
    verify
        ``"all"`` checks every file now; ``"each"`` checks of the array file only its header, and
        what is read of it, series by series, so that one of thousands of series costs little.

    Raises
    ------
    DigestMismatchError
        When a file is missing, cut short or changed.
    MissingFeaturesError
        When the caller lacks a feature; the message names them.
    BundleError
        When there is no bundle, or one of a format that is not known here.
    """
    try:
        text = (directory / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleError(f"there is no bundle at {directory}: {MANIFEST} is missing") from error
    digest = hashlib.sha256(text).hexdigest()
    if expected_digest is not None and digest != expected_digest:
        msg = (
            f"the bundle at {directory} has the digest {digest[:12]}…, not {expected_digest[:12]}…"
        )
        raise DigestMismatchError(msg)
    with as_bad_model(f"the bundle at {directory} cannot be used"):
        return _opened(directory, text, digest, expected_features, verify)


def _opened(
    directory: Path,
    text: bytes,
    digest: str,
    expected_features: Iterable[str] | None,
    verify: Literal["all", "each"],
) -> Bundle:
    manifest = _parse_manifest(text, directory)
    if expected_features is not None:
        lacking = sorted(set(feature_names(manifest)) - set(expected_features))
        if lacking:
            msg = f"the bundle at {directory} needs features that are missing: {', '.join(lacking)}"
            raise MissingFeaturesError(msg)
    series = _read_series(directory, manifest)
    layers = layers_of(manifest)
    tensors = _open_tensors(directory, manifest, layers)
    bundle = Bundle(directory, digest, manifest, series, layers, tensors)
    if verify == "all":
        try:
            bundle.verify_arrays()
        except BundleError:
            bundle.close()
            raise
    return bundle


def _parse_manifest(text: bytes, directory: Path) -> dict[str, Any]:
    try:
        manifest: Any = json.loads(text)
    except ValueError as error:
        raise DigestMismatchError(f"{MANIFEST} in {directory} is not JSON: {error}") from error
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found not in (FORMAT, LAYERED_FORMAT):
        msg = (
            f"the bundle at {directory} has format {found!r}; this version reads "
            f"{FORMAT} and {LAYERED_FORMAT}"
        )
        raise BundleError(msg)
    lacking = [key for key in OWN_KEYS if key not in manifest]
    if lacking or set(manifest["files"]) != {SERIES, *(x.name for x in layers_of(manifest))}:
        raise DigestMismatchError(f"{MANIFEST} in {directory} is not complete")
    return dict(manifest)


def _read_series(directory: Path, manifest: Mapping[str, Any]) -> pl.DataFrame:
    try:
        data = (directory / SERIES).read_bytes()
    except FileNotFoundError as error:
        raise DigestMismatchError(f"{SERIES} is missing in {directory}") from error
    _check_size(directory, manifest, SERIES, len(data))
    if hashlib.sha256(data).hexdigest() != manifest["files"][SERIES]["sha256"]:
        msg = f"{SERIES} in {directory} is not what was published: its digest differs"
        raise DigestMismatchError(msg)
    return pl.read_parquet(io.BytesIO(data))


def _open_tensors(
    directory: Path, manifest: Mapping[str, Any], layers: Sequence[Layer]
) -> list[TensorFile]:
    opened: list[TensorFile] = []
    try:
        for layer in layers:
            opened.append(_open_layer(directory, manifest, layer))
            _check_slots(opened[-1], layer, directory)
    except BundleError:
        for file in opened:
            file.close()
        raise
    return opened


def _open_layer(directory: Path, manifest: Mapping[str, Any], layer: Layer) -> TensorFile:
    path = directory / layer.name
    try:
        _check_size(directory, manifest, layer.name, path.stat().st_size)
        file = TensorFile(path)
    except FileNotFoundError as error:
        raise DigestMismatchError(f"{layer.name} is missing in {directory}") from error
    except TensorFileError as error:
        raise DigestMismatchError(f"{layer.name} in {directory} is damaged: {error}") from error
    # Bundles of before name none.
    if file.header != manifest["files"][layer.name].get("header", file.header):
        file.close()
        raise DigestMismatchError(
            f"the header of {layer.name} in {directory} is not what was published"
        )
    return file


def _check_slots(file: TensorFile, layer: Layer, directory: Path) -> None:
    for name, spec in file.specs.items():
        if not name.startswith(SHARED) and spec.shape[:1] != (layer.slots,):
            msg = f"{layer.name} in {directory} does not hold the {layer.slots} slots it should"
            raise DigestMismatchError(msg)


def _check_size(directory: Path, manifest: Mapping[str, Any], name: str, size: int) -> None:
    expected = manifest["files"][name]["bytes"]
    if size != expected:
        msg = f"{name} in {directory} has {size} of {expected} bytes: cut short or changed"
        raise DigestMismatchError(msg)
