"""Writes safetensors files as a stream, and reads them slice by slice.

The format (huggingface/safetensors): eight bytes with the length of the header, a JSON header with
dtype, shape and byte range of each tensor, then the bytes, without holes. The library of that name
needs every tensor in memory to write and reads through a mapping of the file; a bundle of thousands
of series needs neither. Files written here open in the library, and the other way round.

What a *bundle* puts into such a file is not decided here.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from anomaly_platform.ml.arrays import AnyArray

_NAMES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "|u1",
    "BOOL": "|b1",
}
_CODES = {np.dtype(code): name for name, code in _NAMES.items()}
_MAX_HEADER = 16 * 2**20
_CHUNK = 1 << 20
#: Bytes after which the disk is told to store what was written so far.
_SYNCED = 32 << 20


class TensorFileError(ValueError):
    """A file that is not what its header, or the format, says; or a dtype without a name in it."""


class TruncatedFileError(TensorFileError):
    """A file that ends before its header says."""


class TensorSpec(NamedTuple):
    """Dtype and shape of one tensor."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def storable(array: AnyArray) -> AnyArray:
    """Return the array in the form that a file takes: C-contiguous and little-endian.

    Raises
    ------
    TensorFileError
        When the format has no name for the dtype (objects, strings, dates, complex numbers).
    """
    if array.dtype in _CODES and array.flags.c_contiguous:
        return array
    little = array.dtype.newbyteorder("<")
    if little not in _CODES:
        raise TensorFileError(f"arrays of dtype {array.dtype} cannot be stored")
    return np.ascontiguousarray(array, dtype=little).reshape(array.shape)


def write_tensor_file(
    path: Path, tensors: Mapping[str, tuple[TensorSpec, Iterable[bytes | memoryview]]]
) -> str:
    """Write a new file, mode 0600, synced to disk, in bounded memory.

    Parameters
    ----------
    path
        Must not exist.
    tensors
        For each name the spec, and the bytes in pieces of any size that add up to it.

    Returns
    -------
    str
        SHA-256 of the file, hexadecimal.

    Raises
    ------
    TensorFileError
        When the pieces of a tensor are more or fewer bytes than its spec.
    """
    # Widest items first keeps every tensor aligned, for whoever maps the file.
    names = sorted(tensors, key=lambda name: (-tensors[name][0].dtype.itemsize, name))
    digest = hashlib.sha256()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with (
        os.fdopen(handle, "wb") as file,
        ThreadPoolExecutor(1) as thread,
        ThreadPoolExecutor(1) as disk,
    ):
        hashed = thread.submit(digest.update, b"")
        stored: Future[None] | None = None
        waiting = 0

        def put(data: bytes | memoryview) -> int:
            nonlocal hashed, stored, waiting
            # Two pieces are held at most: one is hashed while it is written and the next one read.
            hashed.result()
            hashed = thread.submit(digest.update, data)
            file.write(data)
            waiting += len(data)
            # Left to the end, the disk would begin when all that is left is to wait for it.
            if waiting >= _SYNCED and (stored is None or stored.done()):
                if stored is not None:
                    stored.result()
                stored, waiting = disk.submit(os.fsync, handle), 0
            return len(data)

        put(_header({name: tensors[name][0] for name in names}))
        for name in names:
            spec, pieces = tensors[name]
            written = sum(put(memoryview(piece).cast("B")) for piece in pieces)
            if written != spec.nbytes:
                msg = f"tensor {name!r} has {written} bytes, its spec says {spec.nbytes}"
                raise TensorFileError(msg)
        file.flush()
        if stored is not None:
            stored.result()
        os.fsync(handle)
        hashed.result()
    return digest.hexdigest()


def _header(specs: Mapping[str, TensorSpec]) -> bytes:
    entries: dict[str, Any] = {}
    offset = 0
    for name, spec in specs.items():
        entries[name] = {
            "dtype": _CODES[spec.dtype],
            "shape": list(spec.shape),
            "data_offsets": [offset, offset + spec.nbytes],
        }
        offset += spec.nbytes
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


class TensorFile:
    """An open file of tensors, read on demand; safe for several threads.

    The file stays open, so what is verified is what is read, even when another file takes its
    name. Nothing is mapped into memory: a file cut short while in use raises, and kills nobody.

    Attributes
    ----------
    header
        SHA-256 of the file up to its first tensor, hexadecimal: no digest of bytes covers dtypes,
        shapes and which bytes are whose.

    Raises
    ------
    TruncatedFileError
        When the file is shorter than its header says.
    TensorFileError
        When it is not a file of this format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes_read = 0
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._start, self._offsets, self.specs = self._parse()
            self._sizes = {name: spec.nbytes for name, spec in self.specs.items()}
        except BaseException:
            self.close()
            raise

    def _parse(self) -> tuple[int, dict[str, int], dict[str, TensorSpec]]:
        size = os.fstat(self._handle).st_size
        length = int.from_bytes(self._read_at(0, 8), "little")
        if length > _MAX_HEADER:
            msg = f"{self.path.name} announces a header of {length} bytes: not a tensor file"
            raise TensorFileError(msg)
        self.header = hashlib.sha256(self._read_at(0, 8 + length)).hexdigest()
        specs, offsets, end = _parse_header(self._read_at(8, length), self.path.name)
        if size < 8 + length + end:
            msg = f"{self.path.name} has {size} of {8 + length + end} bytes: it is cut short"
            raise TruncatedFileError(msg)
        if size > 8 + length + end:
            msg = f"{self.path.name} has {size - 8 - length - end} bytes after its last tensor"
            raise TensorFileError(msg)
        return 8 + length, offsets, specs

    def _read_at(self, offset: int, size: int) -> bytearray:
        buffer = bytearray(size)
        self.fill(memoryview(buffer), offset)
        return buffer

    def offset(self, name: str) -> int:
        """Return where in the file a tensor begins."""
        return self._start + self._offsets[name]

    def fill(self, room: memoryview, offset: int) -> None:
        """Fill a room with the bytes from a place of the file on.

        Raises
        ------
        TruncatedFileError
            When the file has been cut since it was opened.
        """
        size = room.nbytes
        done = os.preadv(self._handle, [room], offset)
        while done < size:
            count = os.preadv(self._handle, [room[done:]], offset + done)
            if count == 0:
                msg = f"{self.path.name} ends at byte {offset + done}: it is cut short"
                raise TruncatedFileError(msg)
            done += count
        self.bytes_read += size

    def read(self, name: str, index: int | None = None) -> AnyArray:
        """Return a tensor, or the ``index``-th part along its first dimension, and read no more.

        Raises
        ------
        KeyError
            When there is no such tensor.
        IndexError
            When the index is out of range.
        TruncatedFileError
            When the file has been cut since it was opened.
        """
        spec, offset = self.specs[name], self.offset(name)
        shape, size = spec.shape, self._sizes[name]
        if index is not None:
            if not shape or not 0 <= index < shape[0]:
                raise IndexError(f"tensor {name!r} of shape {shape} has no part {index}")
            size //= shape[0]
            offset, shape = offset + index * size, shape[1:]
        array = np.frombuffer(self._read_at(offset, size), dtype=spec.dtype)
        return array if len(shape) == 1 else array.reshape(shape)

    def digest(self) -> str:
        """Return the SHA-256 of the whole file, hexadecimal."""
        digest = hashlib.sha256()
        size, offset = os.fstat(self._handle).st_size, 0
        while offset < size:
            piece = os.pread(self._handle, _CHUNK, offset)
            if not piece:
                break
            digest.update(piece)
            offset += len(piece)
        return digest.hexdigest()

    def close(self) -> None:
        """Close the file; closing twice does no harm."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            self.close()


def _parse_header(text: bytearray, name: str) -> tuple[dict[str, TensorSpec], dict[str, int], int]:
    """Return specs and offsets of a header, and where its data ends."""
    try:
        entries = json.loads(text.decode())
        entries.pop("__metadata__", None)
        specs = {
            tensor: TensorSpec(np.dtype(_NAMES[entry["dtype"]]), tuple(entry["shape"]))
            for tensor, entry in entries.items()
        }
        ranges = {
            tensor: (int(entry["data_offsets"][0]), int(entry["data_offsets"][1]))
            for tensor, entry in entries.items()
        }
        whole = all(
            isinstance(side, int) and side >= 0 for spec in specs.values() for side in spec.shape
        ) and all(end - begin == specs[tensor].nbytes for tensor, (begin, end) in ranges.items())
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise TensorFileError(f"the header of {name} is damaged: {type(error).__name__}") from error
    position = 0
    for begin, end in sorted(ranges.values()):
        whole = whole and begin == position
        position = end
    if not whole:
        raise TensorFileError(f"the header of {name} is damaged: its tensors do not lie end to end")
    return specs, {tensor: begin for tensor, (begin, _) in ranges.items()}, position
