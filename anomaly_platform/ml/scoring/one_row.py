"""One reading scored in two compiled calls: the arithmetic of `row_kernels` on a scorer's own room.

Between them the caller takes logarithms, as there. Which array lies in which row of the table is
this module's business alone.
"""

from typing import Any

import numpy as np

from anomaly_platform.ml.addresses import addresses, block, cube, matrix, vector
from anomaly_platform.ml.arrays import Ints
from anomaly_platform.ml.calibration.conformal import P_FLOOR
from anomaly_platform.ml.compiled import compiled
from anomaly_platform.ml.detectors.statistical_kernels import MIN_COUNT, statistical_rows
from anomaly_platform.ml.detectors.statistical_kernels import P_FLOOR as FALLBACK_FLOOR
from anomaly_platform.ml.scoring.model_stack import Columns, Models, Room
from anomaly_platform.ml.scoring.row_kernels import conclude_rows, decide_rows, measure_rows
from anomaly_platform.ml.series_runs.kernels import join_evidence

_ROOM = 18


def table_of(models: Models, room: Room, columns: Columns) -> Ints:
    """Return the addresses that the passes need, of a room for one reading."""
    return addresses(
        (
            *(*models, room.slots, room.times, room.rules, room.logarithms, room.history),
            *(room.table, room.related, room.inputs, room.forest, room.short, room.effect),
            *(room.frozen, room.known, room.flagged, room.kinds, room.alone, room.score),
            *(columns.history, columns.table, columns.related),
        )
    )


@compiled(error_model="numpy")
def _models(at: Any) -> Any:  # pragma: no cover
    return Models(
        matrix(at, 0, np.float64),
        matrix(at, 1, np.int64),
        cube(at, 2, np.float64),
        matrix(at, 3, np.float64),
        block(at, 4, np.float32),
        block(at, 5, np.float32),
        block(at, 6, np.float32),
        block(at, 7, np.float32),
        cube(at, 8, np.uint8),
        cube(at, 9, np.float32),
        cube(at, 10, np.float32),
        cube(at, 11, np.float64),
        cube(at, 12, np.float64),
        matrix(at, 13, np.float64),
        matrix(at, 14, np.uint32),
        matrix(at, 15, np.float64),
        matrix(at, 16, np.float64),
        matrix(at, 17, np.float64),
    )


@compiled(error_model="numpy")
def _take(features: Any, rows: Any, out: Any) -> None:  # pragma: no cover
    for i in range(rows.size):
        out[i, 0] = features[rows[i], 0]


@compiled(error_model="numpy")
def measure_row(
    at: Any, place: int, time: int, features: Any, names: int, shortest: int
) -> None:  # pragma: no cover
    """Write what a reading is to the window before it and to its model, as `measure_rows`.

    Parameters
    ----------
    at
        From `table_of`.
    place, time
        Of the model in the arrays, −1 for none; microseconds since 1970.
    features, names
        (`names`, 1) features, or with run columns.
    shortest
        As in `measure_rows`.
    """
    room = at[_ROOM:]
    slots, times = vector(room, 0, np.int64), vector(room, 1, np.int64)
    rules, logarithms = matrix(room, 2, np.float64), matrix(room, 3, np.float64)
    history, table = matrix(room, 4, np.float64), matrix(room, 5, np.float64)
    related, inputs = matrix(room, 6, np.float64), matrix(room, 7, np.float64)
    slots[0], times[0] = place, time
    _take(features, vector(room, 17, np.int64), history)
    _take(features, vector(room, 18, np.int64), table)
    _take(features, vector(room, 19, np.int64), related)
    statistical_rows(table[0], history, MIN_COUNT, FALLBACK_FLOOR, rules)
    measure_rows(
        slots,
        times,
        table,
        related,
        _models(at),
        shortest,
        features[names:],
        inputs,
        vector(room, 8, np.float64),
        vector(room, 9, np.float64),
        vector(room, 10, np.int64),
        vector(room, 11, np.bool_),
        logarithms,
    )


@compiled(error_model="numpy")
def conclude_row(
    at: Any, features: Any, names: int, threshold: float, exponent: float
) -> Any:  # pragma: no cover
    """Return known, flagged, raw score, p-value, score and kind of evidence, after `measure_row`.

    Parameters
    ----------
    at, features, names
        As in `measure_row`.
    threshold, exponent
        As in `decide_rows`.
    """
    room, models = at[_ROOM:], _models(at)
    slots, times, kinds = (
        vector(room, 0, np.int64),
        vector(room, 1, np.int64),
        vector(room, 14, np.int64),
    )
    rules, table = matrix(room, 2, np.float64), matrix(room, 5, np.float64)
    raw, p, score = rules[3], rules[4], vector(room, 16, np.float64)
    known, flagged = vector(room, 12, np.bool_), vector(room, 13, np.bool_)
    conclude_rows(
        slots,
        table,
        models.constants,
        models.knots,
        models.values,
        models.exceeding,
        models.tail,
        vector(room, 8, np.float64),
        vector(room, 9, np.float64),
        matrix(room, 3, np.float64),
        vector(room, 10, np.int64),
        vector(room, 11, np.bool_),
        P_FLOOR,
        raw,
        p,
        known,
    )
    kinds[0] = 0
    runs = features[names:]
    if runs.size > 0:
        alone = vector(room, 15, np.float64)
        join_evidence(slots, times, table[0], runs, models.runs, p, alone, kinds)
    decide_rows(p, np.full(1, threshold), exponent, raw, score, flagged)
    return known[0], flagged[0], raw[0], p[0], score[0], kinds[0]
