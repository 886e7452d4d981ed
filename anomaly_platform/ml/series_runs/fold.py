"""A series' state after its readings, and the run columns of each."""

import numpy as np

from anomaly_platform.ml.arrays import Floats, Ints
from anomaly_platform.ml.series_runs.layout import AWAY, HOUR, ROWS, RUN_COLUMNS, STATE_SIZE


def no_runs() -> Floats:
    """Return the state of a series that has no past."""
    state = np.full(STATE_SIZE, np.nan)
    state[AWAY:HOUR] = state[ROWS] = 0.0
    return state


def state_of_today(state: Floats) -> Floats:
    """Return a state as it was kept when states were less, with the rest unknown."""
    known = no_runs()
    known[: state.size] = state
    return known


def fold(state: Floats, times: Ints, values: Floats) -> Floats:
    """Take readings into a state in place, and return their run columns.

    Parameters
    ----------
    state
        (`STATE_SIZE`,) what was before.
    times, values
        (n,) microseconds since 1970, ascending; readings, NaN where one is missing.

    Returns
    -------
    ndarray of float64, shape (`RUN_COLUMNS`, n)
        NaN for missing readings, and for those not newer than what the state has seen.
    """
    from anomaly_platform.ml.series_runs.kernels import take_readings

    out = np.empty((RUN_COLUMNS, times.size))
    take_readings(state, times, values, out)
    return out


def fold_unseen(state: Floats, times: Ints, values: Floats) -> None:
    """Take readings into a state in place, as `fold`, without their run columns."""
    from anomaly_platform.ml.series_runs.kernels import pass_readings

    pass_readings(state, times, values)
