"""What runs make unusual, in words that are true of what always runs, too."""

import numpy as np
import pytest

from anomaly_platform.ml.scoring.reasons import run_reason
from anomaly_platform.ml.series_runs.layout import (
    AT_REST,
    COUNTER,
    DAYS,
    NOT_AT_REST,
    REST,
    RUN_COLUMNS,
    RUN_CONSTANTS,
)

THREE = 3 * 3_600_000_000


@pytest.mark.parametrize(
    ("kind", "rest", "value", "said"),
    [
        (NOT_AT_REST, 1.0, 0.0, "0 at 03:00 UTC, always 1 at this hour in 21 days"),
        (NOT_AT_REST, 0.0, 3.2, "not at rest at 03:00 UTC, always 0 at this hour in 21 days"),
        (AT_REST, 1.0, 1.0, "1 at 03:00 UTC, never 1 at this hour in 21 days"),
        (AT_REST, 0.0, 0.0, "at rest at 03:00 UTC, never 0 at this hour in 21 days"),
    ],
)
def test_only_a_series_that_rests_at_0_is_said_to_rest(kind, rest, value, said):
    own = np.zeros(RUN_CONSTANTS)
    own[[REST, COUNTER, DAYS]] = rest, 0.0, 21.0
    assert run_reason(kind, THREE, value, np.zeros(RUN_COLUMNS), own) == said
