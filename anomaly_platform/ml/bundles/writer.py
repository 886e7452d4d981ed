"""Writes a bundle in bounded memory while training goes on, visible only once it is whole.

Reading is in ``bundle``; what a bundle is, too.
"""

import contextlib
import errno
import hashlib
import io
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Self

import numpy as np
import polars as pl

from anomaly_platform.ml.arrays import AnyArray, Arrays
from anomaly_platform.ml.bundles.format import (
    ARRAYS,
    FORMAT,
    LAYERED_FORMAT,
    MANIFEST,
    OWN_KEYS,
    SERIES,
    SHARED,
    BundleError,
    BundleExistsError,
    Layer,
    arrays_digest,
    feature_names,
    layer_name,
)
from anomaly_platform.ml.bundles.private_files import naming_full_disk, sync_folder, write_private
from anomaly_platform.ml.bundles.tensor_file import (
    TensorFile,
    TensorSpec,
    storable,
    write_tensor_file,
)

if TYPE_CHECKING:
    from anomaly_platform.ml.bundles.bundle import Bundle

_CHUNK = 1 << 20


class _Shared(NamedTuple):
    """An array of the whole bundle: what it is, and where it begins in its spool."""

    spec: TensorSpec
    begin: int
    digest: str


class Stored(NamedTuple):
    """The arrays of one series in the form that a file takes, and their digest."""

    arrays: Arrays
    digest: str

    @classmethod
    def of(cls, arrays: Arrays) -> Self:
        """Return arrays as they are stored; takes most of the time of `BundleWriter.append`."""
        stored = {name: storable(np.asarray(array)) for name, array in arrays.items()}
        return cls(stored, arrays_digest(stored))


class BundleWriter:
    """Builds a bundle series by series, in bounded memory, and publishes it in one step.

    Everything is written into a hidden directory beside the final one. Until `publish` has
    returned, the final name does not exist; leaving the ``with`` block without it removes all
    traces. Files have mode 0600, directories 0700.

    Parameters
    ----------
    directory
        Where the bundle will be; missing parents are made.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "v1"
    >>> with BundleWriter(target) as writer:
    ...     slot = writer.append({"forest/threshold": np.zeros((2, 3), np.float32)})
    ...     digest = writer.publish(
    ...         {"feature_schema": {"features": ["value"]}},
    ...         pl.DataFrame({"entity": ["a"], "metric": ["cpu"], "slot": [slot]}),
    ...     )
    >>> from anomaly_platform.ml.bundles.bundle import open_bundle
    >>> open_bundle(target, expected_digest=digest).arrays(0)["forest/threshold"].shape
    (2, 3)
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        _make_private(directory.parent)
        self._work = directory.parent / f".{directory.name}.{secrets.token_hex(8)}.tmp"
        self._work.mkdir(mode=0o700)
        self._spools: dict[str, BinaryIO] = {}
        self._specs: dict[str, TensorSpec] = {}
        self._shared: dict[str, _Shared] = {}
        self._digests: list[str | None] = []
        self._layers: list[dict[str, Any]] = []
        self._layer_files: dict[str, dict[str, Any]] = {}

    def adopt(self, source: "Bundle", layer: Layer) -> int:
        """Take over an array file of another bundle whole, before any `append`.

        The file is linked where the file system can, copied where it cannot; nothing of it is
        read. Its digest is the one that the other bundle's manifest names, so a damaged file is
        found on opening this bundle as it would be on opening that.

        Parameters
        ----------
        source
            An open bundle whose series have arrays of the same form.
        layer
            One of its `layers`.

        Returns
        -------
        int
            The slot of the file's first series in this bundle.

        Raises
        ------
        BundleError
            When series were appended already, or the forms of arrays differ.
        """
        if self._spools.keys() - {SHARED}:
            raise BundleError("array files are taken over before the first series is appended")
        if self._specs and self._specs != source.specs:
            raise BundleError("the array files hold series of different forms")
        self._specs = dict(source.specs)
        described = source.manifest["files"][layer.name]
        name = layer_name(described["sha256"])
        if name in self._layer_files:
            raise BundleError(f"{layer.name} of {source.directory} is taken over already")
        _link(source.directory / layer.name, self._work / name)
        first = len(self._digests)
        known = source.slot_digests
        self._digests += [known.get(layer.first + i) for i in range(layer.slots)]
        self._layers.append({"file": name, "slots": layer.slots})
        self._layer_files[name] = dict(described)
        return first

    def append(self, arrays: Arrays | Stored) -> int:
        """Add the arrays of one series and return its slot, counted on in the order of the calls.

        Raises
        ------
        BundleError
            When names, dtypes or shapes are not those of the first series.
        """
        stored, digest = arrays if isinstance(arrays, Stored) else Stored.of(arrays)
        forms = {name: (array.dtype, array.shape) for name, array in stored.items()}
        if not self._specs:
            self._specs = _checked({name: TensorSpec(*form) for name, form in forms.items()})
        if forms != self._specs:
            differing = sorted(
                name for name in {*forms, *self._specs} if forms.get(name) != self._specs.get(name)
            )
            msg = f"arrays differ in form from the first series': {', '.join(differing)}"
            raise BundleError(msg)
        if not self._spools.keys() - {SHARED}:
            for position, name in enumerate(forms):
                self._spools[name] = (self._work / f"spool-{position}").open("w+b")
        with naming_full_disk(self.directory.parent):
            for name, array in stored.items():
                self._spools[name].write(array.data)
        self._digests.append(digest)
        return len(self._digests) - 1

    def share(self, name: str, array: AnyArray) -> None:
        """Add an array that belongs to the bundle as a whole, such as a pooled calibration."""
        full, stored = SHARED + name, storable(np.asarray(array))
        spool = self._spools.get(SHARED)
        if spool is None:
            spool = self._spools[SHARED] = (self._work / "spool-shared").open("w+b")
        spec = TensorSpec(stored.dtype, stored.shape)
        self._shared[full] = _Shared(spec, spool.tell(), arrays_digest({full: stored}))
        with naming_full_disk(self.directory.parent):
            spool.write(stored.data)

    def publish(
        self,
        manifest: Mapping[str, Any],
        series: pl.DataFrame,
        *,
        series_key: Sequence[str] = ("entity", "metric"),
    ) -> str:
        """Write the three files, sync them and move the bundle to its place atomically.

        Parameters
        ----------
        manifest
            JSON-serialisable; must have ``feature_schema`` with ``features`` (names, or a mapping
            by name) and may have ``inputs`` there: names of what is derived from the features.
        series
            A row per series, with the columns of ``series_key``, unique; and ``slot``, what
            `append` returned, null where a series has no arrays. A column ``digest`` is added.
        series_key
            The columns that name a series.

        Returns
        -------
        str
            The bundle's digest: SHA-256 of its manifest, which pins everything else.

        Raises
        ------
        BundleExistsError
            When another bundle is there already. Publishing the very same one again is no error.
        BundleError
            When manifest or series break the rules above.
        """
        with naming_full_disk(self.directory.parent):
            text = self._write_files(manifest, series, series_key)
        for spool in self._spools.values():
            _remove(spool)
        sync_folder(self._work)
        try:
            self._work.rename(self.directory)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            if not _same_manifest(self.directory, text):
                msg = f"another bundle is already published as {self.directory.name}"
                raise BundleExistsError(msg) from error
        sync_folder(self.directory.parent)
        return hashlib.sha256(text).hexdigest()

    def _write_files(
        self, manifest: Mapping[str, Any], series: pl.DataFrame, series_key: Sequence[str]
    ) -> bytes:
        feature_names(manifest)
        reserved = sorted({*OWN_KEYS, "layers"} & set(manifest))
        if reserved:
            raise BundleError(f"the manifest's keys {', '.join(reserved)} are the bundle's own")
        table = self._series_table(series, series_key)
        buffer = io.BytesIO()
        table.write_parquet(buffer, compression="zstd")
        write_private(self._work / SERIES, buffer.getvalue())
        digests = {
            SERIES: hashlib.sha256(buffer.getvalue()).hexdigest(),
            ARRAYS: write_tensor_file(self._work / ARRAYS, self._tensors()),
        }
        files: dict[str, dict[str, Any]] = {
            name: {"sha256": digest, "bytes": (self._work / name).stat().st_size}
            for name, digest in digests.items()
        }
        with contextlib.closing(TensorFile(self._work / ARRAYS)) as written:
            files[ARRAYS]["header"] = written.header
        content = {
            **manifest,
            "format": LAYERED_FORMAT if self._layers else FORMAT,
            "slots": len(self._digests),
            "series_key": list(series_key),
            "shared_digests": {name: one.digest for name, one in self._shared.items()},
            "files": files | self._layer_files,
            **({"layers": self._layers} if self._layers else {}),
        }
        try:
            text = json.dumps(content, indent=1, allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise BundleError(f"the manifest is not plain JSON: {error}") from error
        write_private(self._work / MANIFEST, text)
        return text

    def _series_table(self, series: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
        missing = [name for name in (*key, "slot") if name not in series.columns]
        if missing:
            raise BundleError(f"the table of series lacks the columns {', '.join(missing)}")
        if series.select(key).is_duplicated().any():
            raise BundleError(f"the table of series has several rows for one {', '.join(key)}")
        slots = series["slot"].cast(pl.Int64)
        used = slots.drop_nulls().to_list()
        if any(not 0 <= slot < len(self._digests) for slot in used):
            msg = f"the table of series names slots outside 0..{len(self._digests) - 1}"
            raise BundleError(msg)
        if any(self._digests[slot] is None for slot in used):
            raise BundleError("the table of series names slots that no series had before")
        digests = [None if slot is None else self._digests[slot] for slot in slots]
        return series.with_columns(slots, pl.Series("digest", digests, dtype=pl.String))

    def _tensors(self) -> dict[str, tuple[TensorSpec, Iterable[bytes | memoryview]]]:
        count = len(self._digests) - sum(int(layer["slots"]) for layer in self._layers)
        tensors: dict[str, tuple[TensorSpec, Iterable[bytes | memoryview]]] = {
            name: (TensorSpec(spec.dtype, (count, *spec.shape)), _pieces(self._spools[name]))
            for name, spec in self._specs.items()
            if count
        }
        for name, one in self._shared.items():
            tensors[name] = (one.spec, _part(self._spools[SHARED], one.begin, one.spec.nbytes))
        return tensors

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for spool in self._spools.values():
            with contextlib.suppress(OSError):  # what it still holds has no room on a full disk
                spool.close()
        shutil.rmtree(self._work, ignore_errors=True)


def _checked(specs: dict[str, TensorSpec]) -> dict[str, TensorSpec]:
    for name in specs:
        if name.startswith(SHARED):
            msg = f"{name!r}: the prefix {SHARED!r} is kept for arrays of the whole bundle"
            raise BundleError(msg)
    return specs


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        # Another file system, or one without hard links.
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as copy, source.open("rb") as original:
            shutil.copyfileobj(original, copy, _CHUNK)
            copy.flush()
            os.fsync(copy.fileno())


def _pieces(spool: BinaryIO) -> Iterator[bytes]:
    """Yield what a spool holds, and remove it: nothing lies on the disk twice for long."""
    spool.flush()
    spool.seek(0)
    while piece := spool.read(_CHUNK):
        yield piece
    _remove(spool)


def _remove(spool: BinaryIO) -> None:
    spool.close()
    Path(spool.name).unlink(missing_ok=True)


def _part(spool: BinaryIO, begin: int, size: int) -> Iterator[bytes]:
    spool.flush()
    spool.seek(begin)
    while size and (piece := spool.read(min(size, _CHUNK))):
        size -= len(piece)
        yield piece


def _make_private(directory: Path) -> None:
    if not directory.exists():
        _make_private(directory.parent)
        directory.mkdir(mode=0o700, exist_ok=True)


def _same_manifest(directory: Path, text: bytes) -> bool:
    with contextlib.suppress(OSError):
        return (directory / MANIFEST).read_bytes() == text
    return False
