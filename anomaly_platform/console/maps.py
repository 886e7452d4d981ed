"""Places and the way between them, drawn from coordinates without any map server."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from anomaly_platform.queries.operation.journeys import JourneyScan

WIDTH: Final = 640
HEIGHT: Final = 420
_MARGIN: Final = 40.0
#: Degrees that a map shows at least, so that one town is not blown up.
_LEAST: Final = 0.05
_RADIUS: Final = 9.0
#: Of the names: letters at most, how wide one is about, how high a line is, and how far from its
#: place a name may stand, in lines.
_LETTERS, _LETTER, _LINE, _FARTHEST = 30, 7.6, 17.0, 12


@dataclass(frozen=True, slots=True)
class Stop:
    """A place on the map.

    Attributes
    ----------
    label : str
        Which scans were there, from 1 on, and its name.
    label_x, label_y : float
        Where that begins, or ends where `leftwards`; clear of the others, in the middle of a line.
    flagged : bool
        Whether one of them is an anomaly.
    leftwards : bool
        Whether it stands on the left.
    led_x : float or None
        Where a line from the place meets it, where it stands so far off that it needs one.
    """

    x: float
    y: float
    label: str
    label_x: float
    label_y: float
    flagged: bool
    leftwards: bool
    led_x: float | None


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
    stops = _labelled(
        [
            (x, y, _label([n for n, _ in there], there[0][1]), any(s.is_anomaly for _, s in there))
            for (x, y), there in sorted(by_place.items(), key=lambda one: one[0][1])
        ]
    )
    ways = [
        (*start, *end, located[n + 1][1].is_anomaly)
        for n, (start, end) in enumerate(pairwise(drawn))
        if start != end
    ]
    return Map(stops, ways)


def _label(numbers: Sequence[int], scan: JourneyScan) -> str:
    text = f"{', '.join(map(str, numbers))} {scan.place_name or scan.place or 'unknown'}"
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1]}…"


def _labelled(places: Sequence[tuple[float, float, str, bool]]) -> list[Stop]:
    """Return stops whose names cover neither each other nor a stop, where there is room."""
    taken = [(x - _RADIUS, y - _RADIUS, x + _RADIUS, y + _RADIUS) for x, y, *_ in places]
    stops = []
    for x, y, label, flagged in places:
        box = min(
            _boxes(x, y, len(label) * _LETTER),
            key=lambda box: sum(_shared(box, other) for other in taken),
        )
        taken.append(box)
        middle = (box[1] + box[3]) / 2
        leftwards = box[0] < x
        begins = box[2] if leftwards else box[0]
        led_x = begins if abs(middle - y) > _LINE else None
        stops.append(Stop(x, y, label, begins, middle, flagged, leftwards, led_x))
    return stops


_Box = tuple[float, float, float, float]


def _boxes(x: float, y: float, width: float) -> Iterator[_Box]:
    """Return where a name may stand: beside its place, the nearest first, and in the picture."""
    for line in range(_FARTHEST):
        for down in (0.0,) if line == 0 else (line * _LINE, -line * _LINE):
            top = y + down - _LINE / 2
            for left in (x + _RADIUS + 3, x - _RADIUS - 3 - width):
                if 0 <= left <= WIDTH - width and 0 <= top <= HEIGHT - _LINE:
                    yield left, top, left + width, top + _LINE
    # However long it is, it stands somewhere.
    yield 0.0, y - _LINE / 2, width, y + _LINE / 2


def _shared(one: _Box, other: _Box) -> float:
    """Return how much of the picture two boxes share."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, across) * max(0.0, down)
