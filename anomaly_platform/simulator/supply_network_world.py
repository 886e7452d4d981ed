"""The world that simulated scans happen in: places, routes, opening hours, products, companies.

What belongs here: everything that stays the same from month to month, drawn once from the network
seed, and the reference files that describe it to the platform. What goods do in this world is in
`supply_network_journeys`, what goes wrong in `supply_network_anomalies`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from anomaly_platform.ml.arrays import Bools, Floats, Ints

FACTORY, WMS, HUB, WHOLESALER, RETAILER = range(5)
TIER_NAMES: Final = ("Factory", "WMS", "HUB", "Wholesaler", "Retailer")
TIER_HIERARCHY: Final = (0, 1, 1, 2, 3)
BUSINESS_STEPS: Final = ("Factory", "WMS", "Logistics_HUB", "W_Stock", "R_Stock")
RETURNS_STEP: Final = "Returns"
EVENT_PREFIXES: Final = ("Aggregation", "WMS", "HUB", "W_Stock", "R_Stock")

#: How many places each place delivers to, by the tiers of both.
_REACH: Final = {
    (FACTORY, WMS): 2,
    (WMS, HUB): 3,
    (HUB, WHOLESALER): 5,
    (HUB, RETAILER): 9,
    (WHOLESALER, RETAILER): 6,
}
FORWARD_MOVES: Final = tuple(_REACH)
RETURN_MOVES: Final = ((RETAILER, WHOLESALER), (RETAILER, HUB), (WHOLESALER, HUB), (HUB, WMS))
MIN_TRANSIT_HOURS: Final = 1.0
MAX_TRANSIT_HOURS: Final = 10.0

_CITIES: Final = {
    "Seoul": (37.5665, 126.9780),
    "Incheon": (37.4563, 126.7052),
    "Suwon": (37.2636, 127.0286),
    "Daejeon": (36.3504, 127.3845),
    "Cheongju": (36.6424, 127.4890),
    "Cheonan": (36.8151, 127.1139),
    "Jeonju": (35.8242, 127.1480),
    "Gwangju": (35.1595, 126.8526),
    "Daegu": (35.8714, 128.6014),
    "Busan": (35.1796, 129.0756),
    "Ulsan": (35.5384, 129.3114),
    "Changwon": (35.2280, 128.6811),
    "Pohang": (36.0190, 129.3435),
    "Gumi": (36.1195, 128.3446),
    "Gangneung": (37.7519, 128.8761),
    "Wonju": (37.3422, 127.9202),
    "Gunsan": (35.9677, 126.7366),
    "Jinju": (35.1800, 128.1076),
}
_FACTORY_CITIES: Final = ("Incheon", "Gumi", "Changwon", "Gunsan")
_HUB_CITIES: Final = ("Seoul", "Wonju", "Daejeon", "Daegu", "Busan", "Gwangju")
_WHOLESALE_CITIES: Final = (
    *("Seoul", "Incheon", "Suwon", "Cheonan", "Cheongju", "Jeonju", "Gwangju"),
    *("Daegu", "Busan", "Ulsan", "Pohang", "Gangneung", "Wonju", "Jinju"),
)
_STORES: Final = {
    "Seoul": 5,
    "Busan": 4,
    **dict.fromkeys(("Incheon", "Daegu", "Daejeon"), 3),
    **dict.fromkeys(("Gwangju", "Suwon", "Ulsan"), 2),
    **dict.fromkeys(("Changwon", "Cheongju", "Jeonju", "Gangneung", "Wonju", "Pohang"), 1),
}
_COMPANIES: Final = (
    ("8804823", "Hanbit Foods"),
    ("8801094", "Daon Dairy"),
    ("8809437", "Saero Cosmetics"),
    ("8806011", "Mirae Home"),
)
# name, company, cold chain (hub to store directly, short dwell), pace of every dwell
_PRODUCTS: Final = (
    ("Instant noodles", 0, False, 1.0),
    ("Canned tuna", 0, False, 1.6),
    ("Rice crackers", 0, False, 0.8),
    ("Fresh milk", 1, True, 0.35),
    ("Yoghurt", 1, True, 0.45),
    ("Butter", 1, True, 0.7),
    ("Face cream", 2, False, 1.9),
    ("Sun lotion", 2, False, 1.2),
    ("Perfume", 2, False, 2.4),
    ("Detergent", 3, False, 1.3),
    ("Paper towels", 3, False, 0.6),
    ("Candles", 3, False, 2.0),
)
_VEHICLES: Final = (("articulated truck", 90.0), ("delivery van", 110.0))


@dataclass(frozen=True)
class World:
    """A supply network of 58 places, as drawn from a network seed.

    Attributes
    ----------
    locations
        One row per place: `location_id, scan_location, latitude, longitude, location_type,
        location_hierarchy`.
    tier
        (n,) tier index of each place (`FACTORY` … `RETAILER`).
    distance_km
        (n, n) great-circle distances.
    route_hours, route_spread
        (n, n) median travel time in hours and its log-normal spread, for every pair of places:
        also a road that nobody uses has a length.
    route_weight
        (products, n, n) share of a product's goods at a place that goes to the next; zero where
        the route is not used.
    dwell_hours
        (products, n) median stay in hours.
    opens, closes
        (n,) opening hours (hour of the day; 0 and 24 for a place that never closes).
    closed_sunday, has_stockroom, plain_words
        (n,) habits of a place: closed on Sundays; scans goods from the stockroom to the shelf;
        its old readers say `Inbound` and `Outbound` and nothing else.
    season_phase
        (products,) month of the year in which most is sold.
    """

    locations: pl.DataFrame
    tier: Ints
    distance_km: Floats
    route_hours: Floats
    route_spread: Floats
    route_weight: Floats
    dwell_hours: Floats
    opens: Floats
    closes: Floats
    closed_sunday: Bools
    has_stockroom: Bools
    plain_words: Bools
    season_phase: Floats

    @property
    def products(self) -> pl.DataFrame:
        """Products with `company`, `product` (7 digits), `product_name` and `cold_chain`."""
        rows = [
            (_COMPANIES[company][0], f"{index:07d}", name, cold)
            for index, (name, company, cold, _) in enumerate(_PRODUCTS, 1)
        ]
        return _table(rows, "company", "product", "product_name", "cold_chain")

    @property
    def cold_chain(self) -> Bools:
        """(products,) whether a product skips the wholesalers."""
        return np.array([cold for _, _, cold, _ in _PRODUCTS])

    def write_reference(self, directory: Path) -> dict[str, Path]:
        """Write the reference CSVs that the rules and features need; return their paths by name."""
        steps = [
            *zip(EVENT_PREFIXES, TIER_NAMES, BUSINESS_STEPS, strict=True),
            ("POS", TIER_NAMES[RETAILER], BUSINESS_STEPS[RETAILER]),
        ]
        moves = [
            (TIER_NAMES[source], TIER_NAMES[goal], flow)
            for flow, pairs in (("forward", FORWARD_MOVES), ("return", RETURN_MOVES))
            for source, goal in pairs
        ]
        frames = {
            "locations": self.locations,
            "companies": _table(_COMPANIES, "company", "name"),
            "tier_moves": _table(moves, "from_type", "to_type", "flow"),
            "steps": _table(steps, "event_prefix", "location_type", "business_step"),
            "vehicles": _table(_VEHICLES, "vehicle", "max_speed_kmh"),
        }
        directory.mkdir(parents=True, exist_ok=True)
        paths = {name: directory / f"{name}.csv" for name in frames}
        for name, frame in frames.items():
            frame.write_csv(paths[name])
        return paths


def _table(rows: Sequence[tuple[object, ...]], *columns: str) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=columns, orient="row")


def build_world(network_seed: int = 7) -> World:
    """Draw the network.

    Parameters
    ----------
    network_seed
        Same seed, same places, routes, hours and habits, whatever journeys are simulated in it.
    """
    rng = np.random.default_rng([network_seed, 58])
    locations, tier = _places(rng)
    latitude, longitude = locations["latitude"].to_numpy(), locations["longitude"].to_numpy()
    distance = great_circle_km(latitude[:, None], longitude[:, None], latitude, longitude)
    n = len(tier)
    # A lorry waits for its load and its slot at the gate; on the road it does 62 km/h.
    waiting = 7.4 * rng.beta(0.4, 0.7, (n, n))
    route_hours = np.clip(0.8 + distance * 1.25 / 62.0 + waiting, 1.3, 8.8)
    opens, closes = np.zeros(n), np.full(n, 24.0)
    opens[tier == FACTORY], closes[tier == FACTORY] = 6.0, 22.0
    opens[tier == WMS], closes[tier == WMS] = 5.0, 23.0
    wholesale, retail = tier == WHOLESALER, tier == RETAILER
    for places, earliest in ((wholesale, 5.0), (retail, 7.0)):
        opens[places] = rng.choice(earliest + np.arange(3), places.sum())
        closes[places] = opens[places] + rng.choice([13.0, 14.0], places.sum())
    return World(
        locations=locations,
        tier=tier,
        distance_km=distance,
        route_hours=route_hours,
        route_spread=rng.uniform(0.06, 0.14, (n, n)),
        route_weight=_routes(rng, tier, distance),
        dwell_hours=_dwell(rng, tier),
        opens=opens,
        closes=closes,
        closed_sunday=wholesale | (tier == FACTORY),
        has_stockroom=retail & (rng.random(n) < 0.6),
        plain_words=(tier != FACTORY) & (rng.random(n) < 0.08),
        season_phase=rng.uniform(0.0, 12.0, len(_PRODUCTS)),
    )


def great_circle_km(
    lat_a: npt.ArrayLike, lon_a: npt.ArrayLike, lat_b: npt.ArrayLike, lon_b: npt.ArrayLike
) -> Floats:
    """Great-circle distance in kilometres between points in degrees (haversine)."""
    phi_a, phi_b = np.radians(lat_a), np.radians(lat_b)
    half_phi = (phi_b - phi_a) / 2.0
    half_lambda = (np.radians(lon_b) - np.radians(lon_a)) / 2.0
    chord = np.sin(half_phi) ** 2 + np.cos(phi_a) * np.cos(phi_b) * np.sin(half_lambda) ** 2
    return np.asarray(2.0 * 6371.0088 * np.arcsin(np.sqrt(np.clip(chord, 0.0, 1.0))))


def _places(rng: np.random.Generator) -> tuple[pl.DataFrame, Ints]:
    named = [(f"{city} factory", city, FACTORY) for city in _FACTORY_CITIES]
    named += [(f"{city} warehouse", city, WMS) for city in _FACTORY_CITIES]
    named += [(f"{city} hub", city, HUB) for city in _HUB_CITIES]
    named += [(f"{city} wholesale", city, WHOLESALER) for city in _WHOLESALE_CITIES]
    named += [
        (f"{city} store {i + 1}", city, RETAILER)
        for city, stores in _STORES.items()
        for i in range(stores)
    ]
    shift = rng.normal(0.0, 0.06, (len(named), 2))
    rows = [
        (
            *(f"L{i + 1:03d}", name),
            *(round(degrees, 5) for degrees in _CITIES[city] + shift[i]),
            *(TIER_NAMES[tier], TIER_HIERARCHY[tier]),
        )
        for i, (name, city, tier) in enumerate(named)
    ]
    columns = ("location_id", "scan_location", "latitude", "longitude")
    frame = _table(rows, *columns, "location_type", "location_hierarchy")
    return frame, np.array([tier for _, _, tier in named])


def _routes(rng: np.random.Generator, tier: Ints, distance: Floats) -> Floats:
    """Draw who delivers to whom: mostly near places, some far ones, unequal shares."""
    n = len(tier)
    share = np.zeros((n, n))
    for (source_tier, target_tier), count in _REACH.items():
        sources, targets = np.flatnonzero(tier == source_tier), np.flatnonzero(tier == target_tier)
        appeal = distance[np.ix_(sources, targets)] * rng.lognormal(
            0.0, 0.5, (len(sources), len(targets))
        )
        used = appeal.argsort(axis=1)[:, :count]
        for row, source in enumerate(sources):
            share[source, targets[used[row]]] = rng.dirichlet(np.full(count, 1.2))
        for column in np.flatnonzero(~np.isin(np.arange(len(targets)), used)):
            source = sources[appeal[:, column].argmin()]  # nobody is left without a supplier
            share[source, targets[column]] = 0.15
    weight = np.zeros((len(_PRODUCTS), n, n))
    for product, (_, _, cold, _) in enumerate(_PRODUCTS):
        sold_at = rng.random(n) < 0.6
        routes = share * sold_at[None, :]
        skipped = WHOLESALER if cold else RETAILER
        hubs = np.flatnonzero(tier == HUB)
        routes[np.ix_(hubs, np.flatnonzero(tier == skipped))] = 0.0
        for source in np.flatnonzero(tier != RETAILER):
            if routes[source].sum() == 0.0:
                allowed = share[source].copy()
                if tier[source] == HUB:
                    allowed[tier == skipped] = 0.0
                routes[source, allowed.argmax()] = 1.0
        total = routes.sum(axis=1, keepdims=True)
        weight[product] = np.divide(routes, total, out=np.zeros_like(routes), where=total > 0)
    return weight


def _dwell(rng: np.random.Generator, tier: Ints) -> Floats:
    median = np.array([0.0, 12.0, 6.0, 24.0, 30.0])[tier]
    place = rng.lognormal(0.0, 0.25, len(tier))
    pace = np.array([pace for _, _, _, pace in _PRODUCTS])
    habit = rng.lognormal(0.0, 0.2, (len(_PRODUCTS), len(tier)))
    return np.asarray(median[None, :] * place[None, :] * pace[:, None] * habit)
