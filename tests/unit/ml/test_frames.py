import polars as pl
import pytest

from anomaly_platform.ml.frames import to_polars


def test_polars_passes_through_and_pandas_is_converted():
    frame = pl.DataFrame({"a": [1, 2]})
    assert to_polars(frame) is frame
    assert to_polars(frame.to_pandas()).equals(frame)


def test_what_is_no_eager_frame_is_refused():
    with pytest.raises(TypeError):
        to_polars(pl.LazyFrame({"a": [1]}))
