"""Checks of arrays that become models: dtype, shape and range, before anything is computed.

Compiled kernels check no bounds: a feature number that is too large, or an array that is too short,
reads or writes memory that is not theirs. Digests show that a bundle is what was published, not
that what was published is a model.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import polars as pl

from anomaly_platform.ml.arrays import AnyArray, Arrays, StoredArrays
from anomaly_platform.ml.bundles.format import BundleError


class BadModelError(BundleError):
    """Arrays or numbers of a bundle that are no model; the message names the one and its fault."""


def checked(
    arrays: Arrays,
    name: str,
    shape: tuple[int | None, ...],
    *,
    kinds: str = "f",
    finite: bool = True,
    low: float | None = None,
    high: float | None = None,
) -> AnyArray:
    """Return an array of a model that is what it should be.

    Parameters
    ----------
    arrays, name
        Where it is.
    shape
        Its dimensions; None where any size from 1 on will do.
    kinds
        What it may hold, as NumPy's codes: `f` floats, `i` whole numbers, `u` those from 0 on.
    finite
        Whether infinity is refused; NaN always is.
    low, high
        The least and the greatest value that it may have.

    Raises
    ------
    BadModelError
        When it is missing or another.
    """
    if name not in arrays:
        raise BadModelError(f"the array {name!r} is missing")
    array = arrays[name]
    if array.dtype.kind not in kinds:
        raise BadModelError(f"the array {name!r} has the type {array.dtype}")
    if array.shape != shape and not _fits(array.shape, shape):
        asked = ", ".join("any" if wanted is None else str(wanted) for wanted in shape)
        raise BadModelError(f"the array {name!r} has the shape {array.shape}, not ({asked})")
    if array.size:
        known = arrays.extremes.get(name) if isinstance(arrays, StoredArrays) else None
        _refuse_values(name, known or _extremes(array), finite=finite, low=low, high=high)
    return array


def _fits(found: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    if len(found) != len(wanted):
        return False
    return all(
        there >= 1 if asked is None else there == asked
        for there, asked in zip(found, wanted, strict=True)
    )


def _extremes(array: AnyArray) -> tuple[float, float]:
    # A NaN is the least and the greatest of all.
    least = float(np.minimum.reduce(array, axis=None))
    return least, float(np.maximum.reduce(array, axis=None))


def _refuse_values(
    name: str,
    extremes: tuple[float, float],
    *,
    finite: bool,
    low: float | None,
    high: float | None,
) -> None:
    least, greatest = extremes
    if math.isnan(least):
        raise BadModelError(f"the array {name!r} has values that are no numbers (NaN)")
    if finite and not (math.isfinite(least) and math.isfinite(greatest)):
        raise BadModelError(f"the array {name!r} has infinite values")
    if low is not None and least < low:
        raise BadModelError(f"the array {name!r} has values below {low}")
    if high is not None and greatest > high:
        raise BadModelError(f"the array {name!r} has values above {high}")


def checked_number(
    values: Mapping[str, Any], name: str, low: float, high: float, *, open_ends: bool = False
) -> float:
    """Return a number of a manifest that lies in its range, without its ends where they are open.

    Raises
    ------
    BadModelError
        When it is missing or another.
    """
    value = values.get(name)
    inside = (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and (low < value < high if open_ends else low <= value <= high)
    )
    if not inside:
        raise BadModelError(f"the manifest's {name} is {value!r}, not a number of {low} to {high}")
    return float(value)  # type: ignore[arg-type]


@contextmanager
def as_bad_model(what: str) -> Iterator[None]:
    """Tell of whatever goes wrong while a model is read as of a model that is none.

    Raises
    ------
    BundleError
        With `what` before the reason; a `BundleError` of another kind stays of it.
    """
    try:
        yield
    except BadModelError as error:
        raise BadModelError(f"{what}: {error}") from error
    except BundleError:
        raise
    except (
        *(ValueError, LookupError, TypeError, AttributeError, ArithmeticError),
        *(RecursionError, MemoryError, pl.exceptions.PolarsError),
    ) as error:
        raise BadModelError(f"{what}: {type(error).__name__} {str(error)[:200]}") from error
