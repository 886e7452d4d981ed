"""Where a counter is expected: it goes on from the reading before that was on its track.

Scoring knows how high a counter stands in its windows, and finds many a height ordinary that lies
below the reading before, as after a reset. A reader of a meter expects it to rise from where it is.
"""

from __future__ import annotations

import numpy as np

from anomaly_platform.ml.arrays import Floats
from anomaly_platform.ml.scoring.model_stack import Models, Room
from anomaly_platform.ml.series_model.level_shift_kernels import VALUE
from anomaly_platform.ml.series_runs.layout import (
    FALL_WORTH,
    SPACING,
    USUAL_RISE,
)


# Between readings near the largest float steps are infinite.
@np.errstate(over="ignore", invalid="ignore")
def continuations(models: Models | None, room: Room, runs: Floats) -> Floats:
    """Return (n, 2) the readings that counters go on from, and as far above as they usually rise.

    NaN for a counter's first reading, where a model knows nothing of falls, and for other series.

    Parameters
    ----------
    models, room
        Those in use, and the readings.
    runs
        (`RUN_COLUMNS`, n), or empty.
    """
    from anomaly_platform.ml.series_runs.glitch_kernels import steps_on_track

    found = np.full((room.slots.size, 2), np.nan)
    if models is None or not runs.size:
        return found
    own: Floats = models.runs[room.slots]
    counts = (room.slots >= 0) & (own[:, FALL_WORTH] > 0.0)
    own, spacing = own[counts], own[counts, SPACING]
    values, steps = room.table[VALUE][counts], np.empty((2, own.shape[0]))
    steps_on_track(room.times[counts], values, runs[:, counts], own, steps)
    found[counts, 0] = values - steps[0]
    rise = own[:, USUAL_RISE] * np.maximum(steps[1], spacing) / spacing
    found[counts, 1] = found[counts, 0] + rise
    return found
