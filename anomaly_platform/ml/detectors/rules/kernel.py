"""The compiled walk along each EPC: what every scan contradicts, and which earlier scan.

What belongs here: the sequential part of the rules. Each scan is judged against the last scan
that is believed. A scan that breaks a rule may itself be the wrong one (a copied code, a reader
that reports for the wrong gate), so a second state of affairs, in which it did not happen, is kept
beside the first: a later scan that fits the second one is in order, and the first is given up.
That way a single wrong scan is charged once and not to those that follow.

A scan's verdict depends on its history alone (see `ml.features.scans`): where the history's first
row moves on, the walk begins again from there.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly_platform.ml.arrays import AnyArray, Bools, Floats, Ints, SmallInts
from anomaly_platform.ml.compiled import compiled
from anomaly_platform.ml.features.scans.kernels import place_row
from anomaly_platform.ml.features.scans.words import INBOUND, ORIGIN, OUTBOUND, SALE, UNKNOWN

I16 = npt.NDArray[np.int16]
I8 = npt.NDArray[np.int8]
Columns = tuple[Any, ...]

# What is wrong with the order …
(
    AFTER_SALE,
    CONTRADICTION,
    LATE_ORIGIN,
    MISSING_OUTBOUND,
    MISSING_INBOUND,
    REPEATED_INBOUND,
    REPEATED_OUTBOUND,
) = range(1, 8)
# … and with the place.
UNKNOWN_PLACE, WRONG_STEP, AGAINST, SIDEWAYS, SKIPPED = range(1, 6)
# Columns of the verdicts: codes, the row that each is held against (−1 for none), the kind of place
# (−1 where neither place nor words say it), and whether nothing is known of how long the way takes.
ORDER, LOCATION, BASE, DUPLICATE, TRIP, KIND, UNMEASURED = range(7)
# Columns of the measurements: NaN where there is none.
HOURS, Z, LOG_RATIO, SPEED = range(4)

# A state of affairs: where, when, which way, which row, whether the time of leaving is believed,
# whether the goods are on their way back, the kind of place.
_PLACE, _TIME, _WAY, _ROW, _CLEAN, _BACK, _KIND = range(7)
_BELIEVED, _OTHERWISE, _FLAGS = range(3)
_KNOWN, _HAS_OTHER = 0, 1
_SECOND = 1_000_000
_HOUR = 3.6e9


@compiled()
def _copy(source: AnyArray, target: AnyArray) -> None:  # pragma: no cover
    """Copy a short row; a loop, since slices take seconds to compile."""
    for column in range(source.size):
        target[column] = source[column]


@compiled()
def _find(keys: Ints, key: int) -> int:  # pragma: no cover
    """Index of a key among sorted ones, −1 if it is not there."""
    low, high = 0, keys.size
    while low < high:
        middle = (low + high) // 2
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low if low < keys.size and keys[low] == key else -1


@compiled()
def _clear(codes: Ints, measured: Floats) -> None:  # pragma: no cover
    """Forget a verdict."""
    codes[ORDER] = codes[LOCATION] = codes[UNMEASURED] = 0
    codes[BASE] = codes[DUPLICATE] = codes[TRIP] = codes[KIND] = -1
    for column in range(measured.size):
        measured[column] = np.nan


@compiled()
def _kilometres(
    lat_a: float, lon_a: float, lat_b: float, lon_b: float
) -> float:  # pragma: no cover
    phi_a, phi_b = np.radians(lat_a), np.radians(lat_b)
    across = np.sin(np.radians(lon_b - lon_a) / 2.0) ** 2
    chord = np.sin((phi_b - phi_a) / 2.0) ** 2 + np.cos(phi_a) * np.cos(phi_b) * across
    distance: float = 2.0 * 6371.0088 * np.arcsin(np.sqrt(min(1.0, max(0.0, chord))))
    return distance


@compiled()
def _order(state: Ints, now: Ints, levels: Ints) -> int:  # pragma: no cover
    """Say what is wrong with the order of the last believed scan and this one."""
    last, way, place = state[_WAY], now[_WAY], now[_PLACE]
    same = place >= 0 and place == state[_PLACE]
    if last == SALE:
        return AFTER_SALE
    found = 0
    if way == INBOUND:
        if last == INBOUND:
            found = REPEATED_INBOUND if same else MISSING_OUTBOUND
        elif last == OUTBOUND and same and state[_BACK] != 1:
            found = CONTRADICTION
    elif way == OUTBOUND:
        if last == OUTBOUND:
            found = REPEATED_OUTBOUND if same else MISSING_INBOUND
        elif last == ORIGIN and not same and place >= 0 and state[_PLACE] >= 0:
            found = MISSING_INBOUND
    elif way == ORIGIN and last in (INBOUND, OUTBOUND) and place >= 0 and state[_PLACE] >= 0:
        # The entry behind the last, which −1 finds, is that of a kind that is not known.
        earlier = 0 <= levels[now[_KIND]] < levels[state[_KIND]]
        found = LATE_ORIGIN if earlier else 0
    return found


@compiled()
def _move(moves: I8, state: Ints, now: Ints, back: bool) -> int:  # pragma: no cover
    """Say what is wrong with goods going from where they were to here."""
    a, b = state[_KIND], now[_KIND]
    known = state[_PLACE] >= 0 and now[_PLACE] >= 0
    if a < 0 or b < 0 or (known and state[_PLACE] == now[_PLACE]) or (a == b and not known):
        return 0
    fault: int = moves[1 if back else 0, a, b]
    return fault


@compiled()
def _judge(  # pragma: no cover
    state: Ints,
    now: Ints,
    world: Columns,
    routes: Columns,
    limits: Floats,
    codes: Ints,
    measured: Floats,
) -> bool:
    """Hold a scan against a state of affairs; say whether anything contradicts it."""
    kinds, _, levels, latitude, longitude, moves = world
    keys, median, spread = routes
    _clear(codes, measured)
    codes[BASE] = state[_ROW]
    place, before = now[_PLACE], state[_PLACE]
    codes[ORDER] = _order(state, now, levels)
    if codes[ORDER] in (AFTER_SALE, CONTRADICTION):
        return True
    back = now[_BACK] == 1 or state[_BACK] == 1
    codes[LOCATION] = _move(moves, state, now, back)
    if codes[LOCATION] != 0 or codes[ORDER] == LATE_ORIGIN:
        return True  # where the place or the time is in doubt, so is the speed
    contradicted: bool = codes[ORDER] != 0
    if before < 0 or place < 0 or before == place:
        return contradicted
    hours = max((now[_TIME] - state[_TIME]) / _HOUR, 1.0 / 3600.0)
    measured[HOURS] = hours
    km = _kilometres(latitude[before], longitude[before], latitude[place], longitude[place])
    there, here = latitude[before] + longitude[before], latitude[place] + longitude[place]
    codes[UNMEASURED] = 1 if np.isnan(there + here) else 0
    if km >= limits[2]:  # never for NaN: a place without coordinates
        measured[SPEED] = km / hours
        contradicted = contradicted or measured[SPEED] > limits[3]
    trip = state[_CLEAN] == 1 and now[_WAY] == INBOUND
    if trip and (state[_WAY] == OUTBOUND or state[_WAY] == ORIGIN):
        codes[TRIP] = state[_ROW]
        key = before * kinds.size + place
        at = _find(keys, key)
        if at >= 0:
            codes[UNMEASURED] = 0
            measured[LOG_RATIO] = np.log(hours) - median[at]
            measured[Z] = measured[LOG_RATIO] / spread[at]
            jumped = abs(measured[Z]) >= limits[0] and abs(measured[LOG_RATIO]) >= limits[1]
            contradicted = contradicted or jumped
    return contradicted


@compiled()
def _take_in(  # pragma: no cover
    i: int, states: Ints, now: Ints, contradicted: bool, codes: Ints
) -> None:
    """Update the states of affairs after scan i has been judged."""
    believed, other, flags = states[_BELIEVED], states[_OTHERWISE], states[_FLAGS]
    if codes[ORDER] == AFTER_SALE:
        return
    flags[_HAS_OTHER] = 0
    if codes[ORDER] == CONTRADICTION or codes[ORDER] == LATE_ORIGIN:
        believed[_CLEAN] = 0  # a stale scan moves nothing, but then when did the goods leave?
        return
    if codes[LOCATION] >= WRONG_STEP:  # perhaps it happened, but not there
        _copy(believed, other)
        other[_WAY], other[_CLEAN], other[_ROW] = now[_WAY], 0, i
        flags[_HAS_OTHER] = 1
    elif contradicted and codes[ORDER] == 0:  # perhaps it was another one's scan
        _copy(believed, other)
        flags[_HAS_OTHER] = 1
    _copy(now, believed)


@compiled()
def _twin(i: int, lo: int, times: Ints, place: SmallInts) -> int:  # pragma: no cover
    """Row before i at which the same code was elsewhere in the same second; −1 if none."""
    j = i - 1
    while place[i] >= 0 and j >= lo and times[j] // _SECOND == times[i] // _SECOND:
        if place[j] >= 0 and place[j] != place[i]:
            return j
        j -= 1
    return -1


@compiled()
def _read_again(state: Ints, now: Ints, within: float) -> bool:  # pragma: no cover
    """Say whether this is the last scan read once more (perhaps with its words lost)."""
    same = now[_PLACE] >= 0 and now[_PLACE] == state[_PLACE]
    same = same and (now[_WAY] == state[_WAY] or now[_WAY] == UNKNOWN)
    read_again: bool = same and now[_TIME] - state[_TIME] <= within
    return read_again


@compiled()
def _kind_of(place: int, said: int, kinds: I16) -> int:  # pragma: no cover
    """Return the kind of a place, or the one that the scan's words name where it has none."""
    return kinds[place] if place >= 0 and kinds[place] >= 0 else said


@compiled()
def _fault(
    found: int, place: int, step_type: int, kinds: I16, types: I16, listed: Bools
) -> int:  # pragma: no cover
    """Say what is wrong with a place by itself, or what was found wrong with going there."""
    if not listed[place]:
        return UNKNOWN_PLACE
    if found == 0 and step_type >= 0 and kinds[place] >= 0 and step_type != types[kinds[place]]:
        return WRONG_STEP
    return found


@compiled()
def _step(  # pragma: no cover
    i: int,
    lo: int,
    scans: Columns,
    world: Columns,
    routes: Columns,
    limits: Floats,
    states: Ints,
    codes: Ints,
    measured: Floats,
) -> None:
    """Judge scan i in the light of the states of affairs, and bring those up to date."""
    times, place, stage, direction, back, said, step_type, listed = scans
    kinds, types = world[0], world[1]
    believed, other, flags = states[_BELIEVED], states[_OTHERWISE], states[_FLAGS]
    _clear(codes, measured)
    row = place_row(i, lo, place, stage, direction)
    now = np.empty(7, dtype=np.int64)
    now[_PLACE] = place[row] if row >= 0 else -1
    now[_KIND] = _kind_of(now[_PLACE], said[i], kinds)
    now[_TIME], now[_WAY], now[_ROW], now[_CLEAN] = times[i], direction[i], i, 1
    now[_BACK] = back[i]
    if back[i] < 0:
        now[_BACK] = believed[_BACK] if flags[_KNOWN] else 0

    twin = _twin(i, lo, times, place)
    if twin >= 0:
        codes[DUPLICATE], codes[KIND] = twin, now[_KIND]
        _copy(now, other)  # either of the two is the real one
        flags[_HAS_OTHER] = 1
        return
    again = flags[_KNOWN] == 1 and _read_again(believed, now, limits[4])
    contradicted = False
    if flags[_KNOWN] and not again:
        tried, found = np.empty(7, dtype=np.int64), np.empty(4)
        for affairs in range(1 + flags[_HAS_OTHER]):
            contradicted = _judge(states[affairs], now, world, routes, limits, tried, found)
            if affairs == _BELIEVED or not contradicted:
                _copy(tried, codes)
                _copy(found, measured)
            if not contradicted:
                break
    codes[KIND] = now[_KIND]
    if place[i] >= 0 and codes[ORDER] != AFTER_SALE:
        codes[LOCATION] = _fault(codes[LOCATION], place[i], step_type[i], kinds, types, listed)
    if again:
        return
    if flags[_KNOWN]:
        _take_in(i, states, now, contradicted, codes)
    else:
        flags[_KNOWN] = 1
        _copy(now, believed)


@compiled()
def walk(  # pragma: no cover
    starts: Ints, epc: Ints, scans: Columns, world: Columns, routes: Columns, limits: Floats
) -> tuple[Ints, Floats]:
    """Judge every scan.

    Parameters
    ----------
    starts, epc
        (n,) first row of each scan's history, and number of its EPC.
    scans
        (n,) times in microseconds, place, stage and direction (as in `ScanSequences`), whether
        the step is a return (1, 0, −1 unknown), kind that its words name (−1 none), type of place
        that its words belong to by the reference (−1 none); and (places,) whether a place counts
        as known.
    world
        (places,) kind, −1 unknown; (kinds,) type; (kinds + 1,) level, −1 unknown; (places,)
        latitude and longitude, NaN where not known; (2, kinds, kinds) what is wrong with a move,
        undeclared and declared as a return.
    routes
        (routes,) sorted keys `from · places + to`, median and spread of log hours.
    limits
        z, log ratio, shortest distance (km), highest speed (km/h), microseconds of a rereading.

    Returns
    -------
    tuple of (n, 7) int64 and (n, 4) float64
        Verdicts and measurements, columns as named in this module.
    """
    n = starts.size
    codes = np.zeros((n, 7), dtype=np.int64)
    measured = np.empty((n, 4))
    states = np.zeros((3, 7), dtype=np.int64)
    for i in range(n):
        lo, begin = starts[i], i
        if i == 0 or epc[i] != epc[i - 1] or starts[i - 1] != lo:
            states[_FLAGS, _KNOWN] = states[_FLAGS, _HAS_OTHER] = 0
            begin = lo
        for scan in range(begin, i + 1):
            _step(scan, lo, scans, world, routes, limits, states, codes[i], measured[i])
    return codes, measured
