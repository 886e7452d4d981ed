"""``validated_events`` and ``quarantine``: a day's raw rows, parsed, checked and settled.

What belongs here: working through a day in bounded chunks and accounting for every row. What makes
a reading valid is in ``ingest.validation``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

import polars as pl
from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    AssetSpec,
    MaterializeResult,
    multi_asset,
)

from anomaly_platform import __version__
from anomaly_platform.assets.metadata import column_schema, counts, days_result
from anomaly_platform.assets.partitions import SINGLE_RUN, days_of, to_days
from anomaly_platform.assets.raw_online import RAW_BUCKET
from anomaly_platform.assets.stage import as_failures, pool_of, said_of
from anomaly_platform.kinds.base import midnight
from anomaly_platform.kinds.formats import RowFormat
from anomaly_platform.platform import Platform
from anomaly_platform.storage.tables.ledger import RawFile
from anomaly_platform.streams import Stream

STAGE = "validated_events"


@dataclass(frozen=True, slots=True)
class DayAccount:
    """What became of a day's raw rows: `rows_in` is the sum of the others."""

    day: date
    rows_in: int
    valid: int
    quarantined: int
    duplicates: int


def build_validated_events(stream: Stream, platform: Platform) -> AssetsDefinition:
    """Return the assets ``[stream, validated_events]`` and ``[stream, quarantine]``."""

    def spec(stage: str, tag: str, tools: set[str], table: str, description: str) -> AssetSpec:
        return AssetSpec(
            stream.key(stage),
            description=description,
            kinds=tools,
            deps=[stream.key("raw_events")],
            code_version=__version__,
            **said_of(stream, platform, tag=tag, table=table),
        )

    @multi_asset(
        name=f"{stream.name}__validated_events",
        specs=[
            spec(
                STAGE,
                "validated",
                {"polars", "parquet"},
                "lake_partitions",
                f"{stream.event.capitalize()}s of a UTC day: parsed, within bounds, each once. A "
                "repeated one is counted, a contradicting one refused.",
            ),
            spec(
                "quarantine",
                "quarantine",
                {"postgres"},
                "quarantine",
                "Rows that were refused, each with its file, row number and reason.",
            ),
        ],
        partitions_def=days_of(platform.first_day_of(stream)),
        backfill_policy=SINGLE_RUN,
        required_resource_keys={"platform"},
        pool=pool_of(stream),
    )
    def validated_events(context: AssetExecutionContext) -> Iterator[MaterializeResult[None]]:
        opened: Platform = context.resources.platform
        with as_failures():
            accounts = [
                validate_day(opened, stream, day, datetime.now(UTC))
                for day in to_days(context.partition_keys)
            ]
            refused = {account.day: _refused(opened, stream, account) for account in accounts}
        valid = {
            one.day: {
                "dagster/row_count": one.valid,
                "rows in": one.rows_in,
                "quarantined": one.quarantined,
                "duplicates": one.duplicates,
            }
            for one in accounts
        }
        schema = column_schema(opened.kind(stream).rows.columns)
        common = {"dagster/column_schema": schema}
        yield days_result(context, stream.key(STAGE), valid, common)
        yield days_result(context, stream.key("quarantine"), refused, {})

    return validated_events


def validate_day(platform: Platform, stream: Stream, day: date, now: datetime) -> DayAccount:
    """Validate one day, replace its file and its quarantine, and return the account of its rows."""
    from anomaly_platform.ingest.validation.parts import DayInParts

    form = platform.kind(stream).rows
    ledger = platform.warehouse.ledger
    watermark = ledger.watermark(stream.name, day)
    files = [file for file in ledger.raw_files(stream.name, day) if file.seq <= watermark]
    digests = pl.DataFrame(
        {
            "batch_seq": [file.seq for file in files],
            "digest": [file.digest for file in files],
            "source": [file.source for file in files],
        },
        schema={"batch_seq": pl.Int64, "digest": pl.String, "source": pl.String},
    )
    rows_in = sum(file.rows for file in files)
    validate = partial(
        form.validate,
        day=day,
        start=midnight(platform.start_of(stream)),
        now=now,
        future_allowance=platform.settings.future_allowance,
    )
    parts = DayInParts(partial(_raw_rows, platform, form, files, day), validate)
    extents: list[pl.DataFrame] = []

    def frames() -> Iterator[pl.DataFrame]:
        for frame in parts.frames(rows_in):
            extents.append(form.extents(frame))
            yield frame

    written = platform.lake.write(STAGE, stream.name, day.isoformat(), frames())
    refused = parts.rejects().join(digests, on="batch_seq", how="left", maintain_order="left")
    account = DayAccount(day, rows_in, written.rows, refused.height, parts.duplicates)
    platform.warehouse.partitions.publish(
        stream.name,
        STAGE,
        day.isoformat(),
        path=written.path,
        rows=written.rows,
        watermark=watermark,
        stats={
            "rows_in": rows_in,
            "duplicates": parts.duplicates,
            "quarantined": refused.height,
        },
    )
    platform.warehouse.quarantine.replace_day(stream.name, STAGE, day, refused)
    platform.warehouse.series.replace_day(stream.name, day, _together(extents))
    platform.warehouse.online.forget_passed_states(stream.name)
    return account


def _raw_rows(
    platform: Platform,
    form: RowFormat,
    files: Sequence[RawFile],
    day: date,
    first: int,
    last: int,
) -> pl.DataFrame:
    bounds = {"event_date": (day, day), RAW_BUCKET: (first, last)}
    empty = pl.DataFrame(schema={**form.reader.schema, "batch_seq": pl.Int64()})
    parts = [
        platform.lake.read(file.path, between=bounds)
        .rename({RAW_BUCKET: "bucket"})
        .with_columns(pl.lit(file.seq, pl.Int64).alias("batch_seq"))
        for file in files
    ]
    # Files that were taken in by earlier versions lack the columns that came later.
    return pl.concat([empty, *parts], how="diagonal")


def _together(extents: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return one row per series over all chunks of the day."""
    return (
        pl.concat(extents)
        .group_by("entity", "metric", maintain_order=True)
        .agg(pl.col("rows").sum(), pl.col("first_event").min(), pl.col("last_event").max())
    )


def _refused(platform: Platform, stream: Stream, account: DayAccount) -> dict[str, Any]:
    """Return how many of a day's rows were refused, and why."""
    reasons = (
        platform.warehouse.quarantine.reasons(stream.name, day=account.day)
        if account.quarantined
        else {}
    )
    return {"dagster/row_count": account.quarantined, "reasons": counts("reason", reasons)}
