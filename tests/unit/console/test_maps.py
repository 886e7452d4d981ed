"""Names on the map of a journey can be read."""

from __future__ import annotations

import datetime as dt
from itertools import combinations

import pytest

from anomaly_platform.console.maps import HEIGHT, WIDTH, map_of
from anomaly_platform.queries.operation.journeys import JourneyScan

START = dt.datetime(2026, 11, 27, tzinfo=dt.UTC)


def scan(number: int, place: str, latitude: float, longitude: float) -> JourneyScan:
    return JourneyScan(
        event_time=START + number * dt.timedelta(hours=5),
        place=place,
        place_name=f"{place} distribution centre",
        step=None,
        event_type=None,
        latitude=latitude,
        longitude=longitude,
        product=None,
        score=0.0,
        is_anomaly=number == 1,
        severity="NONE",
        explanation=None,
        rules=[],
        is_right=None,
        label_id=None,
    )


@pytest.mark.parametrize("apart", [1.0, 0.05, 0.001])
def test_names_cover_neither_each_other_nor_a_place(apart: float) -> None:
    # Four in one town, one far away in the east.
    towns = [(37.5, 127.0), (37.5, 127.0 + apart), (37.5 + apart, 127.0), (37.5, 127 - apart)]
    scans = [scan(n, f"P{n}", *at) for n, at in enumerate((*towns, (36.0, 129.4)))]
    drawn = map_of(scans)
    assert drawn is not None
    assert [one.flagged for one in drawn.stops].count(True) == 1
    lefts = [one.label_x - one.leftwards * 7.5 * len(one.label) for one in drawn.stops]
    boxes = [
        (left, one.label_y - 7, left + 7.5 * len(one.label), one.label_y + 7)
        for left, one in zip(lefts, drawn.stops, strict=True)
    ]
    dots = [(one.x - 7, one.y - 7, one.x + 7, one.y + 7) for one in drawn.stops]
    pairs = [*combinations(boxes, 2), *((box, dot) for box in boxes for dot in dots)]
    assert not [
        (one, other)
        for one, other in pairs
        if one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
    ]
    for left, top, right, bottom in boxes:
        assert left >= 0
        assert top >= 0
        assert right <= WIDTH
        assert bottom <= HEIGHT
