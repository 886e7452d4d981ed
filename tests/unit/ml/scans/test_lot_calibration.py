"""P-values of scans of new lots, and of codes that left their company."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.ml.scans.lot_calibration import LotCalibration, calibrations_of, p_of_new_lot


@given(
    p=st.lists(st.floats(1e-12, 1.0), min_size=2, max_size=30),
    rows=st.integers(50, 10**6),
    lots=st.integers(1, 2000),
)
def test_the_p_value_of_a_new_lot_is_larger_and_keeps_the_order(
    p: list[float], rows: int, lots: int
) -> None:
    before = np.sort(np.array(p))
    after = p_of_new_lot(before, rows, lots)
    assert (after >= before * (1 - 1e-9)).all()
    assert (after <= 1.0 + 1e-12).all()
    assert (np.diff(after) >= -1e-15).all()


@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0.01, 0.5))
def test_codes_that_left_their_company_use_up_their_share_of_alpha(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    parted = rng.random(2000) < share
    raw = rng.normal(size=2000) + 2.0 * parted
    known = LotCalibration.fit(raw, parted)
    p = known.p_value(raw, lots=9, parted=parted)
    for alpha in (0.01, 0.1):
        assert (p[parted] <= alpha).sum() <= alpha / 3 * (known.rows + 1)
    assert (p[~parted] >= 1 / 10 - 1e-12).all()
    assert (p <= 1.0).all()


@pytest.mark.parametrize("parted", [None, np.zeros(50, dtype=bool), np.ones(50, dtype=bool)])
def test_where_all_or_none_left_there_is_one_calibration(parted: np.ndarray | None) -> None:
    raw = np.linspace(0.0, 1.0, 50)
    known = LotCalibration.fit(raw, parted)
    assert known.parted is None
    assert known.rows == 50
    np.testing.assert_array_equal(
        known.p_value(raw, None, np.ones(50, dtype=bool)), known.scans.p_value(raw)
    )


def test_calibrations_are_stored_by_their_detectors() -> None:
    raw, parted = np.linspace(0.0, 1.0, 50), np.arange(50) > 40
    known = LotCalibration.fit(raw, parted)
    arrays = {f"fusion/rules+lstm/{name}": array for name, array in known.to_arrays().items()}
    again = calibrations_of(arrays | {"fusion/lots": np.ones(1)}, "fusion")
    assert set(again) == {("rules", "lstm")}
    np.testing.assert_array_equal(
        again["rules", "lstm"].p_value(raw, 3, parted), known.p_value(raw, 3, parted)
    )
