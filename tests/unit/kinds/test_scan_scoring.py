"""What a day of scans is judged with."""

from __future__ import annotations

import polars as pl
import pytest

from anomaly_platform.kinds.scan.scoring import bounded


@pytest.mark.parametrize(("most", "kept"), [(9, 6), (6, 6), (5, 3), (3, 3), (2, 1), (0, 0)])
def test_scans_beside_a_day_are_bounded_by_whole_codes(most: int, kept: int) -> None:
    scans = pl.DataFrame({"epc_code": ["a", "b", "b", "c", "c", "c"]})
    assert bounded(scans, most).equals(scans.head(kept))
