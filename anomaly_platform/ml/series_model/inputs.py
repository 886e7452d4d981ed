"""What a series' model sees: relations derived from the stored features.

A raw mean or maximum moves with the load of the day and the growth of the month; a forest over
such numbers calls every new level an anomaly for ever. The model inputs therefore say how a
reading stands *relative to* bounded trailing windows, in units of the series' own trailing
spread; slow change is followed by the windows, not by recalibration. Nothing is measured against
the level of the training window: a host that has changed for good would alarm for good.

=============  ================================================================================
`z_w`          value − median_w, by the window's spread; for each window w
`level`        median_s − median_l, by l's spread (s = shortest window, l = longest)
`spread`       log of the ratio of std_s to l's spread
`step`         difference to the first lag, by its typical size in training
=============  ================================================================================

The longest window's spread is its MAD, its level its median: neither is moved by an anomaly that
passes, so that a reading is not called unusual merely because something unusual happened a few
hours ago. Quantities that remember a single reading for long (a window's minimum, maximum or
standard deviation, long lags) are no model inputs for the same reason. A trailing spread is
floored by a share of the spread that was typical in training, so that a quiet hour does not turn
rounding into anomalies. Ratios pass through asinh or log, so that they stay moderate and
monotone; each input is centred and put in units of its own rare distances; and where the series
has a season, what is usual at that time of the cycle is taken off (`seasonality`). Where its noise
has grown or become less for good, units follow it (`noise`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from anomaly_platform.ml.arrays import AnyArray, Arrays, Columns, Floats, Ints
from anomaly_platform.ml.bundles.checking import BadModelError, checked
from anomaly_platform.ml.detectors.base import part_of, under
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.order_statistics import median, quantile_of_sorted
from anomaly_platform.ml.series_model.input_kernels import (
    FLOOR_SHARE,
    centres_and_tails,
    forget_spikes,
    relate,
    rescale_for_noise,
    shrink_units,
    standardise,
)
from anomaly_platform.ml.series_model.noise import (
    growth,
    no_quiet_units,
    quiet_units,
    rare_jitter,
    settled,
)
from anomaly_platform.ml.series_model.seasonality import SeasonalProfile

_TO_SIGMA = 1.4826
#: Quantile of the distances from the median that is an input's unit, and its smallest value (the
#: relations are logarithms or nearly so: 0.05 is a change of a twentieth).
_TAIL = 0.99
_SMALLEST_TAIL = 0.05
_QUIET = "quiet_units"


def input_schema(feature_set: MetricFeatureSet) -> tuple[str, ...]:
    """Return the names of the model inputs that a feature set gives, in order."""
    return (*(f"z_{w}" for w in feature_set.windows), "level", "spread", "step")


def _first_positive(*candidates: Callable[[], float]) -> float:
    """Return the first candidate that is positive and finite, 1 when none is."""
    numbers = (candidate() for candidate in candidates)
    return next((number for number in numbers if np.isfinite(number) and number > 0.0), 1.0)


def _spread(values: Floats) -> float:
    """Robust standard deviation; where most values are equal, the plain one; 0 for constants."""
    ordered = np.sort(values)
    low, middle, high = (quantile_of_sorted(ordered, q) for q in (0.25, 0.5, 0.75))
    mad = _TO_SIGMA * median(np.abs(values - middle))
    return next((s for s in (mad, (high - low) / 1.349, float(values.std())) if s > 0), 0.0)


@dataclass(frozen=True)
class InputModel:
    """What the inputs of one series need from its training part.

    Attributes
    ----------
    trailing
        Typical spread of the longest window.
    step
        Typical size of the first lag's difference.
    medians, tails
        (inputs,) median of each relation, and the distance from it that one training row in a
        hundred exceeds: the unit of every input, so that 1 means "as far as it rarely goes".
    quiet
        From when on units shrink with the noise (`noise.quiet_units`); never in bundles that were
        made without.
    season, week
        What is usual at which time, and on top of it at which hour of the week.
    jitter
        The longest window's jitter beyond which the noise has grown.
    narrow
        The longest window's spread, floor included, below which it rarely was.
    spreads
        (w − 2,) typical standard deviation of the windows between the shortest and the longest.
    """

    trailing: float
    step: float
    jitter: float
    narrow: float
    spreads: Floats
    medians: Floats
    tails: Floats
    season: SeasonalProfile
    week: SeasonalProfile
    quiet: Floats = field(default_factory=no_quiet_units)

    @classmethod
    def fit(cls, times: Ints, columns: Columns, feature_set: MetricFeatureSet) -> InputModel:
        """Learn from the fit part of a series; `fit_and_derive` with no other rows.

        Parameters
        ----------
        times
            (n,) microseconds since 1970, ascending, n ≥ 1.
        columns
            (n,) feature columns of rows with a value.
        feature_set
            What the columns are.
        """
        return cls.fit_and_derive(times, columns, feature_set, times.size)[0]

    @classmethod
    def fit_and_derive(
        cls,
        times: Ints,
        columns: Columns,
        feature_set: MetricFeatureSet,
        start: int,
        *,
        forgets: bool = False,
    ) -> tuple[InputModel, Floats]:
        """Learn from the rows before `start`, and return the inputs of all rows as well.

        With `forgets`, the shortest window's spread forgets single readings that are far off.

        Returns
        -------
        InputModel
            As `fit` on these rows returns it.
        ndarray of float64, shape (n, inputs)
            What `row_kernels.measure_rows` finds for all rows; relations are computed once.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            trailing, step = cls._scales(columns, feature_set, start)
        inputs = len(input_schema(feature_set))
        relations = np.empty((times.size, inputs))
        table = np.array([columns[name] for name in related_names(feature_set)])
        relate(table, FLOOR_SHARE * trailing, step, relations)
        if forgets:
            mean, middle, std, low, high, mad = (
                np.asarray(columns[name], dtype=np.float64) for name in spread_names(feature_set)
            )
            floor, rows = FLOOR_SHARE * trailing, feature_set.windows[0]
            forget_spikes(mean, middle, std, low, high, mad, floor, rows, relations)
        medians, tails = _centres(relations[:start])
        standardise(relations, medians, tails, relations)
        known, clock = relations[:start], times[:start]
        frequency = round(feature_set.frequency.total_seconds() * 1e6)
        season = SeasonalProfile.fit(clock, known, frequency)
        derived = season.apply(times, relations)
        week = SeasonalProfile.fit_week(clock, derived[:start], frequency)
        jitter = rare_jitter(columns, feature_set, start)
        between = [median(columns[f"std_{w}"][:start]) for w in feature_set.windows[1:-1]]
        spreads = np.array(between, dtype=np.float64)
        narrow = _narrow(columns, feature_set, start, FLOOR_SHARE * trailing)
        quiet = quiet_units(times, columns, feature_set, start)
        model = cls(trailing, step, jitter, narrow, spreads, medians, tails, season, week, quiet)
        return model, model._rescaled_for_noise(week.apply(times, derived), columns, feature_set)

    @classmethod
    def _scales(
        cls, columns: Columns, feature_set: MetricFeatureSet, start: int
    ) -> tuple[float, float]:
        """Return the typical spread of the longest window and the size of the first difference."""
        longest = feature_set.windows[-1]
        deviation, std = columns[f"mad_{longest}"][:start], columns[f"std_{longest}"][:start]
        value = columns["value"][:start]
        difference = columns[f"diff_{feature_set.lags[0]}"][:start]
        trailing = _first_positive(
            lambda: _TO_SIGMA * median(deviation),
            lambda: median(std),
            lambda: float(std.mean()),
            lambda: _spread(value),
            lambda: 0.05 * abs(median(value)),
        )
        step = _first_positive(
            lambda: _TO_SIGMA * median(np.abs(difference)),
            lambda: float(difference.std()),
            lambda: trailing,
        )
        return trailing, step

    def to_arrays(self) -> dict[str, AnyArray]:
        """Return the model as arrays of fixed shapes for its feature set."""
        numbers = [self.trailing, self.step, self.jitter, self.narrow]
        head = np.concatenate((numbers, self.spreads, self.medians, self.tails))
        season, week = self.season.to_arrays(), self.week.to_arrays()
        profiles = {**under("season_", season), **under("week_", week)}
        return {"constants": head, _QUIET: self.quiet, **profiles}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> InputModel:
        """Return the model that `to_arrays` wrote; raises `BadModelError` where it is none."""
        season = SeasonalProfile.from_arrays(part_of(arrays, "season_"))
        week = SeasonalProfile.from_arrays(part_of(arrays, "week_"))
        # Spreads of readings near the largest float are infinite, and nothing is far off then.
        numbers = np.asarray(checked(arrays, "constants", (None,), finite=False), np.float64)
        if week.offset.shape[0] != season.offset.shape[0]:
            raise BadModelError("day and week are of different inputs")
        if numbers.size < 4 + 2 * season.offset.shape[0]:
            raise BadModelError("the array 'constants' is too short")
        trailing, step, jitter, narrow = numbers[:4].tolist()
        inputs = season.offset.shape[0]
        spreads, medians, tails = np.split(numbers[4:], (-2 * inputs, -inputs))
        quiet = no_quiet_units()
        if _QUIET in arrays:
            quiet = np.asarray(
                checked(arrays, _QUIET, quiet.shape, finite=False, low=0.0), np.float64
            )
        return cls(trailing, step, jitter, narrow, spreads, medians, tails, season, week, quiet)

    def _rescaled_for_noise(
        self, derived: Floats, columns: Columns, feature_set: MetricFeatureSet
    ) -> Floats:
        """Return the inputs, which may be overwritten, in units that grew with the noise."""
        derived = np.ascontiguousarray(derived)
        deviation = np.ascontiguousarray(columns[f"mad_{feature_set.windows[-1]}"])
        grown = growth(columns, feature_set, self.jitter)
        spreads = [columns[f"std_{window}"] for window in feature_set.windows[:-1]]
        stds = np.array(spreads, dtype=np.float64).reshape(-1, grown.size)
        floor, narrow, tails = FLOOR_SHARE * self.trailing, self.narrow, self.tails
        rescale_for_noise(derived, grown, stds[1:], self.spreads, deviation, floor, narrow, tails)
        count, jitter = (
            np.asarray(columns[f"{name}_{feature_set.windows[-1]}"], dtype=np.float64)
            for name in ("count", "jitter")
        )
        shrink_units(derived, count, jitter, stds, self.spreads, floor, self.quiet)
        return derived


def _narrow(columns: Columns, feature_set: MetricFeatureSet, start: int, floor: float) -> float:
    """Return the spread of the longest window that one settled row in a hundred falls below."""
    deviation = columns[f"mad_{feature_set.windows[-1]}"][:start]
    ordered = np.sort(deviation[settled(columns, feature_set, start)])
    return float(np.hypot(_TO_SIGMA * quantile_of_sorted(ordered, 1.0 - _TAIL), floor))


def _centres(relations: Floats) -> tuple[Floats, Floats]:
    """Return (inputs,) the median of each relation and its rare distance from it."""
    inputs = relations.shape[1]
    finite = np.empty(relations.shape)
    standardise(relations, np.zeros(inputs), np.ones(inputs), finite)
    ordered = np.ascontiguousarray(finite.T)
    ordered.sort(axis=1)
    medians, tails = np.empty(inputs), np.empty(inputs)
    centres_and_tails(ordered, _TAIL, medians, tails)
    return medians, np.maximum(tails, _SMALLEST_TAIL)


def spread_names(feature_set: MetricFeatureSet) -> tuple[str, ...]:
    """Return the features that `forget_spikes` takes, in its order."""
    first, last = feature_set.windows[0], feature_set.windows[-1]
    own = (f"{name}_{first}" for name in ("mean", "median", "std", "min", "max"))
    return (*own, f"mad_{last}")


def related_names(feature_set: MetricFeatureSet) -> tuple[str, ...]:
    """Return the features that the inputs are derived from, in the order of `relate`."""
    windows = feature_set.windows
    return (
        "value",
        f"diff_{feature_set.lags[0]}",
        *(f"median_{w}" for w in windows),
        *(f"std_{w}" for w in windows),
        f"mad_{windows[-1]}",
    )
