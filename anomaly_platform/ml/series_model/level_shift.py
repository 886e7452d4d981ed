"""Where a reading lies compared with everything its training part held: evidence that lasts.

The model inputs compare a reading with trailing windows, so a fault that stays fades from them as
the windows fill with it. Its *position* does not fade: the distance from what the training part
was at that time of the cycle. Whether position is evidence at all depends on the series. Levels
of a pump on a test stand are steady, those of a busy server wander, and there a new level says
nothing. The training part itself shows which is which: it is cut into contiguous blocks, and the
further the blocks' levels lie apart, the further a reading must lie to mean anything (`slack`).

Position is used in two cases. While the training part is shorter than the longest window, that
window holds the fault as well as the past and is no reference by itself. And where a series has
a season that two weeks have shown, trailing windows are as wide as its daily swing and see
nothing smaller. Elsewhere the trailing windows are the better reference: busy hosts without a
season change their level too often.

A level that has filled half of the longest window is accepted, and so is a swing: from then on the
distance counts from there, so that a host that has changed for good does not alarm for good.

After an outage that is longer than the look-back there are no windows, and a reading's place is all
that there is to judge it by (`outage`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from anomaly_platform.ml.arrays import AnyArray, Arrays, Bools, Columns, Floats, Ints
from anomaly_platform.ml.bundles.checking import checked
from anomaly_platform.ml.detectors.base import part_of, under
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.order_statistics import median, quantile_of_sorted, quantiles_of_sorted
from anomaly_platform.ml.series_model.level_shift_kernels import MOST_GAIN, level_rows
from anomaly_platform.ml.series_model.noise import settled
from anomaly_platform.ml.series_model.outage import UNKNOWN, outage_limits
from anomaly_platform.ml.series_model.seasonality import SeasonalProfile

#: Name of the array of `PositionModel.alone`.
ALONE = "alone"
#: Contiguous blocks of the training part whose levels are compared.
BLOCKS = 8
#: How many times as far as its blocks' levels lay apart a series may move before it is evidence.
WANDER_WEIGHT = 2.0
#: Time in microseconds after which a series with a season has shown its weekends, too.
ENOUGH_TIME = 14 * 86_400_000_000
#: Quantile of the fit part's distances that is the unit of position.
_TAIL = 0.99
_KNOTS = 32
#: How rare, as a quantile, the relations of a reading that is in its place can be.
_TEMPERED = 0.995
#: A window rests within this share of its usual range; a series rests at times when it does so in
#: more than this share of the training part.
_FROZEN = 1e-3
_RESTS = 2e-3
#: What being frozen adds to a raw score: more than the calibration part of a lively series spans.
FROZEN_WORTH = 1.0
_CONSTANTS = 9
_PROBABILITIES = 1.0 - np.geomspace(1.0, 1e-3, _KNOTS)


class Levels(NamedTuple):
    """Where (n,) readings lie; see `level_shift_kernels.level_rows`."""

    distance: Floats
    effect: Ints
    frozen: Bools


@dataclass(frozen=True)
class PositionModel:
    """The usual levels of one series, and what a distance from them is worth.

    Attributes
    ----------
    centre, unit
        Median of the fit part, and the distance from the usual level that one of its rows in a
        hundred exceeds.
    level, level_tail
        Median of the longest window's median, and its rare distance, in units.
    swing, swing_limit
        Median of the longest window's MAD, and how many times as wide or as narrow it rarely is.
    slack
        Factor, at least 1, by which distances are shortened because levels wander; infinite where
        position is not used.
    ordinary
        How far, in units, a reading rarely is from what is usual at its time.
    resting
        Range of the shortest window up to which a sensor is frozen, −1 where that is usual.
    season, week
        What is usual at which time, in units.
    distances, raw_scores
        (32,) quantiles of the calibration part's distances, and of its raw scores from the model
        inputs: a distance is worth the raw score that is as rare.
    alone
        (4,) how far, in units, a reading may be that no window helps to judge (`outage`).
    """

    centre: float
    unit: float
    level: float
    level_tail: float
    swing: float
    swing_limit: float
    slack: float
    ordinary: float
    resting: float
    season: SeasonalProfile
    week: SeasonalProfile
    distances: Floats
    raw_scores: Floats
    alone: Floats = field(default_factory=UNKNOWN.copy)

    @classmethod
    # Near the largest float distances are infinite; `_finite` gives the largest float for them.
    @np.errstate(over="ignore", invalid="ignore")
    def fit(
        cls,
        times: Ints,
        columns: Columns,
        feature_set: MetricFeatureSet,
        start: int,
        *,
        serves: bool = True,
    ) -> PositionModel:
        """Learn the usual levels from the rows before `start`, and the wandering from all.

        Parameters
        ----------
        times
            (n,) microseconds since 1970, ascending.
        columns
            (n,) feature columns of rows with a value.
        feature_set
            What the columns are.
        start
            First row of the calibration part, ≥ 1.
        serves
            Whether readings will be judged by it. One that only tells distances of other rows of
            the training window knows neither wandering nor outages.
        """
        frequency = round(feature_set.frequency.total_seconds() * 1e6)
        value = columns["value"]
        centre = median(value[:start])
        unit = _positive(_tail(value[:start] - centre), centre)
        plain = _finite((value[:start] - centre) / unit)[:, None]
        season = SeasonalProfile.fit(times[:start], plain, frequency)
        week = SeasonalProfile.fit_week(
            times[:start], season.apply(times[:start], plain), frequency
        )
        seasonal = season.period > 0 or week.period > 0
        empty, alone = np.zeros(_KNOTS), UNKNOWN
        if serves:
            units, longest = _finite((value - centre) / unit), feature_set.windows[-1]
            alone = outage_limits(
                times, units, frequency, longest, centre / unit, seasonal=seasonal
            )
        known = seasonal and times[start - 1] - times[0] >= ENOUGH_TIME
        unused = start >= feature_set.windows[-1] and not known
        model = cls(
            *(centre, unit, 0.0, 0.0, 0.0, 1.0, np.inf if unused else 1.0, 1.0, -1.0),
            *(season, week, empty, empty, alone),
        )
        if unused:
            return model
        trailing = _finite((columns[f"median_{feature_set.windows[-1]}"] - centre) / unit)
        full = settled(columns, feature_set, start)
        level = median(trailing[:start][full])
        tail = _tail(trailing[:start][full] - level)
        swing, swing_limit = _swing(columns[f"mad_{feature_set.windows[-1]}"][:start][full])
        model = replace(model, level=level, level_tail=tail, swing=swing, swing_limit=swing_limit)
        if not serves:
            return model
        place = model._place(times, value)
        rescale = _positive(_tail(place[:start]), 0.0)
        medians = np.array([median(b) for b in np.array_split(place / rescale, BLOCKS)])
        apart = [
            np.add.reduce(np.abs(medians[h:] - medians[:-h])) / (BLOCKS - h)
            for h in range(1, BLOCKS)
        ]
        return replace(
            model,
            slack=1.0 + WANDER_WEIGHT * float(np.max(apart)),
            ordinary=rescale,
            resting=_resting(columns, feature_set),
        )

    def calibrated(self, distances: Floats, raw_scores: Floats) -> PositionModel:
        """Return the model that knows what its distances are worth.

        Parameters
        ----------
        distances, raw_scores
            (c,) of the same rows, those of the calibration part.
        """
        return replace(
            self,
            distances=quantiles_of_sorted(np.sort(distances), _PROBABILITIES),
            raw_scores=quantiles_of_sorted(np.sort(raw_scores), _PROBABILITIES),
        )

    @property
    def constants(self) -> tuple[float, ...]:
        """The numbers of `level_shift_kernels`, in their order."""
        return (
            *(self.centre, self.unit, self.level, self.level_tail, self.swing, self.swing_limit),
            *(self.slack, self.ordinary, self.resting),
        )

    @property
    def most(self) -> float:
        """The largest raw score from the model inputs of a reading that is in its place."""
        return float(np.interp(_TEMPERED, _PROBABILITIES, self.raw_scores))

    def levels(self, times: Ints, columns: Columns, feature_set: MetricFeatureSet) -> Levels:
        """Return where readings lie, as long as the noise has not grown.

        Parameters
        ----------
        times
            (n,) microseconds since 1970.
        columns, feature_set
            (n,) feature columns of rows with a value, and what they are.
        """
        n = times.size
        found = Levels(np.empty(n), np.empty(n, dtype=np.int64), np.empty(n, dtype=np.bool_))
        cycles = (self.season, self.week)
        profiles = tuple(
            np.array((cycle.offset[0], cycle.widening[0]), dtype=np.float32) for cycle in cycles
        )
        level_rows(
            # Times that cannot be written to are another type, compiled once more.
            np.array(times),
            np.array([columns[name] for name in level_names(feature_set)]),
            np.ones(n),
            np.array(self.constants),
            np.array([(one.period, one.phases) for one in cycles], dtype=np.int64).ravel(),
            profiles,
            feature_set.windows[0],
            found,
        )
        return found

    def worth(self, distances: Floats) -> Floats:
        """Return (n,) raw scores that distances of the training part are worth.

        Its last rows had no time to wander: only later rows' distances are shortened by the slack.
        """
        if not np.isfinite(self.slack):
            return np.zeros(distances.size)
        within = np.interp(distances, self.distances, self.raw_scores)
        beyond = np.log1p(distances) - np.log1p(self.distances[-1])
        return np.asarray(within + np.maximum(beyond, 0.0))

    def _place(self, times: Ints, value: Floats) -> Floats:
        with np.errstate(over="ignore", invalid="ignore"):
            return self._off_cycles(times, (value - self.centre) / self.unit)

    def _off_cycles(self, times: Ints, units: Floats) -> Floats:
        plain = _finite(units)[:, None]
        return self.week.apply(times, self.season.apply(times, plain))[:, 0]

    def to_arrays(self) -> dict[str, AnyArray]:
        """Return the model as arrays of fixed shapes."""
        return {
            "constants": np.array(self.constants),
            "distances": self.distances,
            "raw_scores": self.raw_scores,
            ALONE: self.alone,
            **under("season_", self.season.to_arrays()),
            **under("week_", self.week.to_arrays()),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> PositionModel:
        """Return the model that `to_arrays` wrote; raises `BadModelError` where it is none."""
        season = SeasonalProfile.from_arrays(part_of(arrays, "season_"))
        week = SeasonalProfile.from_arrays(part_of(arrays, "week_"))
        distances, raw_scores = (
            np.asarray(checked(arrays, name, _PROBABILITIES.shape), dtype=np.float64)
            for name in ("distances", "raw_scores")
        )
        # What was trained before there was any has none, and judges no reading by its place alone.
        alone = UNKNOWN
        if ALONE in arrays:
            alone = checked(arrays, ALONE, UNKNOWN.shape, finite=False)
        # A slack without end: the level is not used.
        numbers = checked(arrays, "constants", (_CONSTANTS,), finite=False)
        constants = np.asarray(numbers, np.float64).tolist()
        limits = np.asarray(alone, dtype=np.float64)
        return cls(*constants, season, week, distances, raw_scores, limits)  # type: ignore[call-arg]


def level_names(feature_set: MetricFeatureSet) -> tuple[str, ...]:
    """Return the features that `level_rows` takes, in their order."""
    first, last = feature_set.windows[0], feature_set.windows[-1]
    return (
        "value",
        f"diff_{feature_set.lags[0]}",
        f"min_{first}",
        f"max_{first}",
        f"missing_{first}",
        f"count_{last}",
        f"median_{last}",
        f"mad_{last}",
    )


def _reach(columns: Columns, feature_set: MetricFeatureSet) -> tuple[Floats, Bools]:
    """Return the range of the shortest window, and whether the window is full."""
    w = feature_set.windows[0]
    full = columns[f"count_{feature_set.windows[-1]}"] >= w
    with np.errstate(over="ignore"):
        reach = columns[f"max_{w}"] - columns[f"min_{w}"]
    return reach, full & (columns[f"missing_{w}"] == 0)


def _swing(deviations: Floats) -> tuple[float, float]:
    """Return the median of trailing MADs, and the ratio to it, at least 1, that is rare."""
    usual = median(deviations)
    if not usual > 0.0:
        return 0.0, 1.0
    ratio = np.clip(deviations / usual, 1.0 / MOST_GAIN, MOST_GAIN)
    return usual, float(np.exp(_tail(np.log(ratio))))


def _resting(columns: Columns, feature_set: MetricFeatureSet) -> float:
    """Return the range up to which a window rests, −1 for series that rest at times."""
    reach, full = _reach(columns, feature_set)
    if not full.any():
        return -1.0
    limit = _FROZEN * median(reach[full])
    if not limit > 0.0 or float(np.mean(reach[full] <= limit)) > _RESTS:
        return -1.0
    return limit


def _finite(values: Floats) -> Floats:
    """Return the values, 0 for NaN and the largest float for infinity; most often there is none."""
    return values if np.isfinite(values).all() else np.nan_to_num(values)


def _tail(differences: Floats) -> float:
    """Return the distance from 0 that one difference in a hundred exceeds."""
    return quantile_of_sorted(np.sort(np.abs(differences)), _TAIL)


def _positive(number: float, centre: float) -> float:
    """Return a unit: the number, or where a series rests a thousandth of its level."""
    if np.isfinite(number) and number > 0.0:
        return number
    return max(abs(centre) * 1e-3, 1e-9)
