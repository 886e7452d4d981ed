"""How a file of a stream is understood, by ``raw_events`` and by the first look at it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from anomaly_platform.kinds.base import midnight
from anomaly_platform.platform import Platform
from anomaly_platform.settings import Settings
from anomaly_platform.streams import Stream

if TYPE_CHECKING:
    from anomaly_platform.ingest.files.limits import ReadLimits
    from anomaly_platform.ingest.layout.context import LayoutContext
    from anomaly_platform.ingest.layout.mapping import ColumnMapping


def layout_context(
    platform: Platform, stream: Stream, name: str, mapping: ColumnMapping, now: datetime
) -> LayoutContext:
    """Return everything besides its columns that decides how a file of the stream is understood."""
    from anomaly_platform.ingest.layout.context import LayoutContext

    return LayoutContext(
        name=name,
        now=now,
        mapping=mapping,
        fields=platform.kind(stream).named_fields(),
        timezone=stream.timezone or platform.settings.default_timezone,
        start=midnight(platform.start_of(stream)),
        future_allowance=platform.settings.future_allowance,
        ignored=stream.ignored_columns,
        limits=read_limits(platform.settings),
    )


def read_limits(settings: Settings) -> ReadLimits:
    """Return what the settings allow a file to ask of the machine."""
    from anomaly_platform.ingest.files.limits import ReadLimits

    return ReadLimits(
        max_bytes=settings.file_max_bytes,
        max_rows=settings.file_max_rows,
        max_columns=settings.file_max_columns,
        max_cell_bytes=settings.file_max_cell_bytes,
    )
