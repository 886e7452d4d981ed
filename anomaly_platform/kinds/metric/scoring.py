"""Scoring the days of a metric stream: the fleet in service, and the columns that are kept.

How a score comes about is in ``ml.scoring``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import polars as pl

from anomaly_platform.kinds.base import Scorer
from anomaly_platform.kinds.feedback import READING
from anomaly_platform.kinds.formats import ScoredFormat
from anomaly_platform.kinds.metric.bundles import DETECTOR, open_version
from anomaly_platform.kinds.parts import Parts
from anomaly_platform.kinds.training import StageError
from anomaly_platform.ml.threads import ahead
from anomaly_platform.storage.lake.call_states import CallStateFiles
from anomaly_platform.storage.lake.run_states import run_state_files
from anomaly_platform.storage.tables.partitions import Partition
from anomaly_platform.storage.tables.scored.metrics import SCORED_METRICS
from anomaly_platform.streams import MetricStream

if TYPE_CHECKING:
    from anomaly_platform.ml.scoring.batch import FleetScorer
    from anomaly_platform.storage.postgres.transactions import Connection


#: Few, so that PostgreSQL has little left to do when the last are scored.
_CHUNK_ROWS: Final = 65_536


def current_scorer(parts: Parts[MetricStream]) -> Scorer:
    """Return the champion's fleet, or the fallback without one."""
    version = parts.bundles.champions(parts.stream.name).get(DETECTOR)
    fleet = fleet_scorer(parts, version)

    run_files = run_state_files(parts.lake, parts.partitions, parts.stream.name)
    files = parts.lake, parts.partitions, parts.bundles
    call_files = CallStateFiles(*files, parts.stream.name, version)
    left: list[Callable[[Connection], None]] = []

    def score(features: Partition) -> Iterator[pl.DataFrame]:
        day = features.partition
        left.clear()
        runs_before, calls_before = run_files.before(day), call_files.left(before=day)
        runs, calls = run_files.read(runs_before), call_files.read(calls_before)
        chunks = parts.lake.chunks([features.path], target_rows=_CHUNK_ROWS, short_ends=True)
        for chunk in ahead(chunks):
            _refuse_other_features(parts.stream.name, version, day, fleet, chunk)
            for piece in in_pieces(chunk, _CHUNK_ROWS):
                yield _for_lake(fleet.score(piece, runs, calls))
        seen = features.watermark
        left.append(run_files.write(day, runs, before=runs_before, watermark=seen))
        left.append(call_files.own.write(day, calls, before=calls_before.newest, watermark=seen))

    def score_ahead(features: Partition) -> Iterator[pl.DataFrame]:
        # The next rows are scored while those before are written and copied.
        return ahead(score(features))

    versions = {} if version is None else {DETECTOR: version}
    return Scorer(version, versions, score_ahead, left=left)


def in_pieces(rows: pl.DataFrame, most: int) -> Iterator[pl.DataFrame]:
    """Yield rows that are in the order of their entities, `most` at a time, in whole entities.

    What is scored has many columns. A bucket of a large day is 2.4 times as many rows as a piece.
    """
    if rows.height <= most:
        yield rows
        return
    first, held = 0, 0
    for count in rows["entity"].rle().struct.field("len"):
        if held and held + count > most:
            yield rows[first : first + held]
            first, held = first + held, 0
        held += count
    yield rows[first:]


def _refuse_other_features(
    stream: str, version: int | None, day: str, fleet: FleetScorer, chunk: pl.DataFrame
) -> None:
    if set(fleet.feature_set.names) <= set(chunk.columns):
        return
    windows = "/".join(map(str, fleet.feature_set.windows))
    what = "there is no version in service" if version is None else f"version {version} serves"
    raise StageError(
        f"{stream}: {what} with windows {windows}, and the features of {day} have others. Either "
        f"compute the days anew and train (`anomaly run {stream} --days FIRST:LAST --train`), or "
        f"give the stream these windows (`anomaly tune {stream} --undo` where a tuning has "
        "changed them) and compute the days anew"
    )


def fleet_scorer(parts: Parts[MetricStream], version: int | None) -> FleetScorer:
    """Return what scores with a version's models, or with none."""
    from anomaly_platform.ml.scoring.batch import FleetScorer

    own = parts.labels.thresholds.all(parts.stream.name)
    thresholds = {series: one.threshold for series, one in own.items()}
    if version is None:
        return FleetScorer.without_models(
            parts.stream.features,
            alpha=parts.alpha,
            threshold=parts.threshold,
            thresholds=thresholds,
        )
    return FleetScorer(
        # Each model is verified as it is read, by the threads that score.
        open_version(parts, version, verify="each"),
        threshold=parts.threshold,
        thresholds=thresholds,
        deleted=parts.bundles.deleted_series(parts.stream.name, DETECTOR, version),
    )


def _for_lake(scored: pl.DataFrame) -> pl.DataFrame:
    """Return the columns that are kept, the ranked causes as a JSON array."""
    wrapped = pl.struct("causes").struct.json_encode()
    array = wrapped.str.strip_prefix('{"causes":').str.strip_suffix("}")
    causes = pl.when(pl.col("causes").is_not_null()).then(array)
    return scored.with_columns(causes.alias("causes")).select(
        pl.col(name).cast(kind) for name, kind in SCORED.schema.items()
    )


SCORED: Final = ScoredFormat(
    schema=pl.Schema({"bucket": pl.UInt8(), **SCORED_METRICS.lake_schema}),
    columns={
        "entity": ("string", "device or asset"),
        "metric": ("string", "name of the metric"),
        "event_time": ("timestamp (UTC)", "when the reading was taken"),
        "value": ("float", "the reading"),
        "score": ("float", "0 ordinary to 1 most unusual; null where nothing can be said"),
        "is_anomaly": ("bool", "score reaches threshold; null is unknown"),
        "threshold": ("float", "the decision's threshold"),
        "status": ("string", "trained, insufficient_history, failed or missing_value"),
        "p_value": ("float", "share of ordinary readings at least as unusual"),
        "raw_score": ("float", "the detector's own score"),
        "z_score": ("float", "distance from the trailing mean in standard deviations"),
        "iqr_score": ("float", "distance from the trailing quartiles in interquartile ranges"),
        "mad_score": ("float", "distance from the trailing median in scaled MADs"),
        "entity_score": ("float", "score of the whole device or asset at this time"),
        "entity_is_anomaly": ("bool", "entity_score reaches threshold"),
        "causes": ("json", "the metrics behind the entity's score, ranked"),
        "reason": (
            "string",
            "why the reading is flagged, a call, or a cause of the entity's score",
        ),
        "is_call": ("bool", "whether somebody is told of the reading"),
        "entity_is_call": ("bool", "whether somebody is told of the device or asset then"),
        "expected_low": ("float", "smallest value that would not have been told of"),
        "expected_high": ("float", "largest value that would not have been told of"),
        "deviation": ("float", "distance from the middle of that range in halves of its width"),
        "direction": ("string", "above or below the expected range, or none"),
        "lasting": ("bool", "whether more than this one reading is unusual"),
        "lasted_s": ("float", "seconds for which it has lasted at least"),
        "explanation": ("json", "shares of the parts, and what each model input adds"),
        "label": ("bool", "known anomaly, known normal, or unknown"),
    },
    key=READING,
    score="score",
    top=1.0,
    picture="scores",
    title="Scores",
    threshold=None,
    version="bundle version",
    unversioned="none",
)
"""A scored day in the lake, and what goes into PostgreSQL of it."""
