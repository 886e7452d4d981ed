"""What the features of a metric stream are: their names, windows, meaning and look-back.

Only the definition belongs here, so that loading a stream costs nothing: the arithmetic is in
`kernels`, its use over a frame in `batch`, its use one reading at a time in `series_buffers`.

The definition, for a reading at time t of one series (entity, metric):

*   The **window** of length w holds the w rows before the reading, never the reading itself, and
    none at or before t − `lookback`. A feature therefore depends on rows in (t − lookback, t] only,
    and a day can be computed from its own rows and the look-back's.
*   A row without a value (a missing reading) is a row of the window, counts as missing, and enters
    no statistic. A row without a value has no `value`, `lag_k` and `diff_k`; its window features
    exist as long as the window has a value.
*   A step is the difference between a row and the row right before it, both of the window and
    both with a value.
*   While the window holds no value (the start of a series, or after a gap longer than the
    look-back) the reading stands for its own past: mean, minimum, maximum, median and quartiles
    are the reading's value, spreads and differences are 0. Features of a row with a value are
    always finite.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from itertools import pairwise
from typing import Self

_DAY = timedelta(days=1)

#: Raised when the arithmetic of a feature changes, so that bundles trained before are told apart.
DEFINITION = 2

_WINDOW_FEATURES = {
    "mean": ("f64", "mean of the values of the last {w} rows before this one"),
    "std": ("f64", "population standard deviation of the last {w} rows before this one"),
    "min": ("f64", "smallest value of the last {w} rows before this one"),
    "max": ("f64", "largest value of the last {w} rows before this one"),
    "median": ("f64", "median of the last {w} rows before this one"),
    "missing": ("f32", "missing readings among the last {w} rows: empty ones, and gaps in time"),
}
_LARGEST_WINDOW_FEATURES = {
    "q25": ("f64", "lower quartile of the last {w} rows before this one"),
    "q75": ("f64", "upper quartile of the last {w} rows before this one"),
    "mad": ("f64", "median absolute deviation from the median of the last {w} rows"),
    "count": ("f32", "values among the last {w} rows before this one"),
    "jitter": ("f64", "median size of the steps between neighbouring rows of the last {w}"),
}
CLOCK_FEATURES = {
    "hour_sin": ("f32", "sine of the time of day (UTC, to the minute)"),
    "hour_cos": ("f32", "cosine of the time of day (UTC, to the minute)"),
    "dow_sin": ("f32", "sine of the time of week (UTC, Monday 0:00 = 0, to the minute)"),
    "dow_cos": ("f32", "cosine of the time of week (UTC, to the minute)"),
}


@dataclass(frozen=True)
class FeatureLayout:
    """The features of a metric stream, without their arithmetic.

    Parameters
    ----------
    windows
        Window lengths in rows, ascending.
    lags
        Lags in rows, ascending.
    frequency
        The expected time between two readings of a series; gaps are counted against it.

    Raises
    ------
    ValueError
        When windows or lags are empty, not positive or not strictly ascending, or the frequency
        is not positive.

    Examples
    --------
    >>> FeatureLayout(windows=(12, 48)).names[:3]
    ('value', 'mean_12', 'std_12')
    >>> FeatureLayout().lookback_days
    1
    """

    windows: tuple[int, ...] = (12, 48, 288)
    lags: tuple[int, ...] = (1, 2, 12)
    frequency: timedelta = timedelta(minutes=5)

    def __post_init__(self) -> None:
        for name, numbers in (("windows", self.windows), ("lags", self.lags)):
            object.__setattr__(self, name, tuple(int(number) for number in numbers))
            numbers = getattr(self, name)  # noqa: PLW2901
            ascending = all(a < b for a, b in pairwise(numbers))
            if not numbers or numbers[0] < 1 or not ascending:
                raise ValueError(f"{name} must be positive and strictly ascending, not {numbers}")
        if self.frequency <= timedelta(0):
            raise ValueError(f"frequency must be positive, not {self.frequency}")

    @property
    def capacity(self) -> int:
        """Rows before a reading that its features may need: the longest window or lag."""
        return max(self.windows[-1], self.lags[-1])

    @property
    def lookback(self) -> timedelta:
        """How far back a feature may reach: the longest window or lag, in whole days, ≥ 1 day."""
        return max(1, -(-(self.capacity * self.frequency) // _DAY)) * _DAY

    @property
    def lookback_days(self) -> int:
        """The look-back in days: late data for day D changes D … D + lookback_days."""
        return self.lookback // _DAY

    def schema(self) -> dict[str, dict[str, str]]:
        """Return each feature's `dtype` (`f64` or `f32`) and `description`, in order."""
        features = {"value": ("f64", "the reading")}
        for w in self.windows:
            features |= {
                f"{name}_{w}": (dtype, text.format(w=w))
                for name, (dtype, text) in _WINDOW_FEATURES.items()
            }
        largest = self.windows[-1]
        features |= {
            f"{name}_{largest}": (dtype, text.format(w=largest))
            for name, (dtype, text) in _LARGEST_WINDOW_FEATURES.items()
        }
        for k in self.lags:
            features[f"lag_{k}"] = ("f64", f"the newest value at least {k} rows back, else its own")
            features[f"diff_{k}"] = ("f64", f"value minus lag_{k}")
        features |= CLOCK_FEATURES
        return {
            name: {"dtype": dtype, "description": text} for name, (dtype, text) in features.items()
        }

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The features' names, in the order of every feature array."""
        return tuple(self.schema())

    def definition(self) -> dict[str, object]:
        """Return the set as plain JSON values; `from_definition` reads it back."""
        return {
            "definition": DEFINITION,
            "windows": list(self.windows),
            "lags": list(self.lags),
            "frequency_seconds": self.frequency.total_seconds(),
        }

    @classmethod
    def from_definition(cls, definition: dict[str, object]) -> Self:
        """Return the set that a bundle's manifest describes.

        Raises
        ------
        ValueError
            When the definition was written by an incompatible version of the arithmetic.
        """
        if definition.get("definition") != DEFINITION:
            raise ValueError(
                f"feature definition {definition.get('definition')} is not {DEFINITION}: train anew"
            )
        return cls(
            windows=tuple(definition["windows"]),  # type: ignore[arg-type]
            lags=tuple(definition["lags"]),  # type: ignore[arg-type]
            frequency=timedelta(seconds=float(definition["frequency_seconds"])),  # type: ignore[arg-type]
        )

    @cached_property
    def version(self) -> str:
        """A digest of the definition, 12 hexadecimal digits."""
        text = json.dumps(self.definition(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]
