"""``anomaly import``: files into landing, with the mapping that makes sense of their columns."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from anomaly_platform.assets.raw import layout_context
from anomaly_platform.ingest.files.sources import UnreadableFile
from anomaly_platform.ingest.layout.mapping import ColumnMapping, MappingError
from anomaly_platform.platform import Platform
from anomaly_platform.settings import Settings
from anomaly_platform.streams import Stream


def import_into_landing(
    settings: Settings,
    stream: Stream,
    files: Sequence[Path],
    mapping: ColumnMapping,
    console: Console,
) -> None:
    """Copy files into the stream's landing folder.

    Each file's header is looked at first, so that a mapping that does not fit is refused here and
    not hours later. A file that cannot be read at all is copied nevertheless: the platform keeps
    it with the reason.

    Raises
    ------
    FileNotFoundError
        When a file is not there.
    FileExistsError
        When a file of the same name waits in landing.
    MappingError
        When the mapping names a column or field that does not exist.
    """
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"there is no file {file}")
    platform = Platform(settings)
    kind = platform.kind(stream)
    taken = {file.name for file in platform.landing.waiting(stream.name)}
    for file in files:
        if file.name in taken:
            raise FileExistsError(
                f"landing/{stream.name} has a file {file.name} already, which this one would "
                f"replace: run `anomaly run {stream.name}` first, or rename one of them"
            )
        taken.add(file.name)
    for file in files:
        if file.name in kind.reference_files:
            try:
                kind.check_reference(file)
            except ValueError as error:
                raise MappingError(f"{error}; nothing was changed") from None
            target = platform.reference_folder(stream) / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
            console.print(f"{file.name} → {target} (reference, read at the next training)")
            continue
        context = layout_context(platform, stream, file.name, mapping, datetime.now(UTC))
        try:
            layout = kind.rows.reader.layout(file, context)
            whose = f", entity {layout.entity_from_name}" if layout.entity_from_name else ""
            said = f"{'wide' if layout.wide else 'long'}{whose}"
        except MappingError as error:
            raise MappingError(f"{file.name}: {error}") from None
        except UnreadableFile as error:
            said = f"will be rejected: {error}"
        text = None if mapping == ColumnMapping() else mapping.to_json()
        platform.landing.put(stream.name, file, text)
        console.print(f"{file.name} → landing/{stream.name} ({said})", soft_wrap=True)
    console.print(
        f"`anomaly run {stream.name}` takes them in now; a running platform does so by itself."
    )
