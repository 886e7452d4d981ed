"""How long each route takes: robust statistics of log travel times, learned from trips.

A pallet's units travel in one lorry, so hundreds of scans may be one trip: trips are counted, not
scans. Routes with few trips borrow their spread from all routes, and the uncertainty of a median
of few trips widens it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from anomaly_platform.ml.arrays import Floats, Ints
from anomaly_platform.ml.features.scans.arrays import Arrays, pack_frame, unpack_frame

_QUARTER_HOUR_US = 900_000_000
_POOLED_TRIPS = 12.0  # weight of the common spread, in trips
_TELLING_TRIPS = 8
_FEW_PLACES = 16  # pairs are looked up one by one
_SMALLEST_SPREAD = 0.03  # 3 %: quarter hours and traffic lights
_SCHEMA = {
    "from_place": pl.String,
    "to_place": pl.String,
    "trips": pl.Int64,
    "log_hours": pl.Float64,
    "spread": pl.Float64,
}


@dataclass(frozen=True)
class RouteStatistics:
    """Statistics per route.

    Attributes
    ----------
    table
        `from_place, to_place, trips, log_hours` (median of log hours), `spread` (robust standard
        deviation of log hours, including the uncertainty of the median).
    """

    table: pl.DataFrame

    @classmethod
    def empty(cls) -> RouteStatistics:
        """Return statistics that know no route."""
        return cls(pl.DataFrame(schema=_SCHEMA))

    @classmethod
    def learn(cls, trips: pl.DataFrame, min_trips: int) -> RouteStatistics:
        """Learn from trips.

        Parameters
        ----------
        trips
            `from_place, to_place, left, arrived` (microseconds), one row per unit and trip.
        min_trips
            Routes with fewer distinct trips are left out.
        """
        distinct = (
            trips.filter(pl.col("arrived") > pl.col("left"))
            .with_columns(
                log_hours=((pl.col("arrived") - pl.col("left")) / 3.6e9).log(),
                leaving=pl.col("left") // _QUARTER_HOUR_US,
                arriving=pl.col("arrived") // _QUARTER_HOUR_US,
            )
            .group_by("from_place", "to_place", "leaving", "arriving")
            .agg(pl.col("log_hours").median())
        )
        deviation = (pl.col("log_hours") - pl.col("log_hours").median()).abs().median()
        routes = (
            distinct.group_by("from_place", "to_place")
            .agg(
                trips=pl.len().cast(pl.Int64),
                own=1.4826 * deviation,
                log_hours=pl.col("log_hours").median(),
            )
            .filter(pl.col("trips") >= min_trips)
            .sort("from_place", "to_place")
        )
        if routes.is_empty():
            return cls.empty()
        # The deviations of a handful of trips are too small on average.
        telling = routes.filter(pl.col("trips") >= _TELLING_TRIPS)
        telling = routes if telling.is_empty() else telling
        common = float(np.average(telling["own"].to_numpy(), weights=telling["trips"].to_numpy()))
        count = pl.col("trips")
        pooled = (count * pl.col("own") ** 2 + _POOLED_TRIPS * common**2) / (count + _POOLED_TRIPS)
        spread = (pooled.sqrt() * (1.0 + 1.57 / count).sqrt()).clip(_SMALLEST_SPREAD)
        return cls(routes.with_columns(spread=spread).select(list(_SCHEMA)))

    def lookup(self, places: pl.Series) -> tuple[Ints, Floats, Floats]:
        """Return the routes between the places of a frame, for the kernel.

        Returns
        -------
        tuple of arrays
            Sorted keys `from · len(places) + to`, median and spread of log hours.
        """
        if len(places) <= _FEW_PLACES:
            return self._lookup_few(places.to_list())
        number = pl.DataFrame({"place": places}).with_row_index("code")
        known = (
            self.table.join(number, left_on="from_place", right_on="place")
            .join(number, left_on="to_place", right_on="place", suffix="_to")
            .with_columns(
                key=pl.col("code").cast(pl.Int64) * len(places) + pl.col("code_to").cast(pl.Int64)
            )
            .sort("key")
        )
        return (
            known["key"].to_numpy().astype(np.int64),
            known["log_hours"].to_numpy().astype(np.float64),
            known["spread"].to_numpy().astype(np.float64),
        )

    def _lookup_few(self, places: list[str]) -> tuple[Ints, Floats, Floats]:
        known = self._by_places
        found = [
            (source * len(places) + target, *known[start, end])
            for source, start in enumerate(places)
            for target, end in enumerate(places)
            if (start, end) in known
        ]
        keys, log_hours, spread = zip(*found, strict=True) if found else ((), (), ())
        return (
            np.array(keys, dtype=np.int64),
            np.array(log_hours, dtype=np.float64),
            np.array(spread, dtype=np.float64),
        )

    @cached_property
    def _by_places(self) -> dict[tuple[str, str], tuple[float, float]]:
        """Median and spread of log hours by where from and where to."""
        columns = self.table.select("from_place", "to_place", "log_hours", "spread")
        return {(start, end): tuple(said) for start, end, *said in columns.iter_rows()}

    def to_arrays(self) -> Arrays:
        """Return the table as arrays for a bundle."""
        return pack_frame("rules.routes", self.table)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[np.generic]]) -> RouteStatistics:
        """Read the table back from a bundle's arrays.

        Raises
        ------
        ValueError
            When a column is missing, or a number is none.
        """
        table = unpack_frame("rules.routes", arrays).select(list(_SCHEMA)).cast(pl.Schema(_SCHEMA))
        numbers = table.select(pl.selectors.float())
        if not all(column.is_finite().all() for column in numbers.iter_columns()):
            raise ValueError("the bundle's routes have numbers that are none")
        return cls(table)
