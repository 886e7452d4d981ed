"""The detector contract, and what every detector needs to keep it.

Here belong the protocol, the check that inputs are finite, and the derivation of seeds. A
detector's own arithmetic belongs in its own module.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt

from anomaly_platform.ml.arrays import AnyArray, Arrays, Floats, StoredArrays


class NonFiniteInputError(ValueError):
    """An input row holds NaN or infinity; the message names the row and the feature."""


class FeatureSchemaError(ValueError):
    """The number or the names of the features are not those a detector was fitted on."""


class Detector(Protocol):
    """What every detector offers.

    A raw score has no unit of its own, only a direction: *higher is more anomalous*.
    ``ml.calibration`` turns it into a p-value and the one score.

    Attributes
    ----------
    feature_schema
        Names of the columns of ``X``, in order.
    tail_floor
        The smallest scale, in units of the raw score, over which calibration may let the p-value
        fall by 1/e beyond the largest calibration score. Guards against false certainty where the
        raw score jumps.
    """

    feature_schema: tuple[str, ...]
    tail_floor: float

    def fit(self, X: Floats, *, seed: int) -> Self:
        """Fit on ``X`` of shape (rows, features), all finite, and return the detector itself.

        The same ``X`` and ``seed`` give the same bits.

        Raises
        ------
        NonFiniteInputError
            When ``X`` holds NaN or infinity.
        """

    def score(self, X: Floats) -> Floats:
        """Raw scores of shape (rows,), higher = more anomalous; a row's score is its own only.

        Raises
        ------
        NonFiniteInputError
            When ``X`` holds NaN or infinity.
        """

    def to_arrays(self) -> dict[str, AnyArray]:
        """Everything that scoring depends on, as plain arrays of fixed shapes."""

    @classmethod
    def from_arrays(cls, arrays: Arrays, feature_schema: Sequence[str]) -> Self:
        """Rebuild the detector that wrote ``arrays``; its scores are the same to the bit."""


class ScanDetector(Protocol):
    """What every detector of scans offers to its bundle; it reads frames of scan features.

    What it is fitted on beside them is its own.

    Attributes
    ----------
    columns
        Columns of the stored features that it reads.
    feature_schema
        What its model is fed, made from them.
    """

    columns: ClassVar[tuple[str, ...]]
    feature_schema: ClassVar[tuple[str, ...]]

    def to_arrays(self) -> dict[str, AnyArray]:
        """Everything that scoring depends on, as plain arrays."""

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Rebuild the detector that wrote ``arrays``; its scores are the same to the bit."""


def under(prefix: str, arrays: Arrays) -> dict[str, AnyArray]:
    """Return the arrays of a part of a model under their names in the whole."""
    return {f"{prefix}{name}": array for name, array in arrays.items()}


def part_of(arrays: Arrays, prefix: str) -> dict[str, AnyArray]:
    """Return the arrays that `under` named so, under the names that the part gave them."""
    names = _names_under(prefix, tuple(arrays))
    found = {short: arrays[name] for name, short in names}
    if isinstance(arrays, StoredArrays):
        known = arrays.extremes
        return StoredArrays(found, {short: known[name] for name, short in names if name in known})
    return found


@lru_cache(maxsize=256)
def _names_under(prefix: str, names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return the names with a prefix, each with what is behind it; the same for many series."""
    return [(name, name.removeprefix(prefix)) for name in names if name.startswith(prefix)]


def as_matrix(X: npt.ArrayLike, feature_schema: Sequence[str]) -> Floats:
    """Return ``X`` as a C-contiguous float64 matrix of one column per feature, all finite.

    Parameters
    ----------
    X
        Rows of features, shape (n, d); not copied when it already has the right form.
    feature_schema
        The d names, used in messages.

    Raises
    ------
    FeatureSchemaError
        When ``X`` is not two-dimensional or has another number of columns.
    NonFiniteInputError
        When a value is NaN or infinite.
    """
    matrix = np.ascontiguousarray(X, dtype=np.float64)
    if matrix.ndim != 2:
        msg = f"expected rows of features (two dimensions), got shape {matrix.shape}"
        raise FeatureSchemaError(msg)
    if matrix.shape[1] != len(feature_schema):
        msg = (
            f"expected {len(feature_schema)} features ({', '.join(feature_schema)}), "
            f"got {matrix.shape[1]} columns"
        )
        raise FeatureSchemaError(msg)
    if not np.isfinite(matrix).all():
        position = int(np.argmin(np.isfinite(matrix)))
        raise non_finite(matrix, position, feature_schema)
    return matrix


def non_finite(
    matrix: Floats, position: int, feature_schema: Sequence[str] | None = None
) -> NonFiniteInputError:
    """Build the error for the flat ``position`` of a bad value, so that kernels can report one."""
    row, column = divmod(position, matrix.shape[1])
    name = f"feature {feature_schema[column]!r}" if feature_schema else f"column {column}"
    return NonFiniteInputError(
        f"{name} is {matrix[row, column]} in row {row}; detectors take finite values only"
    )


def derive_seed(seed: int, *key: str) -> int:
    """Derive the seed of one series from the seed of the training and the series' own key.

    A stable hash: independent of the process, of the order in which series are trained and of how
    many there are.

    Parameters
    ----------
    seed
        Seed of the whole training, any integer.
    key
        What names the series, for example entity and metric.

    Returns
    -------
    int
        In [0, 2**63).

    Examples
    --------
    >>> derive_seed(7, "host-1", "cpu") == derive_seed(7, "host-1", "cpu")
    True
    >>> derive_seed(7, "host-1", "cpu") == derive_seed(7, "host-1c", "pu")
    False
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in (str(seed), *key):
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return int.from_bytes(digest.digest(), "little") >> 1
