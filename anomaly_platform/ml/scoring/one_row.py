"""One reading scored in two compiled calls: the arithmetic of `row_kernels` on a scorer's own room.

Between them the caller takes logarithms, as there.
"""

from typing import Annotated, Any, NamedTuple

import numpy as np

from anomaly_platform.ml.addresses import Layout, Table
from anomaly_platform.ml.arrays import Ints
from anomaly_platform.ml.calibration.conformal import P_FLOOR
from anomaly_platform.ml.compiled import compiled
from anomaly_platform.ml.detectors.statistical_kernels import MIN_COUNT, statistical_rows
from anomaly_platform.ml.detectors.statistical_kernels import P_FLOOR as FALLBACK_FLOOR
from anomaly_platform.ml.scoring.model_stack import Columns, Models, Room, RoomArrays
from anomaly_platform.ml.scoring.row_kernels import (
    conclude_rows,
    decide_rows,
    join_rows,
    measure_rows,
)


class _Taken(NamedTuple):
    """What is used of `Columns`."""

    history: Annotated[Ints, 1]
    table: Annotated[Ints, 1]
    related: Annotated[Ints, 1]


_LAYOUT = Layout(Models, RoomArrays, _Taken)
_read = _LAYOUT.reader()


def table_of(models: Models, room: Room, columns: Columns) -> Table:
    """Return the addresses that the passes need, of a room for one reading."""
    taken = _Taken._make(getattr(columns, name) for name in _Taken._fields)
    return _LAYOUT.table(models, room.arrays, taken)


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
        Rows of `table_of`'s.
    place, time
        Of the model in the arrays, −1 for none; microseconds since 1970.
    features, names
        (`names`, 1) features, or with run columns.
    shortest
        As in `measure_rows`.
    """
    models, room, columns = _read(at)
    room.slots[0], room.times[0] = place, time
    _take(features, columns.history, room.history)
    _take(features, columns.table, room.table)
    _take(features, columns.related, room.related)
    statistical_rows(room.table[0], room.history, MIN_COUNT, FALLBACK_FLOOR, room.rules)
    measure_rows(models, room, shortest, features[names:])


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
    models, room, _ = _read(at)
    raw, p = room.rules[3], room.rules[4]
    conclude_rows(models, room, P_FLOOR)
    room.kinds[0] = 0
    runs = features[names:]
    if runs.size > 0:
        join_rows(models, room, runs)
    decide_rows(p, np.full(1, threshold), exponent, raw, room.score, room.flagged)
    return room.known[0], room.flagged[0], raw[0], p[0], room.score[0], room.kinds[0]
