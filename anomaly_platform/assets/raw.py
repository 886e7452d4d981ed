"""``raw_events``: from files in landing, and readings taken one by one, to raw rows in the lake.

What belongs here: taking a file in exactly once, and saying which event days it touched. What a
row means is decided a stage later; here it only has to belong to a day.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    Config,
    Failure,
    MaterializeResult,
    MetadataValue,
)
from pydantic import Field

from anomaly_platform.assets.layouts import layout_context
from anomaly_platform.assets.metadata import column_schema, counts, metadata_of
from anomaly_platform.assets.raw_online import RAW_BUCKET, STAGE, claim_batches, for_lake
from anomaly_platform.assets.stage import as_failures, stage_asset
from anomaly_platform.ingest.reject_spool import RejectSpool
from anomaly_platform.kinds.formats import RowFormat
from anomaly_platform.platform import Platform
from anomaly_platform.storage.lake.landing import LandedFile
from anomaly_platform.streams import Stream

if TYPE_CHECKING:
    from anomaly_platform.ingest.layout.context import LayoutContext

_BATCH_ROWS = 250_000
#: Rows that are sorted together. The more, the fewer row groups hold rows of a given bucket, and a
#: large day is validated bucket by bucket.
_SORTED_ROWS = 1_000_000
#: Of rows that are sorted together, where rows are long.
_SORTED_BYTES = 256 << 20
#: Of a batch, looked at for one that can be used.
_FIRST_ROWS = 1_000


class StillBeingWrittenError(RuntimeError):
    """A file changed while it was read; it stays in landing and nothing of it is kept."""


class RawEventsConfig(Config):
    """What to ingest."""

    files: list[str] = Field(
        default_factory=list,
        description="Names in the stream's landing folder. Empty: every file that holds still.",
    )


@dataclass(slots=True)
class IngestReport:
    """What became of the files of one run.

    Attributes
    ----------
    ingested, repeated, rejected : list of str
        File names: taken in, seen before with the same content and mapping, unreadable.
    reasons : dict of str to str
        Why a file was rejected.
    failed : dict of str to str
        What went wrong with a file for no fault of its own; it stays in landing.
    rows, quarantined, online : int
        Rows read, how many of them were refused here, and how many came one by one.
    days : Counter of date
        Rows per event day.
    """

    ingested: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    rows: int = 0
    quarantined: int = 0
    online: int = 0
    days: Counter[date] = field(default_factory=Counter)


def build_raw_events(stream: Stream, platform: Platform) -> AssetsDefinition:
    """Return the asset ``[stream, raw_events]``."""

    @stage_asset(
        stream,
        platform,
        STAGE,
        tools=frozenset({"polars", "parquet"}),
        tag="raw",
        table="ingest_ledger",
        description=(
            f"Files from landing/{stream.name} and readings taken one by one, as rows of text, "
            "append-only, each once. Rows that belong to no day of the calendar are in quarantine."
        ),
    )
    def raw_events(
        context: AssetExecutionContext, config: RawEventsConfig
    ) -> MaterializeResult[None]:
        opened: Platform = context.resources.platform
        files = opened.landing.settled(stream.name)
        if config.files:
            wanted = set(config.files)
            files = [file for file in files if file.name in wanted]
        now = datetime.now(UTC)
        with as_failures():
            report = ingest_files(opened, stream, files, now)
            for rows, days in claim_batches(opened, stream, now):
                report.online += rows
                report.rows += rows
                report.days.update(days)
            opened.note_first_days()
        for name, reason in report.reasons.items():
            context.log.warning("%s was rejected: %s", name, reason)
        if report.failed:
            # The other files are in; these stay in landing and are tried again.
            raise Failure("files could not be taken in", metadata={"files": dict(report.failed)})
        return MaterializeResult(metadata=_metadata(report, opened.kind(stream).rows))

    return raw_events


def ingest_files(
    platform: Platform, stream: Stream, files: list[LandedFile], now: datetime
) -> IngestReport:
    """Take files into the lake, each exactly once; a file that fails stops no other.

    Parameters
    ----------
    platform : Platform
        Where to read from and write to.
    stream : Stream
        Whose files these are.
    files : list of LandedFile
        What to take, the oldest first: of contradicting readings the first one wins.
    now : datetime
        The present, with a time zone; later events (beyond the allowance) are refused.
    """
    report = IngestReport()
    for file in sorted(files, key=lambda file: (file.modified, file.name)):
        try:
            with platform.landing.local_copy(file) as local:
                _ingest_file(platform, stream, file, local, now, report)
        except Exception as error:
            report.failed[file.name] = f"{type(error).__name__}: {error}"
    return report


def _ingest_file(
    platform: Platform,
    stream: Stream,
    file: LandedFile,
    local: Path,
    now: datetime,
    report: IngestReport,
) -> None:
    from anomaly_platform.ingest.files.sources import UnreadableFile
    from anomaly_platform.ingest.layout.mapping import ColumnMapping, content_digest
    from anomaly_platform.ingest.layout.saved import mapping_of

    ledger = platform.warehouse.ledger
    mapping = ColumnMapping()
    entity: str | None = None
    try:
        text = platform.landing.mapping_text(file)
        saved = platform.landing.layouts(stream.name) if text is None else {}
        mapping = mapping_of(file.name, saved) if text is None else ColumnMapping.from_json(text)
        context = layout_context(platform, stream, file.name, mapping, now)
        entity = platform.kind(stream).rows.reader.layout(local, context).entity_from_name
        digest = content_digest(local, mapping, stream.name, entity=entity)
        known = ledger.find(stream.name, digest)
        if known is not None and known.status == "ingested":
            report.repeated.append(file.name)
            ledger.record_repeat(stream.name, digest)
            platform.landing.archive(file, stream.name, digest)
            return
        _store(platform, stream, file, local, context, digest, report)
    except StillBeingWrittenError:
        return
    except UnreadableFile as error:
        digest = content_digest(local, mapping, stream.name, entity=entity or file.name)
        ledger.record_rejected(
            stream.name,
            digest,
            source=file.name,
            reason=str(error),
            mapping=json.loads(mapping.to_json()),
        )
        report.rejected.append(file.name)
        report.reasons[file.name] = str(error)
        platform.landing.reject(file, stream.name, digest)


def _store(
    platform: Platform,
    stream: Stream,
    file: LandedFile,
    local: Path,
    context: "LayoutContext",
    digest: str,
    report: IngestReport,
) -> None:
    """Write the raw rows, then enter the file into the ledger, then move it away."""
    form = platform.kind(stream).rows
    days: Counter[date] = Counter()
    sought = _UsableRow(form, context)

    def batches() -> Iterator[pl.DataFrame]:
        held: list[pl.DataFrame] = []
        height = size = 0
        for good, refused in form.reader.read(local, context, batch_rows=_BATCH_ROWS):
            for day, count in good["event_date"].value_counts().iter_rows():
                days[day] += count
            rejects.add(refused)
            sought.look(good, refused)
            held.append(good)
            height += good.height
            size += int(good.estimated_size())
            # What is held is let go of when it has been sorted.
            del good, refused
            if height >= _SORTED_ROWS or size >= _SORTED_BYTES:
                yield for_lake(_taken(held))
                height = size = 0
        sought.refuse_unless_found()
        if held:
            yield for_lake(_taken(held))
        if not platform.landing.unchanged(file):
            raise StillBeingWrittenError(f"{file.name} changed while it was read")

    with RejectSpool() as rejects:
        written = platform.lake.write(
            STAGE,
            stream.name,
            context.now.date().isoformat(),
            batches(),
            schema=for_lake(pl.DataFrame(schema=form.reader.schema)).schema,
        )
        rows = written.rows + rejects.height
        platform.warehouse.ledger.record_ingest(
            stream.name,
            digest,
            source=file.name,
            raw_path=written.path,
            rows_in=rows,
            days=days,
            rejects=rejects,
            mapping=json.loads(context.mapping.to_json()),
        )
    platform.landing.archive(file, stream.name, digest)
    report.ingested.append(file.name)
    report.rows += rows
    report.quarantined += rejects.height
    report.days.update(days)


def _taken(held: list[pl.DataFrame]) -> pl.DataFrame:
    """Return what was held as one frame, and hold it no longer: it takes memory."""
    joined = pl.concat(held)
    held.clear()
    return joined


class _UsableRow:
    """Looks for a row that can be used: without one, its file is rejected as a whole.

    Parameters
    ----------
    form : RowFormat
        Validates rows.
    context : LayoutContext
        Of the file.
    """

    def __init__(self, form: RowFormat, context: "LayoutContext") -> None:
        self._form = form
        self._context = context
        self._found = False
        self._reasons: Counter[str] = Counter()

    def look(self, rows: pl.DataFrame, refused: pl.DataFrame) -> None:
        """Look among the next rows, at few of them as a rule."""
        if self._found:
            return
        if any(
            day.frame.height for day in self._form.judged(rows.head(_FIRST_ROWS), self._context)
        ):
            self._found = True
            return
        self._reasons.update(refused["reason"])
        for day in self._form.judged(rows, self._context):
            self._found |= bool(day.frame.height)
            self._reasons.update(day.rejects["reason"])

    def refuse_unless_found(self) -> None:
        """Raise `UnreadableFile` with the commonest reason when no row can be used."""
        from anomaly_platform.ingest.files.sources import UnreadableFile

        if self._found:
            return
        if not self._reasons:
            raise UnreadableFile("the file has no rows")
        reason, _ = self._reasons.most_common(1)[0]
        raise UnreadableFile(f"no row of the file can be used; most of them: {reason}")


def _metadata(report: IngestReport, form: RowFormat) -> dict[str, MetadataValue]:
    files = {
        "ingested": len(report.ingested),
        "seen before": len(report.repeated),
        "rejected": len(report.rejected),
    }
    days = {str(day): count for day, count in sorted(report.days.items())}
    return metadata_of(
        {
            "dagster/row_count": report.rows,
            "quarantined": report.quarantined,
            "taken one by one": report.online,
            "files": counts("files", files),
            "rejected": report.reasons,
            "days": counts("event day", days),
            "dagster/column_schema": column_schema({**form.raw_columns, **_EVERY_RAW_COLUMN}),
        }
    )


_EVERY_RAW_COLUMN = {
    "event_date": ("date", "UTC day of the event"),
    RAW_BUCKET: ("int", "hash of the entity, 0 to 63"),
}
