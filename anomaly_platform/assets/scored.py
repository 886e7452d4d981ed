"""``scored_events``: a day as the models in service see it, in PostgreSQL and the lake.

What belongs here: feeding a day to the scorer and replacing it. That nobody sees half a day is the
promise of the tables of scored rows.
"""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from dagster import AssetExecutionContext, AssetsDefinition, MaterializeResult

from anomaly_platform.assets.metadata import column_schema, days_result
from anomaly_platform.assets.partitions import days_of, to_days, with_lookback
from anomaly_platform.assets.serving_again import put_previous_in_place, tell_of_unusable
from anomaly_platform.assets.stage import as_failures, stage_asset
from anomaly_platform.kinds.base import Scorer, StreamKind
from anomaly_platform.kinds.formats import judged_by
from anomaly_platform.ml.evaluation.miniatures import histogram
from anomaly_platform.platform import Platform
from anomaly_platform.storage.postgres.transactions import StaleInput
from anomaly_platform.storage.tables.scored.new_rows import NewRows
from anomaly_platform.streams import Stream

STAGE = "scored_events"
_HISTOGRAM_BINS = 50


@dataclass(frozen=True, slots=True)
class ScoredDayResult:
    """What became of one day; `skipped` says why nothing was written.

    `left_out` names the detectors that serve and took no part.
    """

    day: date
    rows: int = 0
    anomalies: int = 0
    skipped: str = ""
    left_out: tuple[str, ...] = ()


def build_scored_events(stream: Stream, platform: Platform) -> AssetsDefinition:
    """Return the asset ``[stream, scored_events]``."""
    kind = platform.kind(stream)
    history = with_lookback(stream.key("validated_events"), stream.lookback_days)

    @stage_asset(
        stream,
        platform,
        STAGE,
        deps=["features", "champion", *([history] if kind.scores_with_history else [])],
        days=days_of(platform.first_day_of(stream)),
        tools=frozenset({"postgres", "parquet"}),
        tag="scored",
        table=f"scored_{stream.name}",
        description=kind.descriptions[STAGE],
    )
    def scored_events(context: AssetExecutionContext) -> MaterializeResult[None]:
        opened: Platform = context.resources.platform
        kind = opened.kind(stream)
        days = {}
        with as_failures():
            kind.ensure_tables()
            scorer: Scorer | None = None
            for day in to_days(context.partition_keys):
                scorer, result, counts = _score_with_usable(opened, stream, day, scorer)
                if result.skipped:
                    context.log.warning("%s: %s", day, result.skipped)
                for detector in result.left_out:
                    context.log.error("%s: %s could not judge and was left out", day, detector)
                days[day] = _shown(kind, result, counts)
        form = kind.scored
        common = {
            form.version: str(scorer.version)
            if scorer is not None and scorer.version is not None
            else form.unversioned,
            "dagster/column_schema": column_schema(form.columns),
        }
        return days_result(context, stream.key(STAGE), days, common)

    return scored_events


def _score_with_usable(
    platform: Platform, stream: Stream, day: date, scorer: Scorer | None
) -> tuple[Scorer, ScoredDayResult, npt.NDArray[np.int64]]:
    """Score a day with a scorer, or with what serves; return it, and the day's counts by score.

    Where the version in service turns out to be unusable, the one before serves again, and scores.
    One that no longer serves when that shows is left as it is: what serves now scores.
    """
    from anomaly_platform.ml.bundles.format import BundleError

    counts = np.zeros(_HISTOGRAM_BINS, dtype=np.int64)
    judge = scorer
    try:
        judge = judge or platform.kind(stream).scorer()
        return judge, score_day(platform, stream, day, judge, counts), counts
    except BundleError as error:
        version = platform.warehouse.bundles.champions(stream.name).get(stream.scored_by)
        if version is None:
            raise
        if judge is None or judge.version == version:
            finding, serves = put_previous_in_place(platform, stream, version, error)
            tell_of_unusable(platform, stream, version, finding)
            if not serves:
                raise
    return _score_with_usable(platform, stream, day, None)


def score_day(
    platform: Platform,
    stream: Stream,
    day: date,
    scorer: Scorer,
    counted: npt.NDArray[np.int64],
) -> ScoredDayResult:
    """Score one day's features and replace the day, unless something newer has been written.

    Another run may hold the day's lock for minutes. Features published in that time are those that
    are scored.
    """
    kind = platform.kind(stream)
    partitions, form, version = platform.warehouse.partitions, kind.scored, scorer.version
    features = stream.name, "features", day.isoformat()
    source = partitions.get(*features)
    if source is None:
        return ScoredDayResult(day, skipped="the day has no features")
    left_out: set[str] = set()

    def chunks(new: NewRows) -> Generator[pl.DataFrame]:
        if partitions.get(*features) != source:
            raise StaleInput("features were published while the day's lock was waited for")
        for scored in scorer.score(source):
            new.add(scored)
            judged = judged_by(scored, scorer.judges)
            left_out.update(name for name, rows in judged.items() if rows < scored.height)
            finite = scored[form.score].drop_nulls().to_numpy()
            counted[:] += np.histogram(finite, bins=_HISTOGRAM_BINS, range=(0.0, form.top))[0]
            yield scored
        left_out.update(scorer.failed)

    # The file is whole before the transaction commits, and the current one after it.
    try:
        with (
            kind.replacing(day, watermark=source.watermark, scorer=scorer) as new,
            # Rows are scored ahead: where they cannot be written, that ends before the transaction.
            closing(chunks(new)) as frames,
        ):
            written = platform.lake.write(
                STAGE, stream.name, day.isoformat(), frames, schema=form.schema
            )
    except StaleInput as error:
        if partitions.get(*features) != source:
            return score_day(platform, stream, day, scorer, counted)
        return ScoredDayResult(day, skipped=str(error))
    stored = new.stored
    partitions.publish(
        stream.name,
        STAGE,
        day.isoformat(),
        path=written.path,
        rows=stored.rows,
        watermark=source.watermark,
        stats={"anomalies": stored.anomalies, "bundle_version": version},
    )
    for detector, one in scorer.versions.items():
        platform.warehouse.scores.note_use(stream.name, day, detector, one)
    return ScoredDayResult(day, stored.rows, stored.anomalies, left_out=tuple(sorted(left_out)))


def _shown(
    kind: StreamKind[Any], result: ScoredDayResult, counts: npt.NDArray[np.int64]
) -> dict[str, object]:
    """Return what a day shows of its scores."""
    form = kind.scored
    threshold = kind.parts.threshold if form.threshold is None else form.threshold
    shown: dict[str, object] = {
        "dagster/row_count": result.rows,
        "anomalies": result.anomalies,
        form.picture: histogram(counts, threshold=threshold, title=form.title),
    }
    if result.skipped:
        shown["skipped"] = result.skipped
    if result.left_out:
        shown["left out"] = ", ".join(result.left_out)
    return shown
