"""A ridge vector autoregression over the metrics of one host, and what its errors are worth.

Each metric is predicted from the last rows of all metrics. How far it lies from that, averaged
over a few rows, is calibrated per metric on the last fifth of the training rows, which the
regression was not fitted on. Where the history is shorter than the longest window a fifth is few:
there the regression knows all rows, and each fifth is judged by one that has not seen it; and there
the errors decide beside the series (`decides`). Where a host has more metrics than `MOST_FACTORS`,
as many principal components of its rows predict instead of the metrics themselves, so that weights
and time grow with the number of metrics and not with its square.

What is left out: metrics that rest, and metrics that report in fewer than half of the host's rows.
A host that keeps fewer than `LEAST_METRICS` has no model.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from anomaly_platform.ml.arrays import AnyArray, Arrays, Bools, Floats, Ints
from anomaly_platform.ml.bundles.checking import BadModelError, checked
from anomaly_platform.ml.calibration.conformal import TAIL_NUMBERS, Calibration
from anomaly_platform.ml.host_model.kernels import (
    averages,
    errors_of,
    project,
    standardise,
)
from anomaly_platform.ml.host_model.reach import LAGS, REACH
from anomaly_platform.ml.order_statistics import median, median_of_sorted

#: Metrics below which there is nothing to move together, and above which nothing is learned.
LEAST_METRICS, MOST_METRICS = 3, 1000
#: Most numbers per row that predict.
MOST_FACTORS = 64
#: Share of the rows, the last ones, that calibrate.
CALIBRATION_SHARE = 0.2
#: Parts of a short history that are judged by the others.
CROSS_BLOCKS = 5
#: Fewest rows that calibrate, and fewest per weight that are fitted to.
LEAST_CALIBRATION, ROWS_PER_WEIGHT = 100, 5
#: Share of the host's rows in which a metric reports at least.
LEAST_PRESENT = 0.5
#: Ridge penalty, as a share of the rows.
RIDGE = 0.1
#: Readings further away count as being so far, in standard deviations.
LIMIT = 10.0
#: A metric whose standard deviation is smaller, as a share of its level, rests.
_RESTS = 1e-9
#: Rows of the table that stand before the weights.
_CENTRE, _SCALE, _USUAL, _SPACING, _TAIL = range(5)
_WEIGHTS = _TAIL + TAIL_NUMBERS


@dataclass(frozen=True, eq=False)
class HostModel:
    """What is known of how a host's metrics move together.

    Attributes
    ----------
    metrics
        Names of the k metrics.
    spacing
        Usual microseconds between rows.
    centres, scales
        (k,) median and standard deviation.
    usual
        (k,) median of the averaged errors, in units of the metric.
    projection
        (k, m) what the factors are; None where these are the metrics.
    weights
        (1 + `LAGS` m, k).
    calibrations
        Of the averaged errors, one a metric.
    decides
        Whether they have a say in which rows are anomalies: the history was short.
    """

    metrics: tuple[str, ...]
    spacing: float
    centres: Floats
    scales: Floats
    usual: Floats
    projection: Floats | None
    weights: Floats
    calibrations: tuple[Calibration, ...]
    decides: bool = False

    @classmethod
    def fit(
        cls, metrics: Sequence[str], times: Ints, rows: Floats, *, short: bool = False
    ) -> tuple[Self, Floats] | None:
        """Fit a host.

        Parameters
        ----------
        metrics
            Names of its metrics.
        times, rows
            As `clock.on_one_clock` gives them.
        short
            Whether to fit on all rows and to calibrate on all but the first few.

        Returns
        -------
        model : HostModel
            None, without the other, where there is too little to learn from.
        distances : ndarray of float64, shape (c, k)
            Averaged errors of the calibration part, the last rows; NaN where there is none.
        """
        start = times.size - (0 if short else round(CALIBRATION_SHARE * times.size))
        held_out = times.size - (REACH if short else start)
        there = np.flatnonzero(_often(rows, start))
        rows = np.ascontiguousarray(rows[:, there])
        centres, scales = _usual(rows[:start])
        moves = np.isfinite(scales) & (scales > _RESTS * np.maximum(np.abs(centres), 1.0))
        there = there[moves]
        if not LEAST_METRICS <= there.size <= MOST_METRICS:
            return None
        number = min(there.size, MOST_FACTORS, (start // ROWS_PER_WEIGHT - 1) // LAGS)
        if held_out < LEAST_CALIBRATION or number < 1:
            return None
        if not moves.all():
            rows = np.ascontiguousarray(rows[:, moves])
            centres, scales = centres[moves], scales[moves]
        filled = np.empty_like(rows)
        standardise(rows, centres, scales, LIMIT, filled)
        projection = None
        if number < there.size:
            _, vectors = np.linalg.eigh(filled[:start].T @ filled[:start])
            projection = np.ascontiguousarray(vectors[:, ::-1][:, :number])
        factors = filled if projection is None else filled @ projection
        learned = np.arange(LAGS, start)
        spacing = float(median(np.diff(times)))
        model = cls(
            tuple(metrics[place] for place in there.tolist()),
            spacing,
            centres,
            scales,
            np.zeros(there.size),
            projection,
            _weights(factors, filled, learned),
            (),
            short,
        )
        if short:
            parts = []
            for block in np.array_split(np.arange(REACH, times.size), CROSS_BLOCKS):
                others = learned[(learned < block[0]) | (learned > block[-1] + LAGS)]
                judge = replace(model, weights=_weights(factors, filled, others))
                parts.append(judge.distances(times, rows)[block])
            distances = np.concatenate(parts)
        else:
            distances = model.distances(times, rows)[start:]
        calibrated = model._calibrated(distances)
        return None if calibrated is None else (calibrated, distances)

    def _calibrated(self, distances: Floats) -> Self | None:
        known = [column[~np.isnan(column)] for column in distances.T]
        if min(column.size for column in known) < LEAST_CALIBRATION:
            return None
        usual = np.array([median(column) for column in known]) * self.scales
        calibrations = tuple(Calibration.fit(column) for column in known)
        return replace(self, usual=usual, calibrations=calibrations)

    def distances(self, times: Ints, rows: Floats) -> Floats:
        """Return (n, k) averaged errors, in standard deviations of the metric.

        Parameters
        ----------
        times, rows
            (n,) and (n, k), in the order of `metrics`; the first `reach.REACH` rows may lack
            what stands before them.
        """
        filled, out = np.empty_like(rows), np.empty_like(rows)
        standardise(rows, self.centres, self.scales, LIMIT, filled)
        factors = filled
        if self.projection is not None:
            factors = np.empty((times.size, self.projection.shape[1]))
            project(filled, self.projection, factors)
        errors = np.empty_like(rows)
        errors_of(
            times, rows, factors, self.spacing, self.centres, self.scales, self.weights, errors
        )
        averages(times, errors, self.spacing, out)
        return out

    def p_values(self, distances: Floats) -> Floats:
        """Return (n, k) p-values of averaged errors, 1 where there is none."""
        p = np.ones_like(distances)
        for column, calibration in enumerate(self.calibrations):
            known = ~np.isnan(distances[:, column])
            p[known, column] = calibration.p_value(distances[known, column])
        return p

    def to_arrays(self) -> dict[str, AnyArray]:
        """Return everything that evidence depends on."""
        parts = [calibration.to_arrays() for calibration in self.calibrations]
        ones = np.ones(len(self.metrics))
        arrays: dict[str, AnyArray] = {
            "metrics": np.frombuffer(json.dumps(self.metrics).encode(), dtype=np.uint8),
            "table": np.vstack(
                (
                    self.centres,
                    self.scales,
                    self.usual,
                    self.spacing * ones,
                    np.array([part["tail"] for part in parts]).T,
                    self.weights,
                )
            ),
            "values": np.stack([part["values"] for part in parts]),
            "exceeding": np.stack([part["exceeding"] for part in parts]),
        }
        if self.decides:
            arrays["decides"] = np.ones(1)
        return arrays if self.projection is None else arrays | {"projection": self.projection}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Rebuild a model from what `to_arrays` gave.

        Raises
        ------
        BadModelError
            When it is none.
        """
        metrics = tuple(json.loads(arrays["metrics"].tobytes()))
        number = len(metrics)
        projection = arrays.get("projection")
        factors = number
        if projection is not None:
            factors = projection.shape[1]
            projection = checked(arrays, "projection", (number, factors))
        table = checked(arrays, "table", (_WEIGHTS + 1 + LAGS * factors, number))
        if not bool((table[_SCALE] > 0.0).all()):
            raise BadModelError("a host's metric has no scale")
        calibrations = tuple(
            Calibration.from_arrays(
                {
                    "values": arrays["values"][place],
                    "exceeding": arrays["exceeding"][place],
                    "tail": table[_TAIL:_WEIGHTS, place],
                }
            )
            for place in range(number)
        )
        return cls(
            metrics,
            float(table[_SPACING, 0]),
            np.ascontiguousarray(table[_CENTRE]),
            np.ascontiguousarray(table[_SCALE]),
            np.ascontiguousarray(table[_USUAL]),
            None if projection is None else np.ascontiguousarray(projection),
            np.ascontiguousarray(table[_WEIGHTS:]),
            calibrations,
            "decides" in arrays,
        )


def _often(rows: Floats, start: int) -> Bools:
    """Return (k,) which metrics report often enough, in the first rows and in the last."""
    often = np.ones(rows.shape[1], dtype=np.bool_)
    for part in (rows[:start], rows[start:]):
        often &= (~np.isnan(part)).sum(axis=0) >= LEAST_PRESENT * part.shape[0]
    return often


# Between readings near the largest float distances are infinite.
@np.errstate(over="ignore", invalid="ignore")
def _usual(rows: Floats) -> tuple[Floats, Floats]:
    """Return (k,) medians and standard deviations of the readings of each metric."""
    # Sorting puts NaN last.
    ordered, known = np.sort(rows.T, axis=1), (~np.isnan(rows)).sum(axis=0).tolist()
    medians = [median_of_sorted(own[:count]) for own, count in zip(ordered, known, strict=True)]
    return np.array(medians), np.nanstd(rows, axis=0)


def _weights(factors: Floats, filled: Floats, learned: Ints) -> Floats:
    """Return the weights that predict the (n, k) rows at the learned places from those before."""
    lagged = [factors[learned - lag] for lag in range(1, LAGS + 1)]
    design = np.hstack([np.ones((learned.size, 1)), *lagged])
    penalty = np.full(design.shape[1], RIDGE * learned.size)
    penalty[0] = 0.0
    normal = design.T @ design + np.diag(penalty)
    return np.ascontiguousarray(np.linalg.solve(normal, design.T @ filled[learned]))
