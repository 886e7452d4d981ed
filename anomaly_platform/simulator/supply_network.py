"""Labelled scans of a simulated supply network.

What belongs here: the one call that runs a simulation. The network itself (58 places, products,
opening hours, routes) depends on `network_seed` only, the journeys in it on `seed`: two months
from two seeds are two months of the same network.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from anomaly_platform.simulator import supply_network_anomalies as subtle
from anomaly_platform.simulator import supply_network_violations as violations
from anomaly_platform.simulator.supply_network_anomalies import KINDS, Book
from anomaly_platform.simulator.supply_network_journeys import Clock, load_lots, proceed
from anomaly_platform.simulator.supply_network_scans import scans_of
from anomaly_platform.simulator.supply_network_world import FACTORY, World, build_world

_SCANS_PER_UNIT = 9.3
_WARM_UP_HOURS = 24.0 * 24


@dataclass(frozen=True)
class SupplyNetworkData:
    """What a simulation yields.

    Attributes
    ----------
    scans
        The canonical scan frame in order of (event_time, event_id), `label` and `anomaly_kind`
        filled: one of the five rule kinds, one of the five subtle kinds, or null.
    incidents
        One row per labelled scan: `event_id, epc_code, event_time, kind, magnitude`.
    world
        The network, which also writes the reference files.
    """

    scans: pl.DataFrame
    incidents: pl.DataFrame
    world: World

    def write(self, directory: Path) -> dict[str, Path]:
        """Write `scans.csv`, `labels.csv` and the reference files; return the paths by name."""
        paths = self.world.write_reference(directory / "reference")
        paths["scans"], paths["labels"] = directory / "scans.csv", directory / "labels.csv"
        self.scans.drop("entity", "label", "anomaly_kind").write_csv(
            paths["scans"], datetime_format="%Y-%m-%d %H:%M:%S"
        )
        self.incidents.write_csv(paths["labels"], datetime_format="%Y-%m-%d %H:%M:%S")
        return paths


def simulate_supply_network(
    *,
    events: int = 100_000,
    days: int = 30,
    seed: int = 0,
    network_seed: int = 7,
    start: datetime = datetime(2025, 3, 3, tzinfo=UTC),
    anomaly_rate: float = 0.05,
) -> SupplyNetworkData:
    """Simulate scans in a supply network of 58 places.

    Parameters
    ----------
    events
        About how many scans (within some per cent; seasons and Sundays move it).
    days
        Length of the simulated time. Goods are already under way when it begins.
    seed, network_seed
        Of the journeys, and of the network that they happen in.
    start
        First instant, UTC; the network's clock is UTC.
    anomaly_rate
        Share of the EPCs to which something happens, the ten kinds in equal parts.

    Raises
    ------
    ValueError
        For a naive start, fewer than one day or event, or a rate outside [0, 0.5].
    """
    if start.tzinfo is None:
        raise ValueError("start needs a time zone")
    if days < 1 or events < 1:
        raise ValueError(f"days and events must be at least 1, not {days} and {events}")
    if not 0.0 <= anomaly_rate <= 0.5:
        raise ValueError(f"anomaly_rate must lie in [0, 0.5], not {anomaly_rate}")
    world = build_world(network_seed)
    clock = Clock(start.astimezone(UTC))
    rng = np.random.default_rng([seed, network_seed, days])
    horizon = 24.0 * days
    units = round(events / _SCANS_PER_UNIT * (1.0 + _WARM_UP_HOURS / horizon))
    traffic = load_lots(world, clock, rng, units=units, first=-_WARM_UP_HOURS, last=horizon)
    book = Book.of(traffic.journeys, horizon)
    count = round(anomaly_rate * events / _SCANS_PER_UNIT / len(KINDS))
    imitators = subtle.imitate_other_products(traffic, book, count)
    proceed(traffic, np.arange(len(book.free)), FACTORY)
    subtle.blame_imitators(traffic, book, imitators)
    for happens in (
        subtle.divert_pallets,
        subtle.use_unused_routes,
        subtle.change_dwell,
        subtle.handle_after_hours,
        violations.forge_codes,
        violations.copy_codes,
        violations.misplace,
        violations.disorder,
        violations.jump,
    ):
        happens(traffic, book, count)
    scans = scans_of(traffic, book, seed)
    incidents = scans.filter("label").select(
        "event_id", "epc_code", "event_time", kind="anomaly_kind", magnitude="magnitude"
    )
    return SupplyNetworkData(scans.drop("magnitude"), incidents, world)
