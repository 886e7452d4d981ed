"""The landing zone: one folder or object-store prefix per stream, where files arrive.

A file that has been taken moves to ``.archive/<stream>/``, one that cannot be read to
``.rejected/<stream>/``: the folder a user drops into shows what is still waiting, nothing else.
Saved layouts are in ``.layouts/<stream>/``, beside the files they are for.
"""

import contextlib
import posixpath
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import fsspec
from fsspec.core import split_protocol
from fsspec.implementations.local import LocalFileSystem

_LAYOUT_SUFFIX = ".yaml"
MAPPING_SUFFIX = ".mapping.json"
#: Of the digest in front of a file's name once it was taken in or refused.
DIGEST_LENGTH = 12
#: For so long a file has to hold still before it is taken in at once, without a sensor's ticks.
SETTLE_SECONDS = 1.0
#: For so long a file has to hold still before a sensor asks for it.
STILL_SECONDS = 5.0
#: For so long ticks have to see it unchanged, whatever its time says, which others may have set.
SEEN_SECONDS = 2.0
#: A file's fingerprint, and since when it has looked like that (Unix seconds).
Sighting = tuple[str, float]
_LONGEST_NAME = 200
_UNFINISHED = (".tmp", ".part", ".partial", ".crdownload", ".filepart", "~")


@dataclass(frozen=True, slots=True, order=True)
class LandedFile:
    """A file that waits in landing.

    Attributes
    ----------
    name : str
        Path below the stream's folder.
    path : str
        Path on the landing file system.
    size : int
        Bytes.
    modified : float
        Seconds since the epoch, 0 where the file system does not tell.
    """

    name: str
    path: str
    size: int
    modified: float

    @property
    def fingerprint(self) -> str:
        """Return what changes when the file is still being written."""
        return f"{self.size}:{self.modified}"


class Landing:
    """Files waiting to be ingested, per stream.

    Parameters
    ----------
    url : str
        A local folder or any fsspec URL; streams are folders directly below it.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._fs, self._root = fsspec.url_to_fs(url)
        self.is_local = local_root(url) is not None

    def folder(self, stream: str) -> str:
        """Return the path of a stream's folder, created when absent."""
        folder = posixpath.join(self._root, stream)
        self._fs.makedirs(folder, exist_ok=True)
        return folder

    def waiting(self, stream: str) -> list[LandedFile]:
        """List the stream's files by name, without hidden, unfinished and mapping files."""
        folder = posixpath.join(self._root, stream)
        self._fs.invalidate_cache()
        found = []
        for path, info in self._fs.find(folder, detail=True).items():
            if info.get("type", "file") != "file" or info.get("islink"):
                # A pipe would never end, and a link may lead to what nobody meant to import.
                continue
            name = posixpath.relpath(path, folder)
            if not is_data_file(name):
                continue
            found.append(LandedFile(name, path, int(info["size"] or 0), _modified(info)))
        return sorted(found)

    def waiting_since(self, stream: str) -> float | None:
        """Return since when (Unix seconds) the stream's oldest file has been there, if any is.

        A file that is moved here keeps the time of its last change: what counts is when it got its
        place, where the file system tells.
        """
        since = []
        for file in self.waiting(stream):
            placed = 0.0
            if self.is_local:
                with contextlib.suppress(FileNotFoundError):
                    placed = Path(file.path).stat().st_ctime
            since.append(max(placed, file.modified))
        return min(since, default=None)

    def settled(self, stream: str, pause: float | None = None) -> list[LandedFile]:
        """Return the files whose size and time hold still over `pause` seconds.

        Parameters
        ----------
        stream : str
        pause : float or None
            Seconds; ``None`` takes :data:`SETTLE_SECONDS`.
        """
        before = {file.name: file.fingerprint for file in self.waiting(stream)}
        if not before:
            return []
        time.sleep(SETTLE_SECONDS if pause is None else pause)
        return [f for f in self.waiting(stream) if before.get(f.name) == f.fingerprint]

    @contextlib.contextmanager
    def local_copy(self, file: LandedFile) -> Iterator[Path]:
        """Yield a local path with the file's content; the file itself where it is local."""
        if self.is_local:
            yield Path(file.path)
            return
        with NamedTemporaryFile(suffix=f"-{posixpath.basename(file.name)}") as local:
            self._fs.get_file(file.path, local.name)
            yield Path(local.name)

    def mapping_text(self, file: LandedFile) -> str | None:
        """Return the text of the file's ``<name>.mapping.json``, ``None`` without one."""
        path = file.path + MAPPING_SUFFIX
        if not self._fs.exists(path):
            return None
        return str(self._fs.cat_file(path), "utf-8")

    def layouts(self, stream: str) -> dict[str, str]:
        """Return the texts of the stream's saved layouts by name."""
        folder = posixpath.dirname(self.layout_path(stream, ""))
        if not self._fs.isdir(folder):
            return {}
        return {
            posixpath.basename(path).removesuffix(_LAYOUT_SUFFIX): self._fs.cat_file(path).decode()
            for path in sorted(self._fs.ls(folder, detail=False))
            if path.endswith(_LAYOUT_SUFFIX)
        }

    def save_layout(self, stream: str, name: str, text: str) -> str:
        """Keep a layout of the stream under a name, in the place of one that has it."""
        path = self.layout_path(stream, name)
        self._fs.makedirs(posixpath.dirname(path), exist_ok=True)
        self._fs.pipe_file(path, text.encode("utf-8"))
        return path

    def layout_path(self, stream: str, name: str) -> str:
        """Return where a layout is kept."""
        return posixpath.join(self._root, ".layouts", stream, name + _LAYOUT_SUFFIX)

    def unchanged(self, file: LandedFile) -> bool:
        """Return whether the file still has the size and time it was listed with."""
        try:
            info = self._fs.info(file.path)
        except FileNotFoundError:
            return False
        return f"{int(info['size'] or 0)}:{_modified(info)}" == file.fingerprint

    def archive(self, file: LandedFile, stream: str, digest: str) -> str:
        """Move an ingested file to ``.archive``; return its new path."""
        return self._move(file, ".archive", stream, digest)

    def reject(self, file: LandedFile, stream: str, digest: str) -> str:
        """Move an unreadable file to ``.rejected``; return its new path."""
        return self._move(file, ".rejected", stream, digest)

    def put(self, stream: str, source: Path, mapping: str | None) -> str:
        """Copy a local file into landing, its mapping first, visible only when complete."""
        target = posixpath.join(self.folder(stream), source.name)
        if mapping is not None:
            self._fs.pipe_file(target + MAPPING_SUFFIX, mapping.encode("utf-8"))
        elif self._fs.exists(target + MAPPING_SUFFIX):
            self._fs.rm_file(target + MAPPING_SUFFIX)
        unfinished = target + ".part"
        self._fs.put_file(str(source), unfinished)
        self._fs.mv(unfinished, target)
        return target

    def _move(self, file: LandedFile, zone: str, stream: str, digest: str) -> str:
        flat = file.name.replace("/", "__")
        # The digest in front must not make a name too long for the file system.
        flat = flat.encode()[-_LONGEST_NAME:].decode(errors="ignore")
        target = posixpath.join(self._root, zone, stream, f"{digest[:DIGEST_LENGTH]}-{flat}")
        self._fs.makedirs(posixpath.dirname(target), exist_ok=True)
        for suffix in ("", MAPPING_SUFFIX):
            if self._fs.exists(file.path + suffix):
                self._fs.mv(file.path + suffix, target + suffix)
        return target


def local_root(url: str) -> Path | None:
    """Return the folder of the streams' folders; ``None`` where it is on no disk of this machine.

    Examples
    --------
    >>> local_root("file:///srv/landing"), local_root("s3://bucket/landing")
    (PosixPath('/srv/landing'), None)
    """
    protocol, path = split_protocol(url)
    return Path(path) if protocol in {None, *LocalFileSystem.protocol} else None


def is_data_file(name: str) -> bool:
    """Return whether a path below a stream's folder names a file of data that is whole."""
    hidden = any(part.startswith(".") for part in name.split("/"))
    return not (hidden or name.endswith(MAPPING_SUFFIX) or is_unfinished(name))


def is_unfinished(name: str) -> bool:
    """Return whether a file's name says that somebody is still writing it."""
    return name.endswith(_UNFINISHED)


def _modified(info: Mapping[str, Any]) -> float:
    value = info.get("mtime") or info.get("LastModified") or info.get("created")
    if value is None:
        return 0.0
    return float(value.timestamp()) if hasattr(value, "timestamp") else float(value)


def settle(
    seen: Mapping[str, Sighting], files: Iterable[LandedFile], now: float
) -> tuple[list[LandedFile], dict[str, Sighting]]:
    """Return the files that hold still, and what this tick saw.

    A file holds still when it has looked the same for :data:`SEEN_SECONDS` and its last change
    lies :data:`STILL_SECONDS` back. Where its time says nothing (a clock ahead of ours, a file
    system without times) it has to look the same for so long.

    Parameters
    ----------
    seen : mapping of str to list
        Per file name, the fingerprint that the last tick saw and since when (Unix seconds).
    files : iterable of LandedFile
        What waits now.
    now : float
        Unix seconds.
    """
    ready, sightings = [], {}
    for file in files:
        before, since = seen.get(file.name, ("", now))
        same = before == file.fingerprint
        # The clock may have been set back.
        since = min(since, now) if same else now
        sightings[file.name] = (file.fingerprint, since)
        told = 0.0 < file.modified <= now
        long_enough = now - (file.modified if told else since) >= STILL_SECONDS
        if same and long_enough and now - since >= SEEN_SECONDS:
            ready.append(file)
    return ready, sightings
