"""The pieces in which a day's rows are scored."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.kinds.metric.scoring import in_pieces


@given(sizes=st.lists(st.integers(1, 9), max_size=12), most=st.integers(1, 20))
def test_pieces_are_whole_entities_in_order_and_as_large_as_allowed(
    sizes: list[int], most: int
) -> None:
    entities = [f"host-{number}" for number, size in enumerate(sizes) for _ in range(size)]
    rows = pl.DataFrame({"entity": entities}, schema={"entity": pl.String}).with_row_index("row")
    pieces = list(in_pieces(rows, most))
    assert pl.concat(pieces).equals(rows)
    for piece, after in zip(pieces, [*pieces[1:], None], strict=True):
        assert piece.height <= max(most, *sizes, 0) if sizes else piece.is_empty()
        if after is not None:
            assert after["entity"][0] not in piece["entity"]
            assert piece.height + (after["entity"] == after["entity"][0]).sum() > most
