"""Checks of ``raw_events`` and ``validated_events``: schema, duplicates, quarantine, accounts."""

import polars as pl
from dagster import (
    AssetCheckExecutionContext,
    AssetChecksDefinition,
)

from anomaly_platform.assets.row_formats import RowFormat, row_format
from anomaly_platform.checks.scope import Results, StageChecks, partitions_in_scope
from anomaly_platform.platform import Platform
from anomaly_platform.streams import Stream


def build_raw_checks(stream: Stream) -> AssetChecksDefinition:
    """Return the checks of ``raw_events``."""
    declared = StageChecks(
        stream,
        "raw_events",
        {
            "every_file_is_in_the_lake": "The raw file of every ledger entry exists.",
            "rows_add_up": "Rows read = rows of a day + rows refused, file by file.",
        },
    )

    @declared.define
    def checks(_context: AssetCheckExecutionContext, platform: Platform) -> Results:
        entries = [
            e for e in platform.warehouse.ledger.entries(stream.name) if e.status == "ingested"
        ]
        lost = [e.source for e in entries if not e.raw_path or not platform.lake.exists(e.raw_path)]
        yield declared.verdict(
            "every_file_is_in_the_lake",
            [f"the raw rows of {source} are gone" for source in lost],
            f"{len(entries)} files",
        )
        in_days = platform.rows_by_digest(stream)
        wrong = [
            f"{e.source}: {e.rows_in} read, {in_days.get(e.digest, 0)} have a day, "
            f"{e.rows_quarantined} refused"
            for e in entries
            if e.rows_in != in_days.get(e.digest, 0) + e.rows_quarantined
        ]
        yield declared.verdict("rows_add_up", wrong, f"{sum(e.rows_in for e in entries):,} rows")

    return checks


def build_validated_checks(stream: Stream) -> AssetChecksDefinition:
    """Return the checks of ``validated_events``; a broken schema stops the run."""
    declared = StageChecks(
        stream,
        "validated_events",
        {
            "schema": "The files of the days have the columns, types and bounds they owe.",
            "no_duplicates": f"No {stream.event} of a day occurs twice.",
            "quarantine_ratio": (
                f"At most {stream.max_quarantine_ratio:.0%} of the rows are refused."
            ),
            "rows_add_up": "Raw rows = valid + quarantined + duplicates, day by day.",
        },
        blocking=(
            "schema",
            "no_duplicates",
        ),
        warning=("quarantine_ratio",),
    )

    @declared.define
    def checks(context: AssetCheckExecutionContext, platform: Platform) -> Results:
        form = row_format(stream)
        days = partitions_in_scope(context, platform, stream, "validated_events")
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
        rows = sum(day.rows for day in days)
        seen = f"{rows:,} rows of {len(days)} days"
        yield declared.verdict("schema", broken, seen)
        yield declared.verdict("no_duplicates", repeated, seen)
        rows_in = sum(int(day.stats["rows_in"]) for day in days)
        refused = sum(int(day.stats["quarantined"]) for day in days)
        ratio = refused / rows_in if rows_in else 0.0
        yield declared.verdict(
            "quarantine_ratio",
            [f"{refused:,} of {rows_in:,} rows ({ratio:.1%}) are in quarantine"]
            if ratio > stream.max_quarantine_ratio
            else [],
            f"{refused:,} of {rows_in:,} rows ({ratio:.1%})",
            ratio=ratio,
        )
        wrong = [
            f"{day.partition}: {day.stats['rows_in']} in, {day.rows} valid, "
            f"{day.stats['quarantined']} quarantined, {day.stats['duplicates']} duplicates"
            for day in days
            if int(day.stats["rows_in"])
            != day.rows + int(day.stats["quarantined"]) + int(day.stats["duplicates"])
        ]
        yield declared.verdict("rows_add_up", wrong, seen)

    return checks


def _schema_problems(form: RowFormat, chunk: pl.DataFrame) -> list[str]:
    import pandera.errors

    try:
        form.schema().validate(chunk, lazy=True)
    except pandera.errors.SchemaErrors as error:
        cases = error.failure_cases.select("column", "check").unique().head(5)
        return [f"column {column} fails {check}" for column, check in cases.iter_rows()]
    return []
