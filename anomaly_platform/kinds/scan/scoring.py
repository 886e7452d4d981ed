"""Scoring the days of a stream of scans: the set in service, and the columns that are kept.

How a verdict comes about is in ``ml.scans.scoring``. The history is computed from the validated
scans of the look-back, for the codes of the day; the other codes of their lots are beside them, for
what moved together and what the lots did. A day's scores follow from that day and its look-back,
and from nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

import polars as pl

from anomaly_platform.kinds.base import Scorer, StreamKind, midnight
from anomaly_platform.kinds.formats import ScoredFormat
from anomaly_platform.kinds.parts import Parts
from anomaly_platform.kinds.scan.bundles import members_of, read_serving
from anomaly_platform.kinds.scan.rows import FEATURE_SCHEMA, READ_FEATURES, in_order
from anomaly_platform.kinds.training import StageError
from anomaly_platform.storage.tables.partitions import Partition
from anomaly_platform.storage.tables.scored.scans import SCORED_SCANS
from anomaly_platform.streams import ScanStream

if TYPE_CHECKING:
    from anomaly_platform.ml.scans.scoring import BarcodeModels

_CHUNK_ROWS = 300_000
_BESIDE: Final = (
    *("bucket", "epc_code", "event_time", "event_id"),
    *("location_id", "business_step", "event_type"),
)
#: The rules as models name them, and as tables do.
RULE_COLUMNS: Final = {
    "epcFake": "epc_fake_score",
    "epcDup": "epc_dup_score",
    "locErr": "loc_err_score",
    "evtOrderErr": "evt_order_err_score",
    "jump": "jump_score",
}
#: The detectors that learn, each with a column of scores.
LEARNED: Final = ("lstm", "svm")

SCORED: Final = ScoredFormat(
    schema=pl.Schema({"bucket": pl.UInt8(), **SCORED_SCANS.lake_schema}),
    columns={name: (str(kind), "") for name, kind in SCORED_SCANS.schema.items()},
    key=("epc_code", "event_time"),
    score="final_confidence",
    top=100.0,
    picture="confidences",
    title="Confidences, as shares of 100",
    threshold=0.5,
    version="set of models",
    unversioned="rules only",
)
"""A scored day in the lake, and what goes into PostgreSQL of it."""


def current_scorer(kind: StreamKind[ScanStream]) -> Scorer:
    """Return the set in service, or the rules alone."""
    parts, stream = kind.parts, kind.stream
    version = parts.bundles.champions(stream.name).get(stream.scored_by)
    models = _rules_alone(parts) if version is None else read_serving(parts, version)
    failed: set[str] = set()

    def score(features: Partition) -> Iterator[pl.DataFrame]:
        from anomaly_platform.ml.scans.scoring import HABITS

        failed.clear()
        for scored, left_out in judged_day(kind, models, features):
            if scored["final_confidence"].null_count():
                said = "; ".join(f"{name} {why}" for name, why in left_out.items())
                raise StageError(
                    f"no detector judged {stream.name} on {features.partition}: {said}"
                )
            failed.update({HABITS} & left_out.keys())
            yield for_lake(models, scored)

    return Scorer(
        version,
        {} if version is None else members_of(parts, version),
        score,
        tuple(name for name in LEARNED if getattr(models, name) is not None),
        failed,
    )


def judged_day(
    kind: StreamKind[ScanStream], models: BarcodeModels, features: Partition
) -> Iterator[tuple[pl.DataFrame, dict[str, str]]]:
    """Yield the scans of a day as models judge them, and which detectors failed, and why."""
    from anomaly_platform.ml.scans.scoring import Together

    day, lake = date.fromisoformat(features.partition), kind.parts.lake
    whole = lake.read(features.path, columns=["location_id", "event_time"])
    together = Together.of(models, whole["location_id"], "day")
    for scans, beside in _with_history(kind, day, features):
        left_out: dict[str, str] = {}
        scored = models.score(
            scans,
            since=midnight(day),
            threshold=kind.parts.threshold,
            together=together,
            left_out=left_out,
            beside=beside,
            until=whole.select(pl.col("event_time").max()).item(),
        )
        yield scored, left_out


def _rules_alone(parts: Parts[ScanStream]) -> BarcodeModels:
    """Return the rules with what is known beforehand."""
    from anomaly_platform.ml.features.scans.reference import ScanReference
    from anomaly_platform.ml.scans.scoring import BarcodeModels

    reference = ScanReference.read(parts.reference)
    return BarcodeModels.of_rules(reference, parts.stream.features.code_pattern)


def _with_history(
    kind: StreamKind[ScanStream], day: date, features: Partition
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame | None]]:
    """Yield the day's scan features with the history of their codes, in chunks of whole codes.

    Beside them what the other codes of their lots did before, as far as they are of the chunk's
    buckets: all of them unless a day has several chunks. Of more than `_CHUNK_ROWS` scans, those
    of the first codes count.
    """
    from anomaly_platform.ml.detectors.sequence_lstm.scans import lots_of

    def featured(past: pl.DataFrame) -> pl.DataFrame:
        computed = kind.stream.features.compute(past)
        read = [name for name in names if name in computed.columns]
        return computed.select(pl.col(name).cast(FEATURE_SCHEMA[name]) for name in read)

    lake, names = kind.parts.lake, list(READ_FEATURES)
    days = kind.history(day, day - timedelta(days=1))
    for today in lake.chunks([features.path], columns=names, target_rows=_CHUNK_ROWS):
        span = (int(today["bucket"][0]), int(today["bucket"][-1]))
        codes, lots = today["epc_code"].unique(), lots_of(today).unique()
        history, others, own_scans = [], [], [today.select(names)]
        for one in days:
            scans = lake.read(one.path, between={"bucket": span})
            own = scans["epc_code"].is_in(codes.implode())
            history.append(scans.filter(own))
            rest = scans.filter(~own).select(_BESIDE)
            others.append(rest.filter(lots_of(rest).is_in(lots.implode())))
        if any(part.height for part in history):
            own_scans.insert(0, featured(in_order(pl.concat(history))))
        beside = None
        if any(part.height for part in others):
            known = featured(bounded(in_order(pl.concat(others)), _CHUNK_ROWS))
            beside = known.with_columns(entity="epc_code")
        yield in_order(pl.concat(own_scans)), beside


def bounded(scans: pl.DataFrame, most: int) -> pl.DataFrame:
    """Return at most so many scans, the first of those in order, of whole codes."""
    if scans.height <= most:
        return scans
    return scans.head(most).filter(pl.col("epc_code") != scans["epc_code"][most])


def for_lake(models: BarcodeModels, scored: pl.DataFrame) -> pl.DataFrame:
    """Return the columns that are kept, with what the reference knows about the places."""
    names = models.rules.reference.locations.select("location_id", place_name="scan_location")
    placed = models.rules.reference.place_features(scored).join(
        names, left_on="place", right_on="location_id", how="left", maintain_order="left"
    )
    words = pl.col("ml_explanation")
    return placed.with_columns(
        pl.when(words != "").then(words).alias("explanation"),
        *(pl.col(f"{kind}_score").alias(column) for kind, column in RULE_COLUMNS.items()),
    ).select(pl.col(name).cast(kind) for name, kind in SCORED.schema.items())
