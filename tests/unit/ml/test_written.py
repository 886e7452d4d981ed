"""Numbers are written so that they read as they were given, and differ where they differ."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from anomaly_platform.ml.written import as_bound, as_given

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(FINITE)
def test_a_reading_is_written_without_loss(value):
    assert float(as_given(value)) == value
    assert as_given(np.float64(value)) == as_given(value)


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9), st.integers(3, 6))
def test_a_bound_stays_on_its_side_of_the_value(bound, value, digits):
    assume(abs(bound - value) > 1e-13 * max(abs(bound), abs(value)))
    assert (float(as_bound(bound, value, digits)) < value) == (bound < value)


@pytest.mark.parametrize(
    ("value", "said"),
    [(20.1, "20.1"), (0.1 + 0.2, "0.30000000000000004"), (7, "7"), (1e15, "1000000000000000")],
)
def test_a_reading_has_the_digits_that_it_was_given_with(value, said):
    assert as_given(value) == said
