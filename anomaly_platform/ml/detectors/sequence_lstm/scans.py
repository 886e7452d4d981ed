"""Scans of goods as sequences of events: which fields the model reads, and how they are coded.

Here belongs the step from a scan frame to `EventSequences`: one sequence per EPC, in order of
(event_time, event_id). The model itself knows nothing of scans.

A scan is judged by its place, its event type, the hour of the day, and the time since the scan
before. Place, event and elapsed time are predicted from the sequence so far and the product, which
is known beforehand (it is part of the code). The hour is judged by what that place does at which
hours. Weekday and business step are read, not predicted: the place implies the step.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np
import polars as pl

from anomaly_platform.ml.arrays import AnyArray, Bools, Floats, Ints, SmallInts
from anomaly_platform.ml.columns import coded, microseconds, runs
from anomaly_platform.ml.detectors.sequence_lstm.events import (
    EventSequences,
    SequenceSpec,
    Vocabulary,
)
from anomaly_platform.ml.features.scans.words import UNKNOWN as NO_DIRECTION
from anomaly_platform.ml.features.scans.words import read_event_type

SCAN_SPEC = SequenceSpec(
    targets=("place", "event", "hour"),
    context=("product",),
    inputs=("weekday", "step"),
    habits={
        "place": ("last place", "product", "last event"),
        "event": ("place", "last event"),
        "hour": ("event", "place"),
    },
    habitual=("hour",),
)
SCAN_COLUMNS = ("epc_code", "event_id", "event_time", "place", "event", "business_step")
UNITS_PER_LOT = 12
"""Units of one lot that are learned from, drawn by the seed."""
REREAD = timedelta(minutes=1)
SHIPMENT_GAP = timedelta(minutes=10)
"""Scans of one lot at one place that lie closer together than this are of one shipment."""
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
        One sequence per EPC without its doubtful scans; after those one per doubtful scan, which
        ends with it, and one per scan that follows a doubtful one.
    rows
        (n,) the row of the frame that each event was; −1 for events that are there to be read
        only, as the history of another.
    second
        (n,) the row that each event is a second opinion about; −1 for all others. A scan after a
        doubtful one is also judged as if the doubtful one were right.
    trusted
        How many of the sequences hold no doubtful scan; the first ones.
    """

    sequences: EventSequences
    rows: Ints
    second: Ints
    trusted: int

    def to_frame_order(self, values: AnyArray, height: int) -> AnyArray:
        """Put one value (or row of values) per event into the order of a frame.

        Of two opinions the lower values count. Rows that are no events (a second reading of the
        same scan) get zeros.
        """
        out = np.zeros((height, *values.shape[1:]), dtype=values.dtype)
        first, again = self.rows >= 0, self.second >= 0
        out[self.rows[first]] = values[first]
        out[self.second[again]] = np.minimum(out[self.second[again]], values[again])
        return out

    @property
    def training(self) -> EventSequences:
        """The sequences to learn from: those without doubtful scans."""
        return self.sequences.take(np.arange(self.trusted))


def hold_out_lots(
    encoded: EncodedScans, share: float, seed: int
) -> tuple[EventSequences, EventSequences, EventSequences]:
    """Split sequences lot by lot into a part to learn from, one to stop by, and the rest.

    Units of a lot travel together: a unit whose lot was learned is no test of anything, and
    hundreds of them teach little more than a few. At most `UNITS_PER_LOT` of each are taken; the
    rest are further units of the lots to learn from, for counting.
    """
    sequences = encoded.training
    lots, lot = np.unique(sequences.group_of_sequence(), return_inverse=True)
    if len(lots) < 2:
        raise ValueError("at least two lots are needed to hold one out")
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(lots))
    held = np.isin(lot, order[: min(len(lots) - 1, max(1, round(share * len(lots))))])
    shuffled = rng.permutation(len(lot))
    by_lot = shuffled[np.argsort(lot[shuffled], kind="stable")]
    nth = np.arange(len(lot)) - np.searchsorted(lot[by_lot], lot[by_lot])
    few = np.zeros(len(lot), dtype=bool)
    few[by_lot[nth < UNITS_PER_LOT]] = True
    return (
        sequences.take(np.flatnonzero(few & ~held)),
        sequences.take(np.flatnonzero(few & held)),
        sequences.take(np.flatnonzero(~few & ~held)),
    )


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
    doubtful: Bools | None = None,
    *,
    count: bool = False,
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
    count
        Whether habits will be counted from these scans: says how much each is worth as one.
    """
    missing = [name for name in SCAN_COLUMNS if name not in scans.columns]
    if missing:
        raise ValueError(f"scans lack {', '.join(missing)}")
    if scans["epc_code"].null_count() or scans["event_time"].null_count():
        raise ValueError("every scan needs an epc_code and an event_time")
    wrong = np.zeros(scans.height, dtype=bool) if doubtful is None else doubtful
    events = _events_of(scans, vocabularies, wrong)
    doubts, begins = events.doubtful, _begins(events.epc)
    alone = _with_history(begins, doubts, np.flatnonzero(doubts), believe=False)
    after = _after_doubt(begins, doubts)
    again = _with_history(begins, doubts, after, believe=True)
    trusted = np.flatnonzero(~doubts)
    lengths = np.diff(_begins(events.epc[trusted]))
    parts = [*alone, *again]
    chosen = np.concatenate([trusted, *parts])
    ends = np.cumsum([*lengths, *(len(part) for part in parts)])
    offsets = np.concatenate(([0], ends)).astype(np.int64)
    rows, second = np.full(len(chosen), -1), np.full(len(chosen), -1)
    rows[: len(trusted)] = events.rows[trusted]
    last = offsets[1 + len(lengths) :] - 1
    rows[last[: len(alone)]] = events.rows[doubts]
    second[last[len(alone) :]] = events.rows[after]
    hours = np.diff(events.times[chosen], prepend=0) / 3.6e9
    hours[offsets[:-1]] = 0.0
    sequences = EventSequences(
        codes=events.codes[chosen],
        continuous=np.zeros((len(chosen), 0), dtype=np.float32),
        elapsed_hours=np.minimum(hours, LONGEST_ELAPSED_HOURS),
        offsets=offsets,
        weights=np.ones(len(offsets) - 1, dtype=np.float32),
        groups=events.lots[chosen[offsets[:-1]]],
        observations=observations(events.frame)[chosen] if count else None,
    )
    return EncodedScans(sequences, rows, second, trusted=len(lengths))


@dataclass(frozen=True)
class _Events:
    """Scans by code, time and id, without second readings.

    frame (n rows): `epc_code`, `event_time`, `lot`, and the fields; rows (n,): where each was in
    the frame that was given; epc (n,): ascending number of its code; times (n,): microseconds;
    doubtful (n,); lots (n,): number of its lot; codes (n, fields): as in the vocabularies.
    """

    frame: pl.DataFrame
    rows: Ints
    epc: Ints
    times: Ints
    doubtful: Bools
    lots: Ints
    codes: SmallInts


def _events_of(
    scans: pl.DataFrame, vocabularies: Mapping[str, Vocabulary], doubtful: Bools
) -> _Events:
    frame = (
        scans.select(*_fields(scans), "epc_code", "event_id", "event_time", lot=_lot())
        .hstack([pl.Series("row", np.arange(scans.height))])
        .sort("epc_code", "event_time", "event_id")
    )
    rows, epc, times = frame["row"].to_numpy(), runs(frame["epc_code"]), frame["event_time"]
    words = {name: coded(frame[name]) for name in (*SCAN_SPEC.categorical, "lot")}
    # A null finds the code behind the last word's.
    codes = [
        vocabularies[name].encode([*words[name][0], None])[words[name][1]]
        for name in SCAN_SPEC.categorical
    ]
    events = _Events(
        frame=frame,
        rows=rows,
        epc=epc,
        times=microseconds(times),
        doubtful=doubtful[rows],
        lots=words["lot"][1].astype(np.int64),
        codes=np.stack(codes, axis=1),
    )
    again = _reread(events, words["place"][1], words["event"][1])
    return _without(events, again & ~events.doubtful)


def _reread(events: _Events, place: SmallInts, event: SmallInts) -> Bools:
    """(n,) scans that read again what was read within a minute, as far as both rows say."""
    again = np.zeros(len(events.epc), dtype=bool)
    again[1:] = (
        (events.epc[1:] == events.epc[:-1])
        & _same(place)
        & _same(event)
        & (np.diff(events.times) < REREAD // timedelta(microseconds=1))
    )
    return again


def _same(codes: SmallInts) -> Bools:
    """(n - 1,) whether a field is that of the row before, as far as both rows say."""
    here, before = codes[1:], codes[:-1]
    return np.asarray((here == before) | (here < 0) | (before < 0))


def _without(events: _Events, dropped: Bools) -> _Events:
    if not dropped.any():
        return events
    kept = np.flatnonzero(~dropped)
    return _Events(**{name: part[kept] for name, part in vars(events).items()})


def observations(scans: pl.DataFrame) -> Floats:
    """How much each scan counts as an observation of what usually happens, in (0, 1].

    What arrives on one lorry was decided once, and what is sold is decided unit by unit. Units of
    a lot that do the same at the same place, within minutes of each other, are a shipment, and
    count 1 together; a smaller shipment than is usual for that event counts less, in proportion,
    so that a unit that goes astray alone makes no habit where whole pallets go.

    Parameters
    ----------
    scans
        (n rows) with `lot`, `place`, `event` and `event_time`; in any order.
    """
    keys = ["lot", "place", "event"]
    rows = (
        scans.select(*keys, "event_time")
        .with_row_index("row")
        .sort(*keys, "event_time", nulls_last=True)
    )
    begins = pl.any_horizontal(pl.col(key).ne_missing(pl.col(key).shift(1)) for key in keys)
    gap = pl.col("event_time").diff() > SHIPMENT_GAP
    sizes = (
        rows.with_columns(shipment=(begins | gap.fill_null(value=True)).cum_sum())
        .with_columns(size=pl.len().over("shipment"))
        .with_columns(usual=pl.col("size").median().over("event"))
        .sort("row")
    )
    return np.asarray(1.0 / sizes.select(pl.max_horizontal("size", "usual")).to_series().to_numpy())


def _begins(epc: Ints) -> Ints:
    """(EPCs + 1,) where each EPC's rows begin, and the end."""
    if not len(epc):
        return np.zeros(1, dtype=np.int64)
    return np.concatenate(([0], np.flatnonzero(np.diff(epc)) + 1, [len(epc)]))


def _after_doubt(begins: Ints, doubtful: Bools) -> Ints:
    """Rows that are believed and directly follow a doubtful row of the same EPC."""
    follows = ~doubtful[1:] & doubtful[:-1]
    rows = np.flatnonzero(follows) + 1
    return rows[~np.isin(rows, begins)]


def _with_history(begins: Ints, doubtful: Bools, rows: Ints, *, believe: bool) -> list[Ints]:
    """Each row after its history: all of it, or without what is doubtful."""
    parts = []
    for row in rows.tolist():
        begin = int(begins[np.searchsorted(begins, row, side="right") - 1])
        history = np.arange(begin, row)
        if not believe:
            history = history[~doubtful[begin:row]]
        parts.append(np.append(history[-LONGEST_HISTORY:], row))
    return parts


def lots_of(scans: pl.DataFrame) -> pl.Series:
    """Return the lot of each scan: what the codes of its units have in common."""
    return scans.select(_lot()).to_series()


def _lot() -> pl.Expr:
    """Company, product and lot; of a malformed code all but its last two parts."""
    return pl.col("epc_code").str.replace(r"(\.[^.]*){0,2}$", "")


def _fields(scans: pl.DataFrame) -> tuple[pl.Expr, ...]:
    """Columns of the fields; null where a scan does not say, or a word says nothing."""
    words = [word for word in scans["event"].unique() if word is not None]
    silent = [word for word in words if read_event_type(word)[1] == NO_DIRECTION]
    event = pl.col("event")
    return (pl.when(~event.is_in(silent)).then(event) if silent else event, *_PLAIN_FIELDS)


_PARTS: Final = pl.col("epc_code").str.split(".")
_PLAIN_FIELDS: Final = (
    pl.col("place"),
    (pl.col("event_time").dt.weekday() - 1).cast(pl.String).alias("weekday"),
    pl.col("event_time").dt.hour().cast(pl.String).str.zfill(2).alias("hour"),
    pl.when(_PARTS.list.len() == 6).then(_PARTS.list.slice(1, 2).list.join(".")).alias("product"),
    pl.col("business_step").alias("step"),
)
"""The fields that do not depend on the frame; put together once, since that takes its time."""
