"""``anomaly import``: files into landing, with the mapping that makes sense of their columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from anomaly_platform.assets.first_look import Readable, first_look
from anomaly_platform.cli.streams.preview import show, show_refusals
from anomaly_platform.cli.streams.reference import put_reference
from anomaly_platform.ingest.layout.mapping import ColumnMapping, MappingError
from anomaly_platform.ingest.layout.saved import (
    SavedLayout,
    check_layout_name,
    pattern_of,
)
from anomaly_platform.kinds.base import StreamKind
from anomaly_platform.kinds.preview import refusals
from anomaly_platform.platform import Platform
from anomaly_platform.settings import Settings
from anomaly_platform.streams import Stream


@dataclass(frozen=True, slots=True)
class LayoutToSave:
    """A layout that an import is to save.

    Attributes
    ----------
    name : str
    files : str or None
        Pattern of its files' names; that of the first file by default.
    """

    name: str
    files: str | None = None


@dataclass(frozen=True, slots=True)
class _Found:
    """Files that can be taken: those of readings, and those of reference data by their name."""

    accepted: Sequence[Readable]
    references: Mapping[Path, str]


def import_into_landing(
    settings: Settings,
    stream: Stream,
    files: Sequence[Path],
    mapping: ColumnMapping,
    console: Console,
    *,
    layout: LayoutToSave | None = None,
) -> None:
    """Copy files into the stream's landing folder, all or none, and show how they are read.

    The first rows of each file are read beforehand, so that a file of which no row could be used
    is refused here and not hours later. Without a mapping a saved layout that fits a file's name
    applies.

    Parameters
    ----------
    layout : LayoutToSave or None
        Keep the mapping for further files.

    Raises
    ------
    FileNotFoundError
        When a file is not there.
    FileExistsError
        When a file of the same name waits in landing.
    UnreadableFile
        When a file cannot be read, or none of its first rows can be used.
    """
    platform = Platform(settings)
    saved = None if layout is None else _layout_to_save(layout, files, mapping)
    found = _look_at(platform, stream, files, mapping, console)
    for file, name in found.references.items():
        put_reference(platform, stream, file, name, console)
    for one in found.accepted:
        text = None if one.mapping == ColumnMapping() else one.mapping.to_json()
        platform.landing.put(stream.name, one.file, text)
    if layout is not None and saved is not None:
        path = platform.landing.save_layout(stream.name, layout.name, saved.to_yaml())
        console.print(
            f"Files of {stream.name} called {saved.files} are read so from now on: {path}",
            soft_wrap=True,
        )
    console.print(
        f"`anomaly run {stream.name}` takes them in now; a running platform does so by itself."
    )


def try_import(
    settings: Settings,
    stream: Stream,
    files: Sequence[Path],
    mapping: ColumnMapping,
    console: Console,
    *,
    layout: LayoutToSave | None = None,
) -> int:
    """Show how files would be read, to their last row; take nothing, and make no home.

    Raises what :func:`import_into_landing` raises.

    Returns
    -------
    int
        How many readings would be refused.
    """
    platform = Platform(settings)
    if layout is not None:
        _layout_to_save(layout, files, mapping)
    found = _look_at(platform, stream, files, mapping, console)
    form = platform.kind(stream).rows
    refused = 0
    for one in found.accepted:
        told = refusals(form, one.file, one.context)
        console.print(f"{one.file.name} as a whole: {told.seen:,} readings", soft_wrap=True)
        show_refusals(told.reasons, f"{told.seen:,}", console)
        refused += told.reasons.total()
    console.print("Nothing was taken: this was a dry run.")
    if refused:
        console.print(
            "An import takes these files all the same; what it refuses goes to quarantine,\n"
            "each reading with its reason."
        )
    return refused


def _look_at(
    platform: Platform,
    stream: Stream,
    files: Sequence[Path],
    mapping: ColumnMapping,
    console: Console,
) -> _Found:
    """Read the first rows of all files, and show how; refuse them all where one cannot be used."""
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"there is no file {file}")
    kind = platform.kind(stream)
    _refuse_replacing(platform, stream, files)
    references = _references(kind, files)
    accepted = [
        first_look(platform, stream, file, mapping) for file in files if file not in references
    ]
    for one in accepted:
        by = f", by the layout {one.layout}" if one.layout else ""
        console.print(
            f"{one.file.name} → landing/{stream.name} ({one.preview.summary}{by})", soft_wrap=True
        )
        show(one.preview, kind.rows, console)
    return _Found(accepted, references)


def _refuse_replacing(platform: Platform, stream: Stream, files: Sequence[Path]) -> None:
    taken = {file.name for file in platform.landing.waiting(stream.name)}
    for file in files:
        if file.name in taken:
            raise FileExistsError(
                f"landing/{stream.name} has a file {file.name} already, which this one would "
                f"replace: run `anomaly run {stream.name}` first, or rename one of them"
            )
        taken.add(file.name)


def _references(kind: StreamKind[Any], files: Sequence[Path]) -> dict[Path, str]:
    """Read the files of reference data; return each with the name under which it is kept."""
    try:
        return {
            file: kind.reference_name(file) for file in files if file.name in kind.reference_files
        }
    except ValueError as error:
        raise MappingError(f"{error}; nothing was changed") from None


def _layout_to_save(
    layout: LayoutToSave, files: Sequence[Path], mapping: ColumnMapping
) -> SavedLayout:
    check_layout_name(layout.name)
    if mapping == ColumnMapping():
        raise MappingError("there is nothing to save in a layout: no option says how to read files")
    saved = SavedLayout(layout.files or pattern_of(files[0].name), mapping)
    others = [file.name for file in files if not saved.fits(file.name)]
    if others:
        raise MappingError(
            f"{others[0]} is not called {saved.files}; give the pattern of the names with --files"
        )
    return saved
