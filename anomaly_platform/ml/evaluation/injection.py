"""Injects known anomalies into a series, so that a detector can be measured without labels.

What belongs here: the six kinds of anomaly, how each changes an array of values, how long and how
large each is, and where a seeded run of them is placed in one series. What does not: series made
from nothing (the simulator builds on this module), what is computed from the labels (evaluation).

Magnitudes are in units of the series' *robust scale* (:func:`robust_scale`), so that the same
range of magnitudes is as hard on a thermometer as on a byte counter.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike

from anomaly_platform.ml.arrays import Bools, Floats
from anomaly_platform.ml.order_statistics import median, quantile_of_sorted

Kind: TypeAlias = Literal["spike", "drop", "level_shift", "drift", "stuck", "noise_burst"]

KINDS: tuple[Kind, ...] = get_args(Kind)

UNBOUNDED = (-math.inf, math.inf)
"""Bounds of a metric that can read anything."""

_MAD_TO_SIGMA = 1.4826
_IQR_TO_SIGMA = 1 / 1.349
# An event that its bounds flatten to less than this many scales is no anomaly to find.
_SMALLEST_EFFECT = 2.0
_ROOMLESS: frozenset[Kind] = frozenset({"stuck", "noise_burst"})
# Share of a series that one event may take: a longer one would be the new normal.
_LONGEST_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class KindRange:
    """How long and how large events of a kind are.

    Attributes
    ----------
    duration : tuple of int
        Fewest and most rows of an event, both included.
    magnitude : tuple of float
        Smallest and largest magnitude in robust scales. For a noise burst it is the standard
        deviation of the added noise, for a drift the distance reached at its end; a stuck value
        has none.
    """

    duration: tuple[int, int]
    magnitude: tuple[float, float]


RANGES: Mapping[Kind, KindRange] = MappingProxyType(
    {
        "spike": KindRange((1, 3), (4.0, 12.0)),
        "drop": KindRange((2, 12), (4.0, 10.0)),
        "level_shift": KindRange((12, 72), (3.0, 8.0)),
        "drift": KindRange((36, 144), (4.0, 10.0)),
        "stuck": KindRange((12, 72), (0.0, 0.0)),
        "noise_burst": KindRange((12, 48), (2.0, 5.0)),
    }
)
"""Rows and robust scales per kind; at 5-minute readings a drift lasts 3 to 12 hours."""


@dataclass(frozen=True, slots=True)
class InjectedEvent:
    """One anomaly in one series.

    Attributes
    ----------
    kind : str
        One of :data:`KINDS`.
    start, stop : int
        First row and the row after the last.
    magnitude : float
        Signed, in robust scales; 0 for a stuck value.
    """

    kind: Kind
    start: int
    stop: int
    magnitude: float


@dataclass(frozen=True, slots=True)
class Injection:
    """A series with anomalies in it.

    Attributes
    ----------
    values : ndarray of float64, shape (n,)
        The changed copy; what was missing (NaN) is still missing.
    labels : ndarray of bool, shape (n,)
        True on every row of every event.
    events : tuple of InjectedEvent
        In order of their rows, never touching each other.
    """

    values: Floats
    labels: Bools
    events: tuple[InjectedEvent, ...]


def robust_scale(values: ArrayLike) -> float:
    """Typical spread of a series, unmoved by its outliers.

    The median absolute deviation as an estimate of sigma; where more than half of the readings
    are equal, the interquartile range, then the standard deviation; for a constant series 5 % of
    its level, and 1 for a series of zeros or without a finite reading. Always positive.

    Parameters
    ----------
    values : array_like, shape (n,)
        Readings; NaN and infinity are left out.
    """
    array = np.asarray(values, dtype=np.float64)
    finite = array[np.isfinite(array)]
    if finite.size == 0:
        return 1.0
    ordered = np.sort(finite)
    q25, middle, q75 = (quantile_of_sorted(ordered, q) for q in (0.25, 0.5, 0.75))
    candidates: tuple[Callable[[], float], ...] = (
        lambda: _MAD_TO_SIGMA * median(np.abs(finite - middle)),
        lambda: _IQR_TO_SIGMA * (q75 - q25),
        lambda: float(finite.std()),
        lambda: 0.05 * abs(middle),
    )
    # Rounding leaves a constant series with a standard deviation that is not quite zero.
    floor = 1e-9 * max(1e-12, abs(ordered.item(0)), abs(ordered.item(-1)))
    scales = (candidate() for candidate in candidates)
    return next((scale for scale in scales if scale > floor), 1.0)


def apply_event(
    values: Floats,
    event: InjectedEvent,
    *,
    scale: float,
    rng: np.random.Generator,
    bounds: tuple[float, float] = UNBOUNDED,
) -> None:
    """Change the rows of one event in place.

    Parameters
    ----------
    values : ndarray of float64, shape (n,)
        Readings; missing ones stay missing.
    event : InjectedEvent
        What to do, and where.
    scale : float
        Length of one unit of magnitude, positive.
    rng : numpy.random.Generator
        Only a noise burst draws from it.
    bounds : tuple of float
        What the metric can physically read; the result is clipped to it.
    """
    part = values[event.start : event.stop]
    rows = part.size
    match event.kind:
        case "spike" | "drop" | "level_shift":
            part += event.magnitude * scale
        case "drift":
            part += event.magnitude * scale * np.arange(1, rows + 1) / rows
        case "noise_burst":
            part += rng.normal(0.0, abs(event.magnitude) * scale, rows)
        case "stuck":
            held = part[np.isfinite(part)]
            if held.size:
                part[np.isfinite(part)] = held[0]
    if bounds != UNBOUNDED:
        np.clip(part, bounds[0], bounds[1], out=part)


def plan_events(
    values: Floats,
    *,
    scale: float,
    rng: np.random.Generator,
    rate: float,
    kinds: Sequence[Kind] = KINDS,
    bounds: tuple[float, float] = UNBOUNDED,
    possible: Sequence[Kind] | None = None,
) -> tuple[InjectedEvent, ...]:
    """Draw events for one series: which, how large, how long, and where.

    Kinds take turns in a random order, so that every kind comes up in a long enough series. The
    events never touch; the rows between them are split at random. A kind that could not be told
    from normal in this series is left out: a stuck value where values rest anyway, a drop where
    the series lies at its lower bound already. So is a single event whose place leaves it no room
    within the bounds, which makes the share a little smaller than asked for.

    Parameters
    ----------
    values : ndarray of float64, shape (n,)
        Normal readings, NaN where missing.
    scale : float
        Length of one unit of magnitude.
    rng : numpy.random.Generator
        Source of every draw.
    rate : float
        Wanted share of labelled rows, in [0, 0.5].
    kinds : sequence of str
        Kinds to choose from.
    bounds : tuple of float
        What the metric can physically read.
    possible : sequence of str, optional
        What `possible_kinds` said of these values, kinds and bounds.

    Returns
    -------
    tuple of InjectedEvent
        Empty when the series is shorter than 20 rows, the rate is 0, or no kind is possible.

    Raises
    ------
    ValueError
        If the rate is outside [0, 0.5] or a kind is unknown.
    """
    if not 0 <= rate <= 0.5:
        raise ValueError(f"rate must lie in [0, 0.5], not {rate}")
    if unknown := set(kinds) - set(KINDS):
        raise ValueError(f"unknown kinds of anomaly: {', '.join(sorted(unknown))}")
    rows = values.size
    if possible is None:
        possible = possible_kinds(values, scale, kinds, bounds)
    wanted = round(rate * rows)
    if rows < 20 or wanted == 0 or not possible:
        return ()
    longest = max(1, int(rows * _LONGEST_SHARE))
    drawn: list[tuple[Kind, int]] = []
    used = 0
    order: list[Kind] = []
    while used < wanted:
        order = order or [possible[i] for i in rng.permutation(len(possible))]
        kind = order.pop()
        low, high = RANGES[kind].duration
        duration = min(int(rng.integers(low, high + 1)), longest)
        # The last event is kept with the probability that makes the rate right on average;
        # without this a short series would always get at least one event, however low the rate.
        if used + duration > wanted and rng.random() > (wanted - used) / duration:
            break
        drawn.append((kind, duration))
        used += duration
    if used + len(drawn) + 1 >= rows:
        return ()
    slack = rows - used - (len(drawn) - 1)
    starts = np.sort(rng.integers(0, slack + 1, size=len(drawn)))
    events: list[InjectedEvent] = []
    offset = 0
    for (kind, duration), start in zip(drawn, starts.tolist(), strict=True):
        first = start + offset
        part = values[first : first + duration]
        magnitude = _draw_magnitude(kind, part, scale=scale, rng=rng, bounds=bounds)
        offset += duration + 1
        # A drop at the foot of the daily curve may have no room although the series has.
        room = _below(part, bounds) if magnitude < 0 else _above(part, bounds)
        if room >= _SMALLEST_EFFECT * scale or kind in _ROOMLESS:
            events.append(InjectedEvent(kind, first, first + duration, magnitude))
    return tuple(events)


def inject(
    values: ArrayLike,
    *,
    seed: int,
    rate: float = 0.05,
    kinds: Sequence[Kind] = KINDS,
    bounds: tuple[float, float] = UNBOUNDED,
    scale: float | None = None,
    possible: Sequence[Kind] | None = None,
) -> Injection:
    """Put a seeded run of anomalies into a copy of a series.

    Parameters
    ----------
    values : array_like, shape (n,)
        Normal readings in order of time, NaN where missing.
    seed : int
        The same seed gives the same anomalies.
    rate : float
        Wanted share of labelled rows, in [0, 0.5].
    kinds : sequence of str
        Kinds to choose from, all six by default.
    bounds : tuple of float
        What the metric can physically read; unbounded by default.
    scale : float, optional
        Length of one unit of magnitude; the robust scale of `values` by default. Pass the training
        part's when injecting into a short held-out part.
    possible : sequence of str, optional
        As in :func:`plan_events`; worth finding once where many runs go into one series.

    Returns
    -------
    Injection
        Changed values, labels and events.

    Raises
    ------
    ValueError
        If the rate or a kind is not usable, or `values` is not one-dimensional.

    Examples
    --------
    >>> quiet = np.sin(np.arange(1000) / 20) + np.random.default_rng(0).normal(0, 0.1, 1000)
    >>> injected = inject(quiet, seed=42)
    >>> bool(injected.labels.any()), bool((injected.values != quiet)[~injected.labels].any())
    (True, False)
    """
    original = np.array(values, dtype=np.float64)
    if original.ndim != 1:
        raise ValueError(f"a series has one dimension, not {original.ndim}")
    rng = np.random.default_rng(seed)
    unit = robust_scale(original) if scale is None else scale
    events = plan_events(
        original, scale=unit, rng=rng, rate=rate, kinds=kinds, bounds=bounds, possible=possible
    )
    labels = np.zeros(original.size, dtype=np.bool_)
    for event in events:
        apply_event(original, event, scale=unit, rng=rng, bounds=bounds)
        labels[event.start : event.stop] = True
    return Injection(original, labels, events)


def possible_kinds(
    values: Floats,
    scale: float,
    kinds: Sequence[Kind] = KINDS,
    bounds: tuple[float, float] = UNBOUNDED,
) -> list[Kind]:
    """Return the kinds that could be told from normal in a series; see :func:`plan_events`."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return []
    rests = finite.size < 2 or np.count_nonzero(finite[1:] == finite[:-1]) / (finite.size - 1) > 0.5
    impossible: set[Kind] = set()
    if rests:
        impossible.add("stuck")
    if _below(finite, bounds) < _SMALLEST_EFFECT * scale:
        impossible.add("drop")
    if _above(finite, bounds) < _SMALLEST_EFFECT * scale:
        impossible.add("spike")
    return [kind for kind in kinds if kind not in impossible]


def _below(part: Floats, bounds: tuple[float, float]) -> float:
    """Return how far the level lies above the lower bound."""
    return math.inf if bounds[0] == -math.inf else _level(part) - bounds[0]


def _above(part: Floats, bounds: tuple[float, float]) -> float:
    """Return how far the level lies below the upper bound."""
    return math.inf if bounds[1] == math.inf else bounds[1] - _level(part)


def _level(part: Floats) -> float:
    finite = part[np.isfinite(part)]
    return median(finite) if finite.size else 0.0


def _draw_magnitude(
    kind: Kind, part: Floats, *, scale: float, rng: np.random.Generator, bounds: tuple[float, float]
) -> float:
    size = float(rng.uniform(*RANGES[kind].magnitude))
    up = bool(rng.random() < 0.5)
    if kind == "drop":
        return -size
    if kind not in ("level_shift", "drift"):
        return size
    below, above = _below(part, bounds), _above(part, bounds)
    # Towards the side that has room: a bound would flatten the event to nothing otherwise.
    if up and above < size * scale:
        up = below < above
    elif not up and below < size * scale:
        up = above >= below
    return size if up else -size
