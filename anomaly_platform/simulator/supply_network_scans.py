"""From journeys to scans: the rows that the readers of the network would send.

What belongs here: codes, words, ids, and what readers get wrong without anything being wrong with
the goods (fields left out, old readers' plain words, the same tag read twice in a row).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl

from anomaly_platform.ml.arrays import Bools, Floats, Ints
from anomaly_platform.simulator import supply_network_journeys as at
from anomaly_platform.simulator.supply_network_anomalies import KINDS, Book
from anomaly_platform.simulator.supply_network_journeys import SLOTS, Clock, Journeys, Traffic
from anomaly_platform.simulator.supply_network_violations import UNKNOWN_PLACES
from anomaly_platform.simulator.supply_network_world import BUSINESS_STEPS, RETURNS_STEP

_WORDS = (
    *("Aggregation", "WMS_Inbound", "WMS_Outbound", "HUB_Inbound", "HUB_Outbound"),
    *("W_Stock_Inbound", "W_Stock_Outbound", "R_Stock_Inbound", "R_Stock_Outbound", "POS_Sell"),
    *("W_Stock_Inbound", "W_Stock_Outbound", "HUB_Inbound"),
    *("Inbound", "Outbound", "Inspection", "Scan"),
)
_INBOUND, _OUTBOUND, _INSPECTION = SLOTS, SLOTS + 1, SLOTS + 2
_SLOT_TIER = np.array([0, 1, 1, 2, 2, 3, 3, 4, 4, 4, 3, 3, 2])
_MISSING_SHARE = 0.003
_UNKNOWN_WORD_SHARE = 0.001
_REREAD_SHARE = 0.002


@dataclass(frozen=True)
class _Rows:
    unit: Ints
    slot: Ints
    place: Ints
    second: Ints
    kind: Ints
    magnitude: Floats
    rank: Ints  # among scans of one second: journey, extra, second reading

    def take(self, rows: Ints, **changed: Ints | Floats) -> _Rows:
        return _Rows(**{k: changed.get(k, v[rows]) for k, v in vars(self).items()})

    @staticmethod
    def together(parts: list[_Rows]) -> _Rows:
        return _Rows(**{k: np.concatenate([vars(p)[k] for p in parts]) for k in vars(parts[0])})


def scans_of(traffic: Traffic, book: Book, seed: int) -> pl.DataFrame:
    """All scans within the horizon, in order of (event_time, event_id), with `magnitude`.

    Returns
    -------
    pl.DataFrame
        The canonical scan frame plus `magnitude` (null for ordinary scans).
    """
    world, clock, rng = traffic.world, traffic.clock, traffic.rng
    journeys = traffic.journeys
    rows = _collect(journeys, book)
    again = np.flatnonzero((rng.random(len(rows.unit)) < _REREAD_SHARE) & (rows.kind == 0))
    later = rows.second[again] + rng.integers(1, 21, len(again))
    rows = _Rows.together([rows, rows.take(again, second=later, rank=np.full(len(again), 2))])
    inside = np.flatnonzero((rows.second >= 0) & (rows.second < book.horizon * 3600))
    order = np.lexsort((rows.rank[inside], rows.unit[inside], rows.second[inside]))
    rows = rows.take(inside[order])
    count = len(rows.unit)
    ordinary = rows.kind == 0

    word = rows.slot.copy()
    leaving = np.isin(rows.slot, (2, 4, 6, 8, 11))
    plain = world.plain_words[np.minimum(rows.place, len(world.tier) - 1)] & (rows.slot != at.SALE)
    plain &= rows.slot > 0
    word = np.where(plain, np.where(leaving, _OUTBOUND, _INBOUND), word)
    strange = ordinary & (rng.random(count) < _UNKNOWN_WORD_SHARE)
    word = np.where(strange, _INSPECTION + rng.integers(0, 2, count), word)
    going_back = rows.slot >= at.RETURN_W_IN
    going_back |= (rows.slot == at.R_OUT) & journeys.returned[rows.unit] & (rows.rank != 1)
    step = np.where(going_back, len(BUSINESS_STEPS), _SLOT_TIER[rows.slot])
    device = rows.place * 3 + rng.integers(0, 3, count)
    shift = (clock.of_day(rows.second / 3600.0) // 8).astype(np.int64)

    def missing() -> Bools:
        return np.asarray(ordinary & (rng.random(count) < _MISSING_SHARE))

    no_place = missing()
    ids = [*world.locations["location_id"], *(f"X{i:03d}" for i in range(UNKNOWN_PLACES))]
    names = [*world.locations["scan_location"], *[None] * UNKNOWN_PLACES]
    places = len(ids)
    kind_names = [None, *KINDS]
    start = pl.lit(clock.start).cast(pl.Datetime("us", "UTC"))
    return pl.select(
        event_id=pl.lit(f"{seed:05d}-")
        + pl.int_range(count, eager=True).cast(pl.String).str.zfill(10),
        epc_code=_gather(_codes(traffic, book, seed), rows.unit),
        location_id=_gather(pl.Series(ids), rows.place, no_place),
        business_step=_gather(pl.Series([*BUSINESS_STEPS, RETURNS_STEP]), step, missing()),
        event_type=_gather(pl.Series(_WORDS), word, missing()),
        event_time=start + pl.duration(seconds=pl.lit(pl.Series(rows.second))),
        file_id=pl.lit(f"F{seed:05d}-")
        + pl.Series(rows.second // 86400).cast(pl.String).str.zfill(4),
        scan_location=_gather(pl.Series(names), rows.place, no_place),
        operator_id=_gather(
            pl.Series([f"OP{p:02d}{s}" for p in range(places) for s in "ABC"]),
            rows.place * 3 + shift,
        ),
        device_id=_gather(pl.Series([f"R{i // 3:02d}-{i % 3}" for i in range(places * 3)]), device),
        product_name=_gather(world.products["product_name"], journeys.product[rows.unit]),
        label=pl.Series(~ordinary),
        anomaly_kind=_gather(pl.Series(kind_names, dtype=pl.String), rows.kind),
        magnitude=pl.when(pl.Series(~ordinary)).then(pl.Series(rows.magnitude)),
    ).with_columns(entity="epc_code")


def _gather(values: pl.Series, index: Ints, missing: Bools | None = None) -> pl.Series:
    taken = values.gather(pl.Series(index, dtype=pl.UInt32))
    return taken if missing is None else taken.scatter(np.flatnonzero(missing), None)


def _collect(journeys: Journeys, book: Book) -> _Rows:
    """Lay out the journeys' scans and the extra ones, in whole seconds."""
    unit, slot = np.nonzero((journeys.place >= 0) & book.seen(journeys.time))
    case_start = np.searchsorted(journeys.case, journeys.case)
    behind = 2 * (np.arange(len(journeys.case)) - case_start)  # one tag after the other

    own, at = (unit, slot), (journeys.place[unit, slot], journeys.time[unit, slot])
    scans = [(*own, *at, book.kind[unit, slot], book.magnitude[unit, slot]), *book.extra]
    return _Rows.together(
        [
            _Rows(
                unit=units,
                slot=slots,
                place=place,
                second=np.rint(hours * 3600.0).astype(np.int64) + behind[units],
                kind=kind,
                magnitude=magnitude,
                rank=np.full(len(units), min(number, 1)),
            )
            for number, (units, slots, place, hours, kind, magnitude) in enumerate(scans)
        ]
    )


def _codes(traffic: Traffic, book: Book, seed: int) -> pl.Series:
    """Write the EPC code of every unit."""
    world, clock, journeys = traffic.world, traffic.clock, traffic.journeys
    made = clock.start.date() - timedelta(days=1)
    days = np.floor(np.nan_to_num(journeys.time[:, 0]) / 24.0) - journeys.age_days
    lot_start = np.searchsorted(journeys.lot, journeys.lot)
    lot = (journeys.lot + seed * 7919) % 1_000_000
    serial = np.arange(len(lot)) - lot_start + 1
    products = world.products
    codes = pl.select(
        pl.concat_str(
            pl.lit("001"),
            _gather(products["company"], journeys.product),
            _gather(products["product"], journeys.product),
            pl.Series(lot).cast(pl.String).str.zfill(6),
            (pl.lit(made) + pl.duration(days=pl.lit(pl.Series(days.astype(np.int64))))).dt.strftime(
                "%Y%m%d"
            ),
            pl.Series(serial).cast(pl.String).str.zfill(9),
            separator=".",
        )
    ).to_series()
    forged = {
        unit: _forge(codes[unit], way, unit, clock, book.horizon)
        for way, group in book.forged.items()
        for unit in group.tolist()
    }
    return codes.scatter(list(forged), list(forged.values())) if forged else codes


def _forge(code: str, way: str, number: int, clock: Clock, horizon: float) -> str:
    header, company, product, lot, made, serial = code.split(".")
    if way == "structure":
        broken = (
            code[:-1],
            ".".join((header, company, product, lot, made)) + serial,
            ".".join((header, company, product[:3] + "O" + product[4:], lot, made, serial)),
        )
        return broken[number % 3]
    if way == "header":
        header = ("002", "101", "000")[number % 3]
    elif way == "company":  # a digit mistyped or made up
        digit = number % 7
        other = (int(company[digit]) + 1 + number % 9) % 10
        company = company[:digit] + str(other) + company[digit + 1 :]
    elif way == "date":
        made = made[:4] + ("1301", "0230", "0631", "0000")[number % 4]
    elif way == "future":
        end: date = (clock.start + timedelta(hours=horizon)).date()
        made = (end + timedelta(days=2 + number % 400)).strftime("%Y%m%d")
    else:
        age = timedelta(days=5 * 366 + 10 + number % 1500)
        made = (clock.start.date() - age).strftime("%Y%m%d")
    return ".".join((header, company, product, lot, made, serial))
