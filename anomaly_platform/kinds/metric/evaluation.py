"""Measuring what the gates ask for: the challenger of a metric stream beside its champion.

What belongs here: reading the rows that both are measured on, a sample of the series where there
are thousands. The gates are in ``ml.training.gates``, what follows in ``verdicts``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from anomaly_platform.ingest.bucketing import bucket_of
from anomaly_platform.kinds.feedback import with_feedback
from anomaly_platform.kinds.metric.bundles import open_version
from anomaly_platform.kinds.parts import Parts
from anomaly_platform.kinds.training import Key
from anomaly_platform.registry.bundle_index import BundleRecord
from anomaly_platform.storage.lake.row_groups import BUCKETS
from anomaly_platform.streams import MetricStream

if TYPE_CHECKING:
    from anomaly_platform.ml.bundles.bundle import Bundle
    from anomaly_platform.ml.training.gates import Comparison, Decision

#: Buckets of entities are compared until so many series are, or there are no more.
ENOUGH_SERIES = 300


def judge(parts: Parts[MetricStream], record: BundleRecord, champion: int | None) -> Decision:
    """Decide about a challenger.

    Parameters
    ----------
    parts, stream
        Whose challenger.
    record
        The challenger as the index knows it.
    champion
        The version in service, if one is.
    """
    from anomaly_platform.ml.training.extending import extends, own_series
    from anomaly_platform.ml.training.gates import (
        comparison_gates,
        decide,
        quality_gates,
        schema_gate,
        trained_gate,
    )

    challenger = open_version(parts, record.version, verify="each")
    schema = challenger.manifest["feature_schema"]
    counts = record.metrics
    gates = [
        schema_gate(
            str(schema["version"]),
            parts.stream.features.version,
            equal=extends(challenger, parts.stream.features),
        ),
        trained_gate(int(counts["series_trained"]), int(counts["series_failed"])),
    ]
    own = own_series(challenger)
    compared, before = None, None
    if champion is not None and gates[0].passed:
        serving = open_version(parts, champion, verify="each")
        compared = _compare(parts, challenger, serving)
        before = _accuracy_before(own, serving)
    gates += quality_gates(
        _number(own["balanced_accuracy"].median()),
        _number(own["false_positive_rate"].mean()),
        None if compared is None else compared.champion_false_positive_rate,
        before=before,
    )
    if compared is not None:
        gates += comparison_gates(compared)
    return decide(gates, _praise(record, counts, compared))


def _praise(record: BundleRecord, counts: dict[str, Any], compared: Comparison | None) -> str:
    what = f"{counts['series_trained']} series trained, {counts['series_failed']} failed"
    if record.parent is not None:
        what += f", the others as in version {record.parent}"
    if compared is None or not compared.series:
        return what
    return (
        f"{what}; balanced accuracy {compared.challenger_accuracy:.3f}, "
        f"the version before has {compared.champion_accuracy:.3f} on the same rows"
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _accuracy_before(own: pl.DataFrame, serving: Bundle) -> float | None:
    """Return what the champion's own training measured on the series that were trained anew."""
    same = serving.series.join(own, on=["entity", "metric"], how="semi")
    return _number(same["balanced_accuracy"].median())


def _compare(parts: Parts[MetricStream], challenger: Bundle, serving: Bundle) -> Comparison | None:
    from anomaly_platform.ml.training.comparison import comparable, compare
    from anomaly_platform.ml.training.extending import extends

    if not extends(serving, parts.stream.features):
        return None
    keys, buckets = _sample(comparable(challenger, serving))
    return compare(challenger, serving, keys, _held_out_frames(parts, challenger, keys, buckets))


def _sample(keys: Collection[Key]) -> tuple[list[Key], list[int]]:
    """Return series of whole buckets, as many as are enough; equal fleets give equal samples."""
    table = pl.DataFrame(list(keys), schema=["entity", "metric"], orient="row").cast(pl.String)
    table = table.with_columns(bucket_of(table["entity"]))
    chosen: list[Key] = []
    buckets: list[int] = []
    for bucket in range(BUCKETS):
        here = table.filter(pl.col("bucket") == bucket)
        if here.is_empty():
            continue
        chosen += here.select("entity", "metric").rows()
        buckets.append(bucket)
        if len(chosen) >= ENOUGH_SERIES:
            break
    return chosen, buckets


def _held_out_frames(
    parts: Parts[MetricStream], challenger: Bundle, keys: list[Key], buckets: list[int]
) -> Iterator[pl.DataFrame]:
    """Yield the challenger's windows of some series, bucket by bucket."""
    windows = challenger.series.select("entity", "metric", "first_time", "last_time").join(
        pl.DataFrame(keys, schema={"entity": pl.String, "metric": pl.String}, orient="row"),
        on=["entity", "metric"],
    )
    first, last = windows["first_time"].min(), windows["last_time"].max()
    if not isinstance(first, datetime) or not isinstance(last, datetime):
        return
    days = parts.partitions.between(
        parts.stream.name, "features", f"{first:%Y-%m-%d}", f"{last:%Y-%m-%d}"
    )
    labels = parts.labels.between(parts.stream.name)
    for bucket in buckets:
        pieces = [parts.lake.read(day.path, between={"bucket": (bucket, bucket)}) for day in days]
        if pieces:
            rows = pl.concat(pieces).join(windows, on=["entity", "metric"])
            inside = pl.col("event_time").is_between(pl.col("first_time"), pl.col("last_time"))
            rows = with_feedback(rows.filter(inside), labels)
            yield rows.sort("entity", "metric", "event_time")
