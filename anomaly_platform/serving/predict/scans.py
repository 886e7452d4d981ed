"""Scores the scans of a request, with the scored scans of their codes as history.

Belongs here: look-back, chunks, and the detectors under their time limits. What a detector says is
in ``ml``, what the answer looks like in ``ml.scans.response``, and how scans come in and answers
go out in ``routes.scans``.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from anomaly_platform.ml.columns import coded, microseconds
from anomaly_platform.ml.scans.response import NO_COMPANIES, Silence
from anomaly_platform.ml.times import microseconds_of
from anomaly_platform.platform import Platform
from anomaly_platform.queries.scans import earlier_scans
from anomaly_platform.serving.champions.served import ServedScans
from anomaly_platform.storage.tables.quarantine import insert_online_rejects
from anomaly_platform.streams import ScanStream

if TYPE_CHECKING:
    from anomaly_platform.ml.features.scans.definition import ScanFeatureSet
    from anomaly_platform.ml.features.scans.online import ScanState
    from anomaly_platform.ml.features.scans.sequences import ScanSequences
    from anomaly_platform.ml.scans.scoring import BarcodeModels, Together

#: Scans that are judged together: as many as the detectors manage well within their limits.
CHUNK: Final = 5_000
#: Of the unusable scans of a request so many are kept: whoever may only ask fills no disk.
MOST_QUARANTINED: Final = 100


@dataclass(slots=True)
class Detection:
    """What became of a request besides its verdicts.

    Attributes
    ----------
    refused
        Scans that cannot be judged: row number, field and reason.
    duplicates
        Scans that repeat another one of the request.
    silence
        What did not take part, each with the reason.
    scans, anomalies
        Scans judged, and how many of them are anomalies.
    version
        Set of models that judged, None where the rules spoke alone.
    """

    refused: list[tuple[int, str, str]] = field(default_factory=list)
    duplicates: int = 0
    silence: Silence = field(default_factory=Silence)
    scans: int = 0
    anomalies: int = 0
    version: int | None = None


def judge_scans(
    platform: Platform,
    served: ServedScans,
    events: Sequence[Mapping[str, Any]],
    detection: Detection,
    *,
    now: dt.datetime,
    limits: Mapping[str, float] | None = None,
) -> Iterator[pl.DataFrame]:
    """Yield the valid scans of a request with their scores, chunk by chunk.

    Parameters
    ----------
    platform : Platform
        Reference data, and the scans of earlier days.
    served : ServedScans
        The set of models; the rules speak alone without one.
    events : sequence of mapping
        Scans by canonical field.
    detection : Detection
        Filled along the way.
    now : datetime
        The present.
    limits : mapping, optional
        Seconds that each detector has for a chunk; those of stream or settings by default.

    Yields
    ------
    polars.DataFrame
        As ``BarcodeModels.score`` returns them: by code in the order of their first appearance,
        then by time.
    """
    from anomaly_platform.ingest.online.scans import check_scans

    settings, stream = platform.settings, served.stream
    checked = check_scans(
        events,
        start=dt.datetime.combine(platform.start_of(stream), dt.time(), dt.UTC),
        now=now,
        future_allowance=settings.future_allowance,
        timezone=stream.timezone or settings.default_timezone,
    )
    detection.duplicates += checked.duplicates
    if checked.rejects.height:
        refused = checked.rejects.select("row_number", "field", "reason")
        detection.refused += list(refused.iter_rows())
        _quarantine(platform, stream, checked.rejects.head(MOST_QUARANTINED))
    models = served.models or rules_alone(platform, stream)
    detection.version = served.version
    silence = detection.silence
    silence.detectors |= too_little_data(platform, stream, models)
    if models.rules.reference.companies.is_empty():
        silence.rules["epcFake"] = NO_COMPANIES
    together = _together(platform, stream, models, checked.frame)
    newest = checked.frame.select("event_time").max().item()
    for scans in _chunks(checked.frame):
        features = _with_history(platform, stream, scans)
        judged = models.score(
            features,
            threshold=platform.threshold_of(stream),
            limits=limits or platform.time_limits_of(stream),
            together=together,
            left_out=silence.left_out,
            until=newest,
        )
        scored = _as_asked(judged[np.flatnonzero(~judged["is_lookback"].to_numpy())])
        detection.scans += scored.height
        detection.anomalies += int(scored["is_anomaly"].sum())
        yield scored


def rules_alone(platform: Platform, stream: ScanStream) -> BarcodeModels:
    """Return the rules with the reference data alone, for a stream without trained models."""
    folder = platform.reference_folder(stream)
    files = sorted(folder.glob("*")) if folder.is_dir() else []
    versions = tuple((file.name, file.stat().st_mtime_ns) for file in files)
    return _rules_of(folder, stream.features, versions)


@lru_cache(maxsize=4)
def _rules_of(
    folder: Path, features: ScanFeatureSet, _files: tuple[tuple[str, int], ...]
) -> BarcodeModels:
    from anomaly_platform.ml.features.scans.reference import ScanReference
    from anomaly_platform.ml.scans.scoring import BarcodeModels
    from anomaly_platform.ml.scans.warm_up import warm_up

    rules = BarcodeModels.of_rules(ScanReference.read(folder), features.code_pattern)
    return warm_up(rules, features)


def _chunks(scans: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Yield whole codes, about `CHUNK` scans at a time, in the order of their first appearance."""
    if scans.height <= CHUNK:
        if scans.height:
            yield scans
        return
    codes = scans.group_by("epc_code", maintain_order=True).len()
    chunk = (codes["len"].cum_sum() - codes["len"]) // CHUNK
    for group in codes.with_columns(chunk=chunk).partition_by("chunk", maintain_order=True):
        yield scans.join(group.select("epc_code"), on="epc_code", how="semi")


def _together(
    platform: Platform, stream: ScanStream, models: BarcodeModels, scans: pl.DataFrame
) -> Together:
    """Look at the places of a whole request, and where it knows few, at those of its look-back.

    A scan alone is so judged as within the whole history of its code.
    """
    from anomaly_platform.ml.scans.scoring import Together

    asked = Together.of(models, scans["location_id"])
    if asked == Together():
        return asked
    places = [scans["location_id"]]
    for part in _chunks(scans):
        known = look_back(platform, stream, part).values()
        visited = [scan[2] for state in known for scan in state.scans]
        places.append(pl.Series("location_id", visited, dtype=pl.String))
    with_history = Together.of(models, pl.concat(places))
    return Together(
        with_history.strange and asked.strange, with_history.unlearned and asked.unlearned
    )


def too_little_data(
    platform: Platform, stream: ScanStream, models: BarcodeModels
) -> dict[str, str]:
    """Say which learned detectors have too little data to speak, and how much is missing."""
    from anomaly_platform.ml.scans.learning import silent_detectors

    if models.fusion is not None:
        return silent_detectors(models)
    scans = int(platform.warehouse.series.extents(stream.name)["rows"].sum())
    least = stream.fewest_to_learn_from(platform.settings.min_training_samples)
    return silent_detectors(models, scans=scans, least=least)


def _with_history(platform: Platform, stream: ScanStream, scans: pl.DataFrame) -> ScanSequences:
    """Compute the features of scans and of what is known of their codes."""
    from anomaly_platform.ml.features.scans.online import with_history
    from anomaly_platform.ml.features.scans.sequences import ScanSequences

    together = with_history(look_back(platform, stream, scans), scans)
    codes = together.get_column_index("epc_code")
    together.replace_column(codes, together["entity"].alias("epc_code"))
    ordered = ScanSequences.of(together)
    return replace(ordered, frame=stream.features.of(ordered))


def _as_asked(scored: pl.DataFrame) -> pl.DataFrame:
    """Sort scans by code in the order of first appearance in the request, then by time."""
    rows = scored["row_number"].to_numpy()
    codes, code = coded(scored["epc_code"])
    first = np.full(len(codes), np.iinfo(np.int64).max)
    np.minimum.at(first, code, rows)
    return scored[np.lexsort((rows, microseconds(scored["event_time"]), first[code]))]


def look_back(platform: Platform, stream: ScanStream, scans: pl.DataFrame) -> dict[str, ScanState]:
    """Return what the scored days hold of the scans' codes before the last of these scans.

    As many scans as features look back on; none later than the request's own, so that a scan that
    is asked about again is judged as it was.
    """
    from anomaly_platform.ml.features.scans.names import LOOKBACK_HOURS, MAX_HISTORY
    from anomaly_platform.ml.features.scans.online import ScanState

    extent = scans.group_by("epc_code", maintain_order=True).agg(
        pl.col("event_time").min().alias("first"), pl.col("event_time").max().alias("last")
    )
    reach = dt.timedelta(hours=LOOKBACK_HOURS)
    with platform.warehouse.transactions.begin() as connection:
        rows = earlier_scans(
            connection,
            stream.name,
            [(code, first - reach, last) for code, first, last in extent.iter_rows()],
            limit=MAX_HISTORY,
        )
    found: dict[str, list[tuple[int, str, str | None, str | None, str | None]]] = {}
    asked = _natural_keys(scans) if rows else frozenset()
    for row in rows:
        micros = microseconds_of(row.event_time)
        rest = (row.location_id, row.business_step, row.event_type)
        if (row.epc_code, micros, *rest) not in asked:
            found.setdefault(row.epc_code, []).append((micros, row.event_id, *rest))
    return {code: ScanState(tuple(sorted(known))) for code, known in found.items()}


def _natural_keys(scans: pl.DataFrame) -> frozenset[tuple[Any, ...]]:
    columns = ("location_id", "business_step", "event_type")
    return frozenset(
        zip(
            scans["epc_code"],
            microseconds(scans["event_time"]).tolist(),
            *(scans[name] for name in columns),
            strict=True,
        )
    )


def _quarantine(platform: Platform, stream: ScanStream, rejects: pl.DataFrame) -> None:
    """Keep scans that cannot be judged; the same scan again changes nothing."""
    kept = rejects.with_columns(
        digest=pl.Series(
            [hashlib.sha256(text.encode()).hexdigest() for text in rejects["raw"]],
            dtype=pl.String,
        ),
    ).unique("digest", keep="first")
    with platform.warehouse.transactions.begin() as connection:
        insert_online_rejects(connection, kept, stream.name, source="api")
