"""Scans of goods as sequences of events: which fields the model reads, and how they are coded.

Here belongs the step from a scan frame to `EventSequences`: one sequence per EPC, in order of
(event_time, event_id). The model itself knows nothing of scans.

An event is predicted as place, event type, weekday, hour of the day, and the time since the scan
before, in this order: the weekday and the hour carry what opening hours allow at that place, the
elapsed time what is usual for that product there. The product is known beforehand (it is part of
the code); the business step is read, not predicted, since the place implies it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from anomaly_platform.ml.detectors.sequence_lstm_events import (
    RESERVED,
    UNKNOWN,
    EventSequences,
    SequenceSpec,
    Vocabulary,
)

SCAN_SPEC = SequenceSpec(
    targets=("place", "event", "weekday", "hour"),
    context=("product",),
    inputs=("step",),
    habits={
        "place": ("last place", "product", "last event"),
        "event": ("place", "last event"),
        "weekday": ("last weekday", "place", "event"),
        "hour": ("place", "event"),
    },
)
SCAN_COLUMNS = ("epc_code", "event_id", "event_time", "location_id", "business_step", "event_type")
MISSING = "(missing)"
LONGEST_ELAPSED_HOURS = 720.0
"""Longer gaps count as this much (requirement B1's cap)."""


@dataclass(frozen=True)
class EncodedScans:
    """Scans laid out by EPC: `rows` (n,) says which row of the frame each event was."""

    sequences: EventSequences
    rows: npt.NDArray[np.int64]
    epc_codes: tuple[str, ...]

    def to_frame_order(self, values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Put one value (or row of values) per event back into the order of the frame."""
        out = np.empty_like(values)
        out[self.rows] = values
        return out


def hold_out_lots(
    encoded: EncodedScans, share: float, seed: int
) -> tuple[EventSequences, EventSequences]:
    """Split sequences into a larger and a smaller part, lot by lot, neither empty.

    Units of a lot travel together: a unit whose lot was learned is no test of anything.
    """
    lots = np.array([code.rpartition(".")[0].rpartition(".")[0] for code in encoded.epc_codes])
    names, lot = np.unique(lots, return_inverse=True)
    if len(names) < 2:
        raise ValueError("at least two lots are needed to hold one out")
    order = np.random.default_rng(seed).permutation(len(names))
    held = np.isin(lot, order[: min(len(names) - 1, max(1, round(share * len(names))))])
    sequences = encoded.sequences
    return sequences.take(np.flatnonzero(~held)), sequences.take(np.flatnonzero(held))


def scan_vocabularies(scans: pl.DataFrame) -> dict[str, Vocabulary]:
    """Learn the values of every field from training scans."""
    fields = scans.select(_fields())
    vocabularies = {
        name: Vocabulary.learn(fields[name].unique().to_list()) for name in SCAN_SPEC.categorical
    }
    vocabularies["weekday"] = Vocabulary(tuple(str(day) for day in range(7)))
    vocabularies["hour"] = Vocabulary(tuple(f"{hour:02d}" for hour in range(24)))
    return vocabularies


def encode_scans(scans: pl.DataFrame, vocabularies: Mapping[str, Vocabulary]) -> EncodedScans:
    """Lay out scans as one sequence per EPC.

    Parameters
    ----------
    scans
        Canonical scan frame with at least `SCAN_COLUMNS`; `epc_code` and `event_time` not null,
        other nulls count as a value of their own. Any order.
    vocabularies
        As learned at training.
    """
    missing = [name for name in SCAN_COLUMNS if name not in scans.columns]
    if missing:
        raise ValueError(f"scans lack {', '.join(missing)}")
    if scans["epc_code"].null_count() or scans["event_time"].null_count():
        raise ValueError("every scan needs an epc_code and an event_time")
    ordered = (
        scans.select(*_fields(), "epc_code", "event_id", "event_time")
        .with_row_index("row")
        .sort("epc_code", "event_time", "event_id")
    )
    codes = np.empty((ordered.height, len(SCAN_SPEC.categorical)), dtype=np.int32)
    for column, name in enumerate(SCAN_SPEC.categorical):
        values = vocabularies[name].values
        known = dict(zip(values, range(RESERVED, RESERVED + len(values)), strict=True))
        codes[:, column] = ordered[name].replace_strict(
            known, default=UNKNOWN, return_dtype=pl.Int32
        )
    runs = ordered.select(pl.col("epc_code").rle()).unnest("epc_code")
    offsets = np.concatenate(([0], np.cumsum(runs["len"].to_numpy()))).astype(np.int64)
    time_us = ordered["event_time"].dt.timestamp("us").to_numpy()
    hours = np.zeros(ordered.height)
    hours[1:] = np.diff(time_us) / 3.6e9
    hours[offsets[:-1]] = 0.0
    sequences = EventSequences(
        codes=codes,
        continuous=np.zeros((ordered.height, 0), dtype=np.float32),
        elapsed_hours=np.minimum(hours, LONGEST_ELAPSED_HOURS),
        offsets=offsets,
        weights=np.ones(len(offsets) - 1, dtype=np.float32),
    )
    return EncodedScans(
        sequences=sequences,
        rows=ordered["row"].to_numpy().astype(np.int64),
        epc_codes=tuple(runs["value"].to_list()),
    )


def _fields() -> tuple[pl.Expr, ...]:
    parts = pl.col("epc_code").str.split(".")
    product = (
        pl.when(parts.list.len() == 6)
        .then(parts.list.slice(1, 2).list.join("."))
        .otherwise(pl.lit(MISSING))
    )
    time = pl.col("event_time")
    return (
        pl.col("location_id").fill_null(MISSING).alias("place"),
        pl.col("event_type").fill_null(MISSING).alias("event"),
        (time.dt.weekday() - 1).cast(pl.String).alias("weekday"),
        time.dt.hour().cast(pl.String).str.zfill(2).alias("hour"),
        product.alias("product"),
        pl.col("business_step").fill_null(MISSING).alias("step"),
    )
