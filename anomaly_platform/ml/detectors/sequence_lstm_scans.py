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
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from anomaly_platform.ml.detectors.sequence_lstm_events import (
    ABSENT,
    RESERVED,
    UNKNOWN,
    EventSequences,
    SequenceSpec,
    Vocabulary,
)
from anomaly_platform.ml.features.scans_words import UNKNOWN as NO_DIRECTION
from anomaly_platform.ml.features.scans_words import read_event_type

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
SCAN_COLUMNS = ("epc_code", "event_id", "event_time", "place", "event", "business_step")
REREAD = timedelta(minutes=1)
LONGEST_HISTORY = 63
"""Scans of an EPC that a doubtful one is judged by, as in the scan features' history."""
LONGEST_ELAPSED_HOURS = 720.0
"""Longer gaps count as this much (requirement B1's cap)."""


@dataclass(frozen=True)
class EncodedScans:
    """Scans laid out by EPC.

    Attributes
    ----------
    sequences
        One sequence per EPC, and after those one per doubtful scan, which ends with it.
    rows
        (n,) the row of the frame that each event was; −1 for the history of a doubtful scan,
        which is there to be read and is judged in its own place.
    epc_codes
        (sequences,) the code of each.
    trusted
        How many of the sequences hold no doubtful scan; the first ones.
    """

    sequences: EventSequences
    rows: npt.NDArray[np.int64]
    epc_codes: tuple[str, ...]
    trusted: int

    def to_frame_order(self, values: npt.NDArray[Any], height: int) -> npt.NDArray[Any]:
        """Put one value (or row of values) per event into the order of a frame.

        Rows that are no events (a second reading of the same scan) get zeros.
        """
        out = np.zeros((height, *values.shape[1:]), dtype=values.dtype)
        judged = self.rows >= 0
        out[self.rows[judged]] = values[judged]
        return out

    @property
    def training(self) -> EventSequences:
        """The sequences to learn from: those without doubtful scans."""
        return self.sequences.take(np.arange(self.trusted))


def hold_out_lots(
    encoded: EncodedScans, share: float, seed: int
) -> tuple[EventSequences, EventSequences]:
    """Split sequences into a larger and a smaller part, lot by lot, neither empty.

    Units of a lot travel together: a unit whose lot was learned is no test of anything.
    """
    lots = np.array([code.rpartition(".")[0].rpartition(".")[0] for code in encoded.epc_codes])
    names, lot = np.unique(lots[: encoded.trusted], return_inverse=True)
    if len(names) < 2:
        raise ValueError("at least two lots are needed to hold one out")
    order = np.random.default_rng(seed).permutation(len(names))
    held = np.isin(lot, order[: min(len(names) - 1, max(1, round(share * len(names))))])
    sequences = encoded.sequences
    return sequences.take(np.flatnonzero(~held)), sequences.take(np.flatnonzero(held))


def scan_vocabularies(scans: pl.DataFrame) -> dict[str, Vocabulary]:
    """Learn the values of every field from training scans."""
    fields = scans.select(_fields(scans))
    vocabularies = {
        name: Vocabulary.learn(fields[name].drop_nulls().unique().to_list())
        for name in SCAN_SPEC.categorical
    }
    vocabularies["weekday"] = Vocabulary(tuple(str(day) for day in range(7)))
    vocabularies["hour"] = Vocabulary(tuple(f"{hour:02d}" for hour in range(24)))
    return vocabularies


def encode_scans(
    scans: pl.DataFrame,
    vocabularies: Mapping[str, Vocabulary],
    doubtful: npt.NDArray[np.bool_] | None = None,
) -> EncodedScans:
    """Lay out scans as one sequence per EPC.

    A scan that is read again within a minute, at the same place with the same word, is one event.

    Parameters
    ----------
    scans
        Scan features with at least `SCAN_COLUMNS`; `epc_code` and `event_time` not null. Any
        order. What is missing is a value of its own, and never an anomaly by itself.
    vocabularies
        As learned at training.
    doubtful
        (rows,) scans that a rule found wrong: each is judged by what came before it, and then
        left out of the history of those that follow, so that one wrong scan is charged once.
    """
    missing = [name for name in SCAN_COLUMNS if name not in scans.columns]
    if missing:
        raise ValueError(f"scans lack {', '.join(missing)}")
    if scans["epc_code"].null_count() or scans["event_time"].null_count():
        raise ValueError("every scan needs an epc_code and an event_time")
    wrong = np.zeros(scans.height, dtype=bool) if doubtful is None else doubtful
    ordered = (
        scans.select(*_fields(scans), "epc_code", "event_id", "event_time")
        .with_row_index("row")
        .with_columns(doubtful=pl.Series(wrong))
        .sort("epc_code", "event_time", "event_id")
    )
    again = (
        (pl.col("epc_code") == pl.col("epc_code").shift(1))
        & pl.col("place").eq_missing(pl.col("place").shift(1))
        & pl.col("event").eq_missing(pl.col("event").shift(1))
        & (pl.col("event_time").diff() < REREAD)
    )
    ordered = ordered.filter(~again.fill_null(value=False) | pl.col("doubtful"))
    doubts = ordered["doubtful"].to_numpy()
    first = np.flatnonzero(~doubts)
    extra, bounds = _with_history(ordered["epc_code"], doubts)
    chosen = np.concatenate([first, extra])
    kept = ordered["epc_code"].gather(pl.Series(first, dtype=pl.UInt32))
    runs = kept.rle().struct.unnest()
    lengths = runs["len"].to_numpy().astype(np.int64)
    offsets = np.concatenate(([0], np.cumsum(lengths), len(first) + bounds)).astype(np.int64)
    rows = ordered["row"].to_numpy().astype(np.int64)[chosen]
    rows[len(first) :] = -1
    rows[offsets[1 + len(runs) :] - 1] = ordered["row"].to_numpy()[doubts]
    codes = np.empty((ordered.height, len(SCAN_SPEC.categorical)), dtype=np.int32)
    for column, name in enumerate(SCAN_SPEC.categorical):
        values = vocabularies[name].values
        known = dict(zip(values, range(RESERVED, RESERVED + len(values)), strict=True))
        coded = ordered[name].replace_strict(known, default=UNKNOWN, return_dtype=pl.Int32)
        codes[:, column] = coded.zip_with(ordered[name].is_not_null(), pl.Series([ABSENT]))
    hours = np.diff(ordered["event_time"].dt.timestamp("us").to_numpy()[chosen], prepend=0) / 3.6e9
    hours[offsets[:-1]] = 0.0
    sequences = EventSequences(
        codes=codes[chosen],
        continuous=np.zeros((len(chosen), 0), dtype=np.float32),
        elapsed_hours=np.minimum(hours, LONGEST_ELAPSED_HOURS),
        offsets=offsets,
        weights=np.ones(len(offsets) - 1, dtype=np.float32),
    )
    epcs = ordered["epc_code"].filter(pl.Series(doubts))
    return EncodedScans(sequences, rows, (*runs["value"], *epcs), trusted=len(runs))


def _with_history(
    epc: pl.Series, doubtful: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows of each doubtful scan after its believed history, and the ends of these sequences."""
    lengths = epc.rle().struct.field("len").to_numpy().astype(np.int64)
    begins = np.concatenate(([0], np.cumsum(lengths)))
    parts: list[npt.NDArray[np.int64]] = []
    for row in np.flatnonzero(doubtful):
        begin = begins[np.searchsorted(begins, row, side="right") - 1]
        history = begin + np.flatnonzero(~doubtful[begin:row])
        parts.append(np.append(history[-LONGEST_HISTORY:], row))
    if not parts:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    return np.concatenate(parts), np.cumsum([len(part) for part in parts])


def _fields(scans: pl.DataFrame) -> tuple[pl.Expr, ...]:
    """Columns of the fields; null where a scan does not say, or a word says nothing."""
    words = scans["event"].drop_nulls().unique().to_list()
    silent = [word for word in words if read_event_type(word)[1] == NO_DIRECTION]
    parts = pl.col("epc_code").str.split(".")
    time = pl.col("event_time")
    return (
        pl.col("place"),
        pl.when(~pl.col("event").is_in(silent)).then(pl.col("event")),
        (time.dt.weekday() - 1).cast(pl.String).alias("weekday"),
        time.dt.hour().cast(pl.String).str.zfill(2).alias("hour"),
        pl.when(parts.list.len() == 6).then(parts.list.slice(1, 2).list.join(".")).alias("product"),
        pl.col("business_step").alias("step"),
    )
