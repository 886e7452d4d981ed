"""Sorts scans by EPC and time, and codes them into the arrays that compiled loops read.

What belongs here: what features and rules both need of a frame before they part ways. Column
names are those of the canonical scan frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from anomaly_platform.ml.columns import coded, microseconds, runs
from anomaly_platform.ml.features.scans.codes import parts_of
from anomaly_platform.ml.features.scans.kernels import history_starts
from anomaly_platform.ml.features.scans.names import LOOKBACK_HOURS, MAX_HISTORY
from anomaly_platform.ml.features.scans.tiers import tier_of
from anomaly_platform.ml.features.scans.words import ORIGIN, read_event_type
from anomaly_platform.ml.frames import IntoDataFrame, to_polars

HOUR_US = 3_600_000_000
_NEEDED = {
    "entity": pl.String,
    "event_id": pl.String,
    "event_time": pl.Datetime,
    "location_id": pl.String,
    "business_step": pl.String,
    "event_type": pl.String,
}


@dataclass(frozen=True)
class ScanSequences:
    """The scans of a frame, EPC by EPC, in (event_time, event_id) order.

    Attributes
    ----------
    frame
        The rows, sorted.
    times
        (n,) microseconds since 1970.
    epc
        (n,) number of the EPC, ascending from 0.
    starts
        (n,) first row of each scan's history (see `definition`).
    places
        The distinct places of the frame; `place` (n,) are codes into it, −1 where missing.
    stages
        The distinct stages that event types name; `stage` (n,) are codes into it, −1 for none.
    direction
        (n,) which way the goods went, as in `words`.
    begins
        (n,) whether the words of a scan say that goods enter the chain there: at the factory, or
        by an event that says so.
    """

    frame: pl.DataFrame
    times: npt.NDArray[np.int64]
    epc: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    places: pl.Series
    place: npt.NDArray[np.int32]
    stages: tuple[str, ...]
    stage: npt.NDArray[np.int32]
    direction: npt.NDArray[np.int8]
    begins: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, scans: IntoDataFrame) -> ScanSequences:
        """Sort and code a canonical scan frame.

        Raises
        ------
        ValueError
            When a column is missing or of another type, or an entity, event id or time is null.
        """
        frame = _checked(to_polars(scans))
        times, epc = microseconds(frame["event_time"]), runs(frame["entity"])
        if not _in_order(frame, times, epc):
            frame = frame.sort("entity", "event_time", "event_id")
            times, epc = microseconds(frame["event_time"]), runs(frame["entity"])
        first = np.searchsorted(epc, epc).astype(np.int64)
        places, place = coded(frame["location_id"])
        words, word = coded(frame["event_type"])
        read = [read_event_type(text) for text in words]
        stages = tuple(sorted({stage for stage, _ in read if stage}))
        number = {stage: code for code, stage in enumerate(stages)}
        # The entry behind the last is found by code −1: a missing event type.
        stage_of = np.array([*(number.get(stage, -1) for stage, _ in read), -1], dtype=np.int32)
        direction_of = np.array([*(direction for _, direction in read), 0], dtype=np.int8)
        return cls(
            frame=frame,
            times=times,
            epc=epc,
            starts=history_starts(times, first, LOOKBACK_HOURS * HOUR_US, MAX_HISTORY),
            places=pl.Series("location_id", places, dtype=pl.String),
            place=place,
            stages=stages,
            stage=stage_of[word],
            direction=direction_of[word],
            begins=_begins(frame, direction_of[word]),
        )

    def epc_parts(self, pattern: str) -> pl.DataFrame:
        """Take the distinct codes apart.

        Returns
        -------
        polars.DataFrame
            One row per code, in order of `epc`, as ``codes.parts_of`` returns them.
        """
        firsts = np.searchsorted(self.epc, np.arange(self.epc[-1] + 1 if len(self.epc) else 0))
        return parts_of(self.frame["entity"][firsts], pattern)


def _begins(frame: pl.DataFrame, direction: npt.NDArray[np.int8]) -> npt.NDArray[np.bool_]:
    """(n,) scans at the first tier by their business step; where it names none, by their event."""
    steps, step = coded(frame["business_step"])
    tiers = [tier_of(word) for word in steps]
    named = np.array([*(tier is not None for tier in tiers), False])[step]
    first = np.array([*(tier is not None and tier.level == 0 for tier in tiers), False])[step]
    return np.asarray(np.where(named, first, direction == ORIGIN))


def _checked(frame: pl.DataFrame) -> pl.DataFrame:
    found = frame.schema
    for name, dtype in _NEEDED.items():
        if name not in found:
            raise ValueError(f"a scan frame needs the column {name!r}, found {frame.columns}")
        if found[name] == pl.Null and dtype == pl.String:
            frame = frame.with_columns(pl.col(name).cast(pl.String))
        elif found[name] != dtype:
            raise ValueError(f"column {name!r} must be {dtype}, not {found[name]}")
    for name in ("entity", "event_id", "event_time"):
        if frame[name].null_count():
            raise ValueError(f"column {name!r} must not have nulls")
    return frame


def _in_order(
    frame: pl.DataFrame, times: npt.NDArray[np.int64], epc: npt.NDArray[np.int64]
) -> bool:
    """Whether EPCs are contiguous and each is sorted by time and id; sorted lake files are."""
    # Runs are numbered from 0, so the last one counts them.
    if len(epc) and epc[-1] + 1 != frame["entity"].n_unique():
        return False
    gap = np.where(epc[1:] == epc[:-1], np.diff(times), 1)
    tied = np.flatnonzero(gap == 0)
    ids = frame["event_id"]
    return bool((gap >= 0).all()) and bool((ids[tied + 1] >= ids[tied]).all())
