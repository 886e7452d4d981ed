"""Compiled functions read arrays by address only where type and axes are what they go by."""

import copy
import pickle
from typing import Annotated, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from anomaly_platform.ml.addresses import Layout
from anomaly_platform.ml.arrays import Bools, Floats, Singles
from anomaly_platform.ml.compiled import compiled


class First(NamedTuple):
    flags: Annotated[Bools, 1]
    cube: Annotated[Singles, 3]


class Inserted(NamedTuple):
    small: Annotated[npt.NDArray[np.uint8], 2]
    flags: Annotated[Bools, 1]
    cube: Annotated[Singles, 3]


class Second(NamedTuple):
    numbers: Annotated[Floats, 2]


CUBE = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
FIRST = First(np.array([False, True]), CUBE)
SECOND = Second(np.array([[0.5, 1.5]]))
LAYOUT = Layout(First, Second)
read = LAYOUT.reader()
read_inserted = Layout(Inserted, Second).reader()


@compiled()
def seen(rows):
    first, second = read(rows)
    second.numbers[0, 0] = -1.0
    return first.flags[1], first.cube[1, 2, 0], first.cube.shape, second.numbers[0, 1]


@compiled()
def seen_inserted(rows):
    first, second = read_inserted(rows)
    return first.flags[1], first.cube[1, 2, 0], first.cube.shape, second.numbers[0, 1]


def test_a_compiled_function_reads_and_writes_the_arrays_themselves():
    second = Second(SECOND.numbers.copy())
    table = LAYOUT.table(FIRST, second)
    assert seen(table.rows) == (True, 20.0, (2, 3, 4), 1.5)
    assert second.numbers.tolist() == [[-1.0, 1.5]]


def test_a_field_that_is_inserted_moves_the_rows_behind_it():
    inserted = Inserted(np.zeros((1, 1), np.uint8), *FIRST)
    table = Layout(Inserted, Second).table(inserted, SECOND)
    assert seen_inserted(table.rows) == (True, 20.0, (2, 3, 4), 1.5)


def test_a_field_that_does_not_say_what_it_is_is_refused():
    class Unsaid(NamedTuple):
        numbers: Floats

    with pytest.raises(TypeError, match="numbers"):
        Layout(Unsaid)


@pytest.mark.parametrize(
    ("cube", "said"),
    [
        (CUBE.astype(np.float64), "cube has 3 axes of float64, not 3 of float32"),
        (CUBE[0], "cube has 2 axes of float32, not 3 of float32"),
        (CUBE.T, "cube is not contiguous"),
    ],
)
def test_arrays_that_are_not_as_annotated_are_refused(cube, said):
    with pytest.raises(ValueError, match=said):
        LAYOUT.table(FIRST._replace(cube=cube), SECOND)


@pytest.mark.parametrize("copied", [pickle.dumps, copy.deepcopy])
def test_what_holds_addresses_is_not_copied(copied):
    holder = [LAYOUT.table(FIRST, SECOND)]
    with pytest.raises(TypeError, match="addresses"):
        copied(holder)
