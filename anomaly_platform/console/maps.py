"""Places and the way between them, drawn from coordinates without any map server."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from anomaly_platform.queries.operation.journeys import JourneyScan

WIDTH: Final = 640
HEIGHT: Final = 420
_MARGIN: Final = 40.0
#: Degrees that a map shows at least, so that one town is not blown up.
_LEAST: Final = 0.05
#: Of the names: how long one may be, and how far apart they stand.
_LABEL_WIDTH: Final = 190.0
_LINE: Final = 16.0


@dataclass(frozen=True, slots=True)
class Stop:
    """A place on the map.

    Attributes
    ----------
    label_y : float
        Where its name stands, clear of the others'.
    numbers : tuple of int
        Which scans were there, from 1 on.
    flagged : bool
        Whether one of them is an anomaly.
    leftwards : bool
        Whether its name stands on its left.
    """

    x: float
    y: float
    label_y: float
    name: str
    numbers: tuple[int, ...]
    flagged: bool
    leftwards: bool


@dataclass(frozen=True, slots=True)
class Map:
    """Stops, and the ways between them: start, end, and whether the end is an anomaly."""

    stops: Sequence[Stop]
    ways: Sequence[tuple[float, float, float, float, bool]]


def map_of(scans: Sequence[JourneyScan]) -> Map | None:
    """Return the map of a journey; None where fewer than two places have coordinates.

    Parameters
    ----------
    scans : sequence of JourneyScan
        In the order of time.
    """
    located = [
        (number, scan, scan.longitude, scan.latitude)
        for number, scan in enumerate(scans, start=1)
        if scan.longitude is not None and scan.latitude is not None
    ]
    if len({(longitude, latitude) for _, _, longitude, latitude in located}) < 2:
        return None
    latitudes = [latitude for *_, latitude in located]
    middle = (min(latitudes) + max(latitudes)) / 2
    # Degrees of longitude are shorter the farther from the equator.
    narrow = max(0.05, math.cos(math.radians(middle)))
    at = [(longitude * narrow, -latitude) for _, _, longitude, latitude in located]
    left, top = min(x for x, _ in at), min(y for _, y in at)
    wide = max(_LEAST, max(x for x, _ in at) - left)
    high = max(_LEAST, max(y for _, y in at) - top)
    scale = min((WIDTH - 2 * _MARGIN) / wide, (HEIGHT - 2 * _MARGIN) / high)
    across, down = (WIDTH - wide * scale) / 2, (HEIGHT - high * scale) / 2
    drawn = [(across + (x - left) * scale, down + (y - top) * scale) for x, y in at]
    by_place: dict[tuple[float, float], list[tuple[int, JourneyScan]]] = {}
    for place, (number, scan, *_) in zip(drawn, located, strict=True):
        by_place.setdefault(place, []).append((number, scan))
    stops: list[Stop] = []
    for (x, y), there in sorted(by_place.items(), key=lambda one: one[0][1]):
        near = [one.label_y for one in stops if abs(one.x - x) < _LABEL_WIDTH]
        stops.append(
            Stop(
                x,
                y,
                max([y, *(label + _LINE for label in near if label + _LINE > y)]),
                there[0][1].place_name or there[0][1].place or "unknown",
                tuple(number for number, _ in there),
                any(scan.is_anomaly for _, scan in there),
                x > WIDTH * 0.7,
            )
        )
    ways = [
        (*start, *end, located[n + 1][1].is_anomaly)
        for n, (start, end) in enumerate(pairwise(drawn))
        if start != end
    ]
    return Map(stops, ways)
