"""A look at a file before it is taken: which layout reads it, and how its first rows read.

``anomaly import`` and the console show it; ``raw_events`` will read the file the same way.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from anomaly_platform.assets.layouts import layout_context
from anomaly_platform.ingest.files.sources import UnreadableFile
from anomaly_platform.ingest.layout.context import LayoutContext
from anomaly_platform.ingest.layout.mapping import ColumnMapping, MappingError
from anomaly_platform.ingest.layout.saved import fitting, read_layout
from anomaly_platform.kinds.preview import Preview, look_at
from anomaly_platform.platform import Platform
from anomaly_platform.streams import Stream


@dataclass(frozen=True, slots=True)
class Readable:
    """A file that can be taken: how it is read, and by which saved layout if by one."""

    file: Path
    mapping: ColumnMapping
    preview: Preview
    layout: str | None
    context: LayoutContext


def first_look(platform: Platform, stream: Stream, file: Path, mapping: ColumnMapping) -> Readable:
    """Read the first rows of a file; the rest is read where it may refuse the file.

    Without a mapping a saved layout that fits the file's name applies.

    Raises
    ------
    UnreadableFile
        When the file cannot be read, or none of its first rows can be used.
    """
    layout = None
    try:
        if mapping == ColumnMapping():
            texts = platform.landing.layouts(stream.name)
            layout = fitting(file.name, texts)
            mapping = mapping if layout is None else read_layout(layout, texts[layout]).mapping
        context = layout_context(platform, stream, file.name, mapping, datetime.now(UTC))
        rows = platform.kind(stream).rows
        preview = look_at(rows, file, context)
        rows.reader.refuse_over_limits(file, context)
        rows.reader.refuse_misread(file, context, preview.head)
    except UnreadableFile as error:
        raise MappingError(f"{file.name}: {error}") from None
    return Readable(file, mapping, preview, layout, context)
