"""Arrays of a series read at once: the same as one by one, with how far their values go."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from anomaly_platform.ml.bundles.checking import BadModelError, checked
from anomaly_platform.ml.bundles.format import arrays_digest
from anomaly_platform.ml.bundles.slots import SlotReader
from anomaly_platform.ml.bundles.tensor_file import TensorFile, TensorSpec, write_tensor_file
from anomaly_platform.ml.detectors.base import part_of

KINDS = ("<f2", "<f4", "<f8", "|u1", "<u4", "<i8", "|b1")


def reader_of(folder: Path, stacked: dict[str, np.ndarray]) -> SlotReader:
    write_tensor_file(
        folder / "arrays.safetensors",
        {name: (TensorSpec(a.dtype, a.shape), [a.tobytes()]) for name, a in stacked.items()},
    )
    return SlotReader(TensorFile(folder / "arrays.safetensors"), stacked)


@given(
    data=st.data(),
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=6),
    slots=st.integers(1, 3),
)
@settings(max_examples=60, deadline=None)
def test_arrays_digest_and_extremes_are_those_of_each_array(data, kinds, slots, tmp_path_factory):
    shapes = hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=40)
    stacked = {
        f"part/{n}": data.draw(hnp.arrays(kind, (slots, *data.draw(shapes))))
        for n, kind in enumerate(kinds)
    }
    index = data.draw(st.integers(0, slots - 1))
    wanted = {name: array[index] for name, array in stacked.items()}
    arrays, digest = reader_of(tmp_path_factory.mktemp("slots"), stacked).read(index)
    assert digest == arrays_digest({n: np.ascontiguousarray(a) for n, a in wanted.items()})
    for name, array in wanted.items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].shape == array.shape
        assert arrays[name].tobytes() == array.tobytes()
        known = arrays.extremes.get(name)
        assert (known is None) == (array.size == 0 or array.dtype.char in "l?")
        if known is not None:
            assert np.array_equal(known, (array.min(), array.max()), equal_nan=True)


@pytest.mark.parametrize("kind", ["<f2", "<f4", "<f8"])
@pytest.mark.parametrize(
    "values",
    [
        (-1.5, -2.5),
        (-0.0, 0.0),
        (-np.inf, 3.0),
        (np.inf, 1.0),
        (1.0, np.nan),
        (-1.0, -np.nan),
        (5.0, 5.0),
    ],
)
def test_signs_infinity_and_nan_are_told_apart(tmp_path, kind, values):
    stacked = {"a": np.array([values * 40], dtype=kind)}
    arrays, _ = reader_of(tmp_path, stacked).read(0)
    array = stacked["a"][0]
    assert np.array_equal(arrays.extremes["a"], (array.min(), array.max()), equal_nan=True)


def test_values_out_of_range_are_refused_in_a_part_of_a_model_too(tmp_path):
    stacked = {"forest/feature": np.array([[1, 2], [3, 9]], dtype=np.uint8)}
    reader = reader_of(tmp_path, stacked)
    for index, greatest in ((0, 2), (1, 9)):
        part = part_of(reader.read(index)[0], "forest/")
        checked(part, "feature", (2,), kinds="u", high=greatest)
        with pytest.raises(BadModelError, match="values above"):
            checked(part, "feature", (2,), kinds="u", high=greatest - 1)


def test_a_series_that_the_file_does_not_have_is_refused(tmp_path):
    reader = reader_of(tmp_path, {"a": np.zeros((3, 2))})
    for index in (-1, 3):
        with pytest.raises(IndexError, match="has 3 series"):
            reader.read(index)
