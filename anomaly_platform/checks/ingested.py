"""Checks of ``raw_events`` and ``validated_events``: schema, duplicates, quarantine, accounts."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import polars as pl
from dagster import AssetChecksDefinition

from anomaly_platform.checks.scope import Days, checks_of, rows_of
from anomaly_platform.kinds.findings import Check, Finding
from anomaly_platform.kinds.formats import RowFormat
from anomaly_platform.platform import Platform
from anomaly_platform.streams import Stream

LATELY = timedelta(days=7)
"""For so long a file that was rejected is told."""


def build_raw_checks(stream: Stream) -> AssetChecksDefinition:
    """Return the checks of ``raw_events``."""

    def look(platform: Platform, _: Days) -> Iterator[Finding]:
        entries = [
            e for e in platform.warehouse.ledger.entries(stream.name) if e.status == "ingested"
        ]
        lost = [e.source for e in entries if not e.raw_path or not platform.lake.exists(e.raw_path)]
        gone = [f"the raw rows of {source} are gone" for source in lost]
        yield Finding("every_file_is_in_the_lake", gone, f"{len(entries)} files")
        in_days = platform.rows_by_digest(stream)
        wrong = [
            f"{e.source}: {e.rows_in} read, {in_days.get(e.digest, 0)} have a day, "
            f"{e.rows_quarantined} refused"
            for e in entries
            if e.rows_in != in_days.get(e.digest, 0) + e.rows_quarantined
        ]
        yield Finding("rows_add_up", wrong, f"{sum(e.rows_in for e in entries):,} rows")
        since = datetime.now(UTC) - LATELY
        rejected = platform.warehouse.ledger.rejected_since(stream.name, since)
        said = [f"{e.source}: {e.reason}" for e in rejected]
        yield Finding("every_file_can_be_read", said, "none was rejected lately")
        yield _refused_without_a_day(platform, stream, since)

    checks = (
        Check("every_file_is_in_the_lake", "The raw file of every ledger entry exists."),
        Check("rows_add_up", "Rows read = rows of a day + rows refused, file by file."),
        Check(
            "every_file_can_be_read",
            f"No file of the last {LATELY.days} days was rejected, unless one of its name is in.",
        ),
        Check(
            "quarantine_ratio",
            f"At most {stream.max_quarantine_ratio:.0%} of a file's rows belong to no day.",
            warns=True,
        ),
    )
    return checks_of(stream, "raw_events", checks, look)


def _refused_without_a_day(platform: Platform, stream: Stream, since: datetime) -> Finding:
    """Find the files of which too many rows have no usable time, or are no rows."""
    files = [
        e
        for e in platform.warehouse.ledger.seen_since(stream.name, since)
        if e.status == "ingested" and e.rows_in
    ]
    many = [e for e in files if e.rows_quarantined > stream.max_quarantine_ratio * e.rows_in]
    digests = [e.digest for e in many]
    reasons = platform.warehouse.quarantine.of_files(stream.name, digests)
    problems = [
        f"{e.source}: {e.rows_quarantined:,} of {e.rows_in:,} rows, most of them: "
        f"{reasons[e.digest].reason if e.digest in reasons else 'no longer known'}"
        for e in many
    ]
    refused, rows = sum(e.rows_quarantined for e in files), sum(e.rows_in for e in files)
    return Finding("quarantine_ratio", problems, f"{refused:,} of {rows:,} rows refused")


def build_validated_checks(stream: Stream) -> AssetChecksDefinition:
    """Return the checks of ``validated_events``; a broken schema stops the run."""

    def look(platform: Platform, days_of: Days) -> Iterator[Finding]:
        form, days = platform.kind(stream).rows, days_of("validated_events")
        broken: list[str] = []
        repeated: list[str] = []
        for day in days:
            for chunk in platform.lake.chunks([day.path]):
                problems = _schema_problems(form, chunk)
                broken.extend(f"{day.partition}: {problem}" for problem in problems)
                keys = chunk.select(form.key)
                repeats = keys.height - keys.n_unique()
                if repeats:
                    repeated.append(f"{day.partition}: {repeats} {stream.event}s occur twice")
        seen = rows_of(days)
        yield Finding("schema", broken, seen)
        yield Finding("no_duplicates", repeated, seen)
        rows_in = sum(int(day.stats["rows_in"]) for day in days)
        refused = sum(int(day.stats["quarantined"]) for day in days)
        ratio = refused / rows_in if rows_in else 0.0
        told = f"{refused:,} of {rows_in:,} rows ({ratio:.1%})"
        too_many = [f"{told} are in quarantine"] if ratio > stream.max_quarantine_ratio else []
        yield Finding("quarantine_ratio", too_many, told, {"ratio": ratio})
        wrong = [
            f"{day.partition}: {day.stats['rows_in']} in, {day.rows} valid, "
            f"{day.stats['quarantined']} quarantined, {day.stats['duplicates']} duplicates"
            for day in days
            if int(day.stats["rows_in"])
            != day.rows + int(day.stats["quarantined"]) + int(day.stats["duplicates"])
        ]
        yield Finding("rows_add_up", wrong, seen)

    checks = (
        Check(
            "schema",
            "The files of the days have the columns, types and bounds they owe.",
            blocking=True,
        ),
        Check("no_duplicates", f"No {stream.event} of a day occurs twice.", blocking=True),
        Check(
            "quarantine_ratio",
            f"At most {stream.max_quarantine_ratio:.0%} of the rows are refused.",
            warns=True,
        ),
        Check("rows_add_up", "Raw rows = valid + quarantined + duplicates, day by day."),
    )
    return checks_of(stream, "validated_events", checks, look)


def _schema_problems(form: RowFormat, chunk: pl.DataFrame) -> list[str]:
    import pandera.errors

    try:
        form.schema().validate(chunk, lazy=True)
    except pandera.errors.SchemaErrors as error:
        cases = error.failure_cases.select("column", "check").unique().head(5)
        return [f"column {column} fails {check}" for column, check in cases.iter_rows()]
    return []
