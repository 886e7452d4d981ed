"""Folders and object stores that files are copied between, each copy with its size and digest."""

import datetime as dt
import hashlib
import os
import posixpath
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from anomaly_platform.storage.own_files import private

_BLOCK: Final = 1 << 20
_UNFINISHED: Final = ".unfinished-"


class Place:
    """Files below one folder or object-store prefix.

    Parameters
    ----------
    url : str
        A local folder or any fsspec URL.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._fs, self._root = fsspec.url_to_fs(url)
        self.folder = Path(self._root) if isinstance(self._fs, LocalFileSystem) else None

    def states(self) -> dict[str, str]:
        """Return all files by path, with what changes when one is written; no pipes.

        Files that :meth:`write` has not finished are not among them.
        """
        self._fs.invalidate_cache()
        return {
            posixpath.relpath(path, self._root): f"{info['size']}:{_modified(info)}"
            for path, info in self._fs.find(self._root, detail=True).items()
            if _is_file(path, info) and not posixpath.basename(path).startswith(_UNFINISHED)
        }

    def modified(self, name: str) -> float | None:
        """Return when a file was changed last, in Unix seconds, where the file system tells."""
        return _modified(self._fs.info(posixpath.join(self._root, name)))

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file for reading."""
        with self._fs.open(posixpath.join(self._root, name), "rb") as handle:
            yield cast("IO[bytes]", handle)

    def digest(self, name: str) -> tuple[int, str] | None:
        """Return a file's size and digest, if there is such a file."""
        try:
            with self.open(name) as handle:
                return _copy(handle, None)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None

    def write(self, name: str, source: IO[bytes], modified: float | None = None) -> tuple[int, str]:
        """Write a file, which gets its name once it is whole; return its size and digest.

        In a local folder it is on disk on return, nobody else may read it, and `modified` is when
        it was changed last.
        """
        target = posixpath.join(self._root, name)
        if self.folder is None:
            self._fs.makedirs(posixpath.dirname(target), exist_ok=True)
            with self._fs.open(target, "wb") as handle:
                return _copy(source, handle)
        path = Path(target)
        make_folder(path.parent)
        unfinished = path.with_name(f"{_UNFINISHED}{uuid.uuid4().hex}")
        try:
            with open(unfinished, "xb", opener=private) as handle:
                copied = _copy(source, handle)
                handle.flush()
                os.fsync(handle.fileno())
            if modified is not None:
                os.utime(unfinished, (modified, modified))
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
        return copied


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, for nobody else to read."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def empty_folder(folder: Path, *kept: Path) -> None:
    """Remove everything from a folder but the files that are kept."""
    for path in folder.iterdir():
        if path in kept:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def sync_folders(root: Path) -> None:
    """Make the names of everything below a folder survive a power cut."""
    for folder, _, _ in os.walk(root):
        sync_folder(Path(folder))


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _modified(info: dict[str, Any]) -> float | None:
    value = info.get("mtime") or info.get("LastModified") or info.get("created")
    return value.timestamp() if isinstance(value, dt.datetime) else value


def _is_file(path: str, info: dict[str, Any]) -> bool:
    # A pipe would never end; what a link leads to is copied, if it is a file.
    return info["type"] == "file" or (bool(info.get("islink")) and Path(path).is_file())


def _copy(source: IO[bytes], target: IO[bytes] | None) -> tuple[int, str]:
    size, digest = 0, hashlib.sha256()
    while block := source.read(_BLOCK):
        size += len(block)
        digest.update(block)
        if target is not None:
            target.write(block)
    return size, digest.hexdigest()
