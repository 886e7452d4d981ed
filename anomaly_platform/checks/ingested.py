"""Checks of ``raw_events`` and ``validated_events``: schema, duplicates, quarantine, accounts."""

from collections.abc import Iterator

import polars as pl
from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetCheckSpec,
    multi_asset_check,
)

from anomaly_platform.assets.row_formats import RowFormat, row_format
from anomaly_platform.checks.scope import partitions_in_scope, verdict
from anomaly_platform.platform import Platform
from anomaly_platform.streams import Stream


def build_raw_checks(stream: Stream) -> AssetChecksDefinition:
    """Return the checks of ``raw_events``."""
    key = stream.key("raw_events")

    @multi_asset_check(
        name=f"{stream.name}__raw_events_checks",
        specs=[
            AssetCheckSpec(
                "every_file_is_in_the_lake",
                asset=key,
                description="The raw file of every ledger entry exists.",
            ),
            AssetCheckSpec(
                "rows_add_up",
                asset=key,
                description="Rows read = rows of a day + rows refused, file by file.",
            ),
        ],
        required_resource_keys={"platform"},
    )
    def checks(context: AssetCheckExecutionContext) -> Iterator[AssetCheckResult]:
        platform: Platform = context.resources.platform
        entries = [
            e for e in platform.warehouse.ledger.entries(stream.name) if e.status == "ingested"
        ]
        lost = [e.source for e in entries if not e.raw_path or not platform.lake.exists(e.raw_path)]
        yield verdict(
            stream,
            "raw_events",
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
        yield verdict(
            stream,
            "raw_events",
            "rows_add_up",
            wrong,
            f"{sum(e.rows_in for e in entries):,} rows",
        )

    return checks


def build_validated_checks(stream: Stream) -> AssetChecksDefinition:
    """Return the checks of ``validated_events``; a broken schema stops the run."""
    key = stream.key("validated_events")

    @multi_asset_check(
        name=f"{stream.name}__validated_events_checks",
        specs=[
            AssetCheckSpec(
                "schema",
                asset=key,
                blocking=True,
                description="The files of the days have the columns, types and bounds they owe.",
            ),
            AssetCheckSpec(
                "no_duplicates",
                asset=key,
                blocking=True,
                description=f"No {stream.event} of a day occurs twice.",
            ),
            AssetCheckSpec(
                "quarantine_ratio",
                asset=key,
                description=f"At most {stream.max_quarantine_ratio:.0%} of the rows are refused.",
            ),
            AssetCheckSpec(
                "rows_add_up",
                asset=key,
                description="Raw rows = valid + quarantined + duplicates, day by day.",
            ),
        ],
        required_resource_keys={"platform"},
    )
    def checks(context: AssetCheckExecutionContext) -> Iterator[AssetCheckResult]:
        platform: Platform = context.resources.platform
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
        yield verdict(stream, "validated_events", "schema", broken, seen)
        yield verdict(stream, "validated_events", "no_duplicates", repeated, seen)
        rows_in = sum(int(day.stats["rows_in"]) for day in days)
        refused = sum(int(day.stats["quarantined"]) for day in days)
        ratio = refused / rows_in if rows_in else 0.0
        yield verdict(
            stream,
            "validated_events",
            "quarantine_ratio",
            [f"{refused:,} of {rows_in:,} rows ({ratio:.1%}) are in quarantine"]
            if ratio > stream.max_quarantine_ratio
            else [],
            f"{refused:,} of {rows_in:,} rows ({ratio:.1%})",
            severity=AssetCheckSeverity.WARN,
            ratio=ratio,
        )
        wrong = [
            f"{day.partition}: {day.stats['rows_in']} in, {day.rows} valid, "
            f"{day.stats['quarantined']} quarantined, {day.stats['duplicates']} duplicates"
            for day in days
            if int(day.stats["rows_in"])
            != day.rows + int(day.stats["quarantined"]) + int(day.stats["duplicates"])
        ]
        yield verdict(stream, "validated_events", "rows_add_up", wrong, seen)

    return checks


def _schema_problems(form: RowFormat, chunk: pl.DataFrame) -> list[str]:
    import pandera.errors

    try:
        form.schema().validate(chunk, lazy=True)
    except pandera.errors.SchemaErrors as error:
        cases = error.failure_cases.select("column", "check").unique().head(5)
        return [f"column {column} fails {check}" for column, check in cases.iter_rows()]
    return []
