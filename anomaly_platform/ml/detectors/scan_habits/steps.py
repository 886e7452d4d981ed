"""Scans as steps: from where to where, after how long, of which product.

What belongs here: the one layout that all habits read. A step is a scan and the scan of the same
code right before it; both at one place are a stay, at two places a leg. A second reading is no
step, but what comes next is counted from it: among the newest scans it may be the only one. A
scan that broke a rule is judged but is nobody's past.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import polars as pl

from anomaly_platform.ml.arrays import Arrays, Bools, Floats, Ints
from anomaly_platform.ml.bundles.checking import checked
from anomaly_platform.ml.columns import FEW, coded, microseconds, runs
from anomaly_platform.ml.detectors.sequence_lstm.calibrated import doubtful
from anomaly_platform.ml.detectors.sequence_lstm.scans import REREAD, observations
from anomaly_platform.ml.features.scans.arrays import pack_texts, unpack_texts
from anomaly_platform.ml.features.scans.kernels import history_starts
from anomaly_platform.ml.features.scans.names import LOOKBACK_HOURS, MAX_HISTORY
from anomaly_platform.ml.features.scans.words import UNKNOWN, read_event_type

LONGEST_HOURS = float(LOOKBACK_HOURS)
LEAST_SHARE = 0.001
"""Share of all codes that a product has at least."""
MOST_PRODUCTS = 64
"""Of more products, those with the most codes have habits of their own; the others have none."""
FIELDS = ("place", "event", "product")
_CLOCK = ("day_of_week", "hour")
READ = ("epc_code", "event_time", "event_id", "place", "event", *_CLOCK)
"""Columns that steps are made of, beside the rules' scores."""
_PRODUCT = (
    pl.when(pl.col("epc_code").str.count_matches(".", literal=True) == 5)
    .then(pl.col("epc_code").str.extract(r"^[^.]*\.([^.]*\.[^.]*)\."))
    .fill_null("")
    .alias("product")
)


@dataclass(frozen=True)
class Words:
    """The places, event types and products that training saw, each sorted.

    past_hour: minutes by which the time zone lies off whole hours of UTC.
    """

    place: tuple[str, ...]
    event: tuple[str, ...]
    product: tuple[str, ...]
    past_hour: int = 0

    @classmethod
    def of(cls, scans: pl.DataFrame) -> Self:
        """Collect the words of training scans; event types that say nothing are left out.

        A product of a handful of codes is a misread one.
        """
        found = _fields(scans)
        place, event = (tuple(found[name].drop_nulls().unique().sort()) for name in FIELDS[:2])
        codes = found.group_by("product").agg(codes=pl.col("epc_code").n_unique())
        common = codes.filter(pl.col("codes") >= LEAST_SHARE * pl.col("codes").sum())
        product = common.sort(-pl.col("codes").cast(pl.Int64), "product")["product"]
        return cls(place, event, tuple(product.head(MOST_PRODUCTS).sort()), _past_hour(scans))

    def codes(self, name: str, column: pl.Series) -> Ints:
        """(n,) position of each word, −1 where it is null or was never seen."""
        known = {word: code for code, word in enumerate(getattr(self, name))}
        words, code = coded(column)
        return np.array([*(known.get(word, -1) for word in words), -1], dtype=np.int64)[code]

    def both(self, name: str, column: pl.Series) -> tuple[Ints, Ints]:
        """(n,) codes of the words, and (n,) codes of all that the column says.

        Both are −1 where it is null or a word that says nothing; the first also where it is new.
        """
        known = {word: code for code, word in enumerate(getattr(self, name))}
        texts, text = coded(column)
        silent = [name == "event" and read_event_type(word)[1] == UNKNOWN for word in texts]
        own = [
            -1 if quiet else known.get(word, -1) for word, quiet in zip(texts, silent, strict=True)
        ]
        said = np.where(np.array([*silent, True], dtype=bool), -1, np.arange(len(texts) + 1))
        return np.array([*own, -1], dtype=np.int64)[text], said[text]

    def to_arrays(self) -> Arrays:
        """Return the words as bytes and offsets, and the minutes."""
        packed = [pack_texts(f"words.{name}", getattr(self, name)) for name in FIELDS]
        minutes = {"past_hour": np.array([self.past_hour], dtype=np.int64)}
        return {**minutes, **{key: array for part in packed for key, array in part.items()}}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Read what `to_arrays` returned."""
        past = int(checked(arrays, "past_hour", (1,), kinds="i", low=0, high=59)[0])
        place, event, product = (tuple(unpack_texts(f"words.{n}", arrays)) for n in FIELDS)
        return cls(place, event, product, past)


@dataclass(frozen=True)
class Steps:
    """Steps by code, time and id.

    Attributes
    ----------
    rows
        (n,) row of the frame.
    begins
        (n,) whether its code has no scan in the 720 h before.
    believed
        (n,) whether later steps have it for a past.
    place, event, product, source, before
        (n,) codes: where and what; the place and event of the scan before. −1 for unknown, and
        where that broke a rule.
    hours
        (n,) since the scan before, less than 720; 0 where nothing is known of that.
    starts
        (n,) the step from which on, itself not counted, a step looks back on others: as far as
        the features of scans reach.
    hour_of_week
        (n,) from Monday 0:00 of the stream's time zone.
    """

    rows: Ints
    begins: Bools
    believed: Bools
    place: Ints
    event: Ints
    product: Ints
    source: Ints
    before: Ints
    hours: Floats
    starts: Ints
    hour_of_week: Floats

    @property
    def is_leg(self) -> Bools:
        """(n,) goods came from another known place."""
        return np.asarray((self.place >= 0) & (self.source >= 0) & (self.place != self.source))

    @property
    def is_stay(self) -> Bools:
        """(n,) goods were at this place before, and both words say something."""
        stayed = (self.place >= 0) & (self.place == self.source)
        return np.asarray(stayed & (self.event >= 0) & (self.before >= 0))

    def of_codes(self, kept: Bools) -> Self:
        """Return the steps that are `kept` (n,), which are all or none of each code."""
        cut = {name: array[kept] for name, array in vars(self).items()}
        return replace(self, **cut | {"starts": np.cumsum(kept)[cut["starts"]] - 1})


def steps_of(scans: pl.DataFrame, words: Words) -> Steps:
    """Lay out scan features, in any order; rules' scores are read where there are any."""
    order = _order(scans)
    times = microseconds(scans["event_time"])[order]
    epc = runs(scans["epc_code"][order])
    believed = ~doubtful(scans)[order]
    product = words.codes("product", _products(scans["epc_code"]))[order]
    place, place_text = (codes[order] for codes in words.both("place", scans["place"]))
    event, event_text = (codes[order] for codes in words.both("event", scans["event"]))
    again = np.zeros(len(epc), dtype=bool)
    again[1:] = (epc[1:] == epc[:-1]) & (np.diff(times) < REREAD.total_seconds() * 1e6)
    for code in (place_text, event_text):
        again[1:] &= (code[1:] == code[:-1]) | (code[1:] < 0) | (code[:-1] < 0)
    begins = np.ones(len(epc), dtype=bool)
    begins[1:] = (epc[1:] != epc[:-1]) | (np.diff(times) >= LONGEST_HOURS * 3.6e9)
    past = np.maximum(np.arange(len(epc)) - 1, 0)
    unknown = begins | ~believed[past]
    minutes = (times + words.past_hour * 60_000_000) % 3_600_000_000
    day, hour = (scans[name].to_numpy().astype(np.float64)[order] for name in _CLOCK)
    kept = np.flatnonzero(~(again & believed))
    return Steps(
        rows=order[kept],
        begins=begins[kept],
        believed=believed[kept],
        place=place[kept],
        event=event[kept],
        product=product[kept],
        source=np.where(unknown, -1, place[past])[kept],
        before=np.where(unknown, -1, event[past])[kept],
        hours=np.where(unknown, 0.0, (times - times[past]) / 3.6e9)[kept],
        starts=_starts(epc, times, kept),
        hour_of_week=(24.0 * day + hour + minutes / 3.6e9)[kept],
    )


def _order(scans: pl.DataFrame) -> Ints:
    """(n,) rows by code, time and id."""
    keys = ("epc_code", "event_time", "event_id")
    if scans.height > FEW:
        rows = scans.select(keys).with_row_index("row").sort(*keys)["row"]
        return rows.to_numpy().astype(np.int64)
    epc, event_id = (coded(scans[name])[1] for name in ("epc_code", "event_id"))
    return np.lexsort((event_id, microseconds(scans["event_time"]), epc))


def _products(codes: pl.Series) -> pl.Series:
    """(n,) company and product of each code, empty for a code of another scheme."""
    if len(codes) > FEW:
        return codes.to_frame().select(_PRODUCT).to_series()
    found = []
    for code in codes.to_list():
        parts = code.split(".")
        found.append(f"{parts[1]}.{parts[2]}" if len(parts) == 6 else "")
    return pl.Series(found, dtype=pl.String)


def _starts(epc: Ints, times: Ints, kept: Ints) -> Ints:
    """(len(kept),) last step up to the first scan that each step may look back on."""
    first = np.searchsorted(epc, epc).astype(np.int64)
    reach = int(LONGEST_HOURS * 3_600_000_000)
    starts = history_starts(times, first, reach, MAX_HISTORY)[kept]
    return np.asarray(np.searchsorted(kept, starts, side="right") - 1, dtype=np.int64)


def places_of(keys: Ints, wanted: Ints) -> Ints:
    """(n,) where each wanted key stands in sorted keys, or would; always a place that there is."""
    return np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)


def totals(group: Ints, weights: Floats, groups: int) -> Floats:
    """Return the (groups,) sums of the weights of each group."""
    return np.asarray(np.bincount(group, weights, groups), dtype=np.float64)


def shipment_shares(scans: pl.DataFrame, lots: pl.Series) -> Floats:
    """(rows,) how much each scan counts: what arrives on one lorry was decided once."""
    return observations(scans.with_columns(lot=lots))


def _past_hour(scans: pl.DataFrame) -> int:
    """Return the minutes off whole hours that leave the fewest offsets between local time and UTC.

    Frames name no time zone; summer time makes two offsets of any zone.
    """
    hour = scans["hour"].cast(pl.Int64).to_numpy()
    minutes = microseconds(scans["event_time"]) // 60_000_000
    return min(
        (0, 30, 45, 15), key=lambda past: len(np.unique((hour - (minutes + past) // 60) % 24))
    )


def _fields(scans: pl.DataFrame) -> pl.DataFrame:
    silent = [
        word for word in scans["event"].unique().drop_nulls() if read_event_type(word)[1] == UNKNOWN
    ]
    event = pl.col("event")
    return scans.select(
        *("epc_code", "event_id", "event_time", "place", "day_of_week", "hour"),
        pl.when(~event.is_in(silent)).then(event) if silent else event,
        _PRODUCT,
    )
