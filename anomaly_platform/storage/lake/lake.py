"""The lake: immutable Parquet files, named by the digest of their content.

Belongs here: writing a file in pieces, so that a day of any size passes through bounded memory,
and reading it back in pieces of whole series. Does not belong here: which file is the current one
of a partition; a row in PostgreSQL says that (see ``partitions`` and ``ledger``), and a file that
no row names is not there for readers.

Files of metric streams are sorted by (bucket, entity, metric, event_time), and row groups end where
a bucket does: the same buckets of several days are read together without reading the others.
"""

import contextlib
import datetime as dt
import os
import posixpath
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import fsspec
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from anomaly_platform.ml.bundles.private_files import naming_full_disk, sync_folder
from anomaly_platform.storage.lake.parquet_files import (
    Bounds,
    HashingFile,
    bucket_ranges,
    bucket_rows,
    read_rows,
    write_parquet,
)
from anomaly_platform.storage.lake.row_groups import BUCKET, BUCKETS, LakeError

_SUFFIX: Final = ".parquet"
_CHUNK_ROWS: Final = 1_000_000
#: Rows of a piece for whom every series stands for itself: features, scores, copies.
SMALL_CHUNK_ROWS: Final = 262_144
_UNFINISHED: Final = ".unfinished-"


@dataclass(frozen=True, slots=True)
class LakeFile:
    """A file that was written.

    Attributes
    ----------
    path : str
        Relative to the lake.
    digest : str
        SHA-256 of its bytes, hexadecimal.
    rows, size : int
        Rows and bytes.
    """

    path: str
    digest: str
    rows: int
    size: int


class Lake:
    """Files under one folder or object-store prefix.

    Parameters
    ----------
    url : str
        A local folder or any fsspec URL.
    cache : Path or None
        Local folder for copies of folders; needed only where the lake is remote.
    """

    def __init__(self, url: str, cache: Path | None = None) -> None:
        self.url = url
        self._cache = cache
        self._fs, self._root = fsspec.url_to_fs(url)
        self._is_local = isinstance(self._fs, LocalFileSystem)

    def write(
        self,
        stage: str,
        stream: str,
        partition: str,
        frames: Iterable[pl.DataFrame],
        *,
        schema: Mapping[str, Any] | None = None,
    ) -> LakeFile:
        """Write frames one after the other into ``<stage>/<stream>/<partition>/<digest>.parquet``.

        Memory stays within a few row groups however many rows there are.

        Parameters
        ----------
        stage, stream, partition : str
            The folder.
        frames : iterable of polars.DataFrame
            With equal columns; consumed once. Where there is a column ``bucket``, the rows have
            to be in its order.
        schema : mapping of str to polars type, optional
            Columns of the file; the first frame's by default. Needed where there may be no frame.

        Returns
        -------
        LakeFile
            Equal content gives an equal path. On return the file is on disk, whole. Where an
            error ends the frames nothing is left; a writer that is killed leaves a hidden file
            that :meth:`garbage` finds.

        Raises
        ------
        LakeError
            When a frame's columns differ, buckets are out of order, or there is neither a frame
            nor a schema.
        """
        folder = posixpath.join(stage, stream, partition)
        # Beside its place, so that the last step is a rename; anywhere for a remote lake.
        parent = self._absolute(folder) if self._is_local else None
        if parent is not None:
            Path(parent).mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=_UNFINISHED, dir=parent)
        try:
            with (
                naming_full_disk(Path(temporary).parent),
                os.fdopen(descriptor, "wb") as handle,
            ):
                sink = HashingFile(handle)
                rows = write_parquet(sink, frames, schema, folder)
                handle.flush()
                os.fsync(handle.fileno())
            path = posixpath.join(folder, sink.digest() + _SUFFIX)
            self._settle(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)
        return LakeFile(path, sink.digest(), rows, sink.size)

    def read(
        self,
        path: str,
        *,
        columns: Sequence[str] | None = None,
        between: Bounds | None = None,
    ) -> pl.DataFrame:
        """Read a file, or the part of it whose columns lie between bounds.

        Parameters
        ----------
        path : str
            Relative to the lake.
        columns : sequence of str, optional
            All by default.
        between : mapping of str to (low, high), optional
            Bounds, both inclusive, on columns such as ``bucket`` or ``event_date``. Row groups
            that lie outside are not read.

        Returns
        -------
        polars.DataFrame
            In the order of the file.

        Raises
        ------
        LakeError
            When there is no such file or column, or the file is damaged.
        """
        with self._parquet(path) as file:
            return self._rows(path, file, columns, between or {})

    def chunks(
        self,
        paths: Sequence[str],
        *,
        columns: Sequence[str] | None = None,
        target_rows: int = _CHUNK_ROWS,
        short_ends: bool = False,
    ) -> Iterator[pl.DataFrame]:
        """Yield the rows of several files together, in pieces of whole buckets.

        Parameters
        ----------
        paths : sequence of str
            Files with equal columns, sorted by bucket, such as a day and its look-back.
        columns : sequence of str, optional
            All by default.
        target_rows : int
            Most rows of a piece over all files together; a piece has more only where a single
            bucket has.
        short_ends : bool
            Whether the first and the last few pieces are of one bucket each, for whoever passes
            pieces on: the next one begins early, and has little left to do at the end.

        Yields
        ------
        polars.DataFrame
            The rows of a range of buckets, file after file. A series is never split; buckets
            without rows give no piece.
        """
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(self._parquet(path)) for path in paths]
            rows = np.zeros(BUCKETS, dtype=np.int64)
            for file, path in zip(files, paths, strict=True):
                rows += bucket_rows(file, path)
            for span in bucket_ranges(rows, target_rows, short_ends=short_ends):
                pieces = (
                    self._rows(path, file, columns, {BUCKET: span})
                    for file, path in zip(files, paths, strict=True)
                )
                yield pl.concat(pieces, rechunk=True)

    def columns(self, path: str) -> list[str]:
        """Return the names of a file's columns, without reading its rows.

        Raises
        ------
        LakeError
            When there is no such file, or the file is damaged.
        """
        with self._parquet(path) as file:
            return list(file.schema_arrow.names)

    def exists(self, path: str) -> bool:
        """Return whether there is a file or folder of that path."""
        return bool(self._fs.exists(self._absolute(path)))

    def probe(self) -> None:
        """Write, read and remove a small file; raise :class:`OSError` where that fails."""
        path = self._absolute(f".probe-{uuid.uuid4().hex}")
        self._fs.makedirs(posixpath.dirname(path), exist_ok=True)
        self._fs.pipe_file(path, b"probe")
        try:
            if self._fs.cat_file(path) != b"probe":
                raise OSError(f"{self.url} does not return what was written to it")
        finally:
            self._fs.rm_file(path)

    def publish_folder(self, source: Path, path: str) -> None:
        """Move a finished local folder, such as a bundle, into the lake.

        Parameters
        ----------
        source : Path
            On the local file system; gone afterwards where the lake is local too.
        path : str
            Relative to the lake; must not exist yet.
        """
        target = self._absolute(path)
        if self._fs.exists(target):
            raise LakeError(f"{path} is in the lake already; its files are never changed")
        if self._is_local:
            self._fs.makedirs(posixpath.dirname(target), exist_ok=True)
            self._fs.mv(str(source), target, recursive=True)
            sync_folder(Path(target).parent)
        else:
            self._fs.put(f"{source}/", f"{target}/", recursive=True)

    def fetch_folder(self, path: str) -> Path:
        """Return a local folder with the files of one in the lake.

        It is a copy where the lake is remote, and the lake's own folder where it is local.

        Parameters
        ----------
        path : str
            Relative to the lake.
        """
        source = self._absolute(path)
        if self._is_local:
            return Path(source)
        if self._cache is None:
            raise LakeError(f"{self.url} is remote and has no folder for copies")
        local = self._cache / path
        if not local.exists():
            local.parent.mkdir(parents=True, exist_ok=True)
            fresh = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=local.parent))
            self._fs.get(f"{source}/", f"{fresh}/", recursive=True)
            with contextlib.suppress(FileExistsError):
                fresh.rename(local)
        return local

    def new_folder(self) -> Path:
        """Return a new empty local folder, mode 0700, beside which a bundle can be made.

        In a local lake it lies on the lake's own file system, so that publishing is a rename.
        """
        parent = None
        if self._is_local:
            parent = Path(self._absolute("")) / ".work"
            parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=parent))

    def garbage(
        self, referenced: Iterable[str], *, older_than: dt.timedelta = dt.timedelta(days=1)
    ) -> list[tuple[str, int]]:
        """Return the files that nobody refers to any more, each with its bytes.

        Parameters
        ----------
        referenced : iterable of str
            Paths of files and folders that stay, relative to the lake. A generator is only
            started after the files are listed, so that a file published meanwhile stays.
        older_than : timedelta
            Age from which a file can be garbage: a younger one may be about to be published, and
            a reader may still be at one that was replaced a moment ago.
        """
        self._fs.invalidate_cache()
        present = self._fs.find(self._absolute(""))
        kept = set(referenced)
        oldest = dt.datetime.now(dt.UTC) - older_than
        found = []
        for absolute in present:
            path = posixpath.relpath(absolute, self._absolute(""))
            parents = path.split("/")
            if any("/".join(parents[:depth]) in kept for depth in range(1, len(parents) + 1)):
                continue
            # Another collection may be faster.
            with contextlib.suppress(FileNotFoundError):
                modified = self._fs.modified(absolute)
                if (modified if modified.tzinfo else modified.replace(tzinfo=dt.UTC)) <= oldest:
                    found.append((path, int(self._fs.size(absolute) or 0)))
        return found

    def remove(self, path: str) -> None:
        """Delete one file; one that is gone already stays gone."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._absolute(path))

    def size(self, path: str) -> int:
        """Return the bytes of a file, or of everything in a folder; 0 where there is nothing."""
        self._fs.invalidate_cache()
        absolute = self._absolute(path)
        if not self._fs.exists(absolute):
            return 0
        return sum(int(size or 0) for size in self._fs.du(absolute, total=False).values())

    def _absolute(self, path: str) -> str:
        return posixpath.join(self._root, path) if path else str(self._root)

    def _on_disk(self, path: str) -> str | None:
        return self._absolute(path) if self._is_local else None

    def _settle(self, temporary: str, path: str) -> None:
        """Give a finished file its name, in one step that either happened or did not."""
        target = self._absolute(path)
        if self._is_local:
            Path(temporary).replace(target)
            sync_folder(Path(target).parent)
        else:
            self._fs.makedirs(posixpath.dirname(target), exist_ok=True)
            self._fs.put_file(temporary, target)

    def _rows(
        self, path: str, file: pq.ParquetFile, columns: Sequence[str] | None, between: Bounds
    ) -> pl.DataFrame:
        try:
            return read_rows(file, self._on_disk(path), columns, between)
        # Of damaged bytes the readers say many things; Polars' panic is no `Exception`.
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            raise LakeError(f"{path} in the lake {self.url} is damaged: {error}") from None
        except (pa.ArrowException, OSError) as error:
            raise LakeError(f"{path} in the lake {self.url} cannot be read: {error}") from None

    @contextlib.contextmanager
    def _parquet(self, path: str) -> Iterator[pq.ParquetFile]:
        try:
            handle = self._fs.open(self._absolute(path), "rb")
        except FileNotFoundError:
            raise LakeError(f"{path} is not in the lake {self.url}") from None
        with handle:
            try:
                file = pq.ParquetFile(handle, pre_buffer=not self._is_local)
            except (pa.ArrowException, OSError) as error:
                raise LakeError(f"{path} in the lake {self.url} is damaged: {error}") from None
            yield file
