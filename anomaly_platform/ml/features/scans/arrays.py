"""Packs texts and frames into arrays, since a bundle holds nothing else."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import polars as pl

Arrays = dict[str, npt.NDArray[np.generic]]


def pack_texts(name: str, texts: Sequence[str]) -> Arrays:
    """Store texts as UTF-8 bytes and (n + 1,) offsets, under `name/bytes` and `name/offsets`."""
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    return {
        f"{name}/bytes": np.frombuffer(b"".join(encoded), dtype=np.uint8).copy(),
        f"{name}/offsets": ends,
    }


def unpack_texts(name: str, arrays: Mapping[str, npt.NDArray[np.generic]]) -> list[str]:
    """Read texts back.

    Raises
    ------
    ValueError
        When one of the two arrays is missing.
    """
    data = np.asarray(require(f"{name}/bytes", arrays), dtype=np.uint8).tobytes()
    ends = np.asarray(require(f"{name}/offsets", arrays), dtype=np.int64)
    return [data[a:b].decode() for a, b in pairwise(ends)]


def require(name: str, arrays: Mapping[str, npt.NDArray[np.generic]]) -> npt.NDArray[np.generic]:
    """Return an array, or say which one is missing."""
    if name not in arrays:
        raise ValueError(f"the bundle lacks the array {name!r}")
    return arrays[name]


def pack_frame(name: str, frame: pl.DataFrame) -> Arrays:
    """Store a frame without nulls of texts, floats and integers, column by column."""
    arrays: Arrays = pack_texts(f"{name}.columns", frame.columns)
    for column in frame.iter_columns():
        if column.dtype == pl.String:
            arrays |= pack_texts(f"{name}.{column.name}", column.to_list())
        else:
            arrays[f"{name}.{column.name}"] = column.to_numpy().copy()
    return arrays


def unpack_frame(name: str, arrays: Mapping[str, npt.NDArray[np.generic]]) -> pl.DataFrame:
    """Read a frame back; raises ValueError when an array is missing."""
    columns: dict[str, pl.Series] = {}
    for column in unpack_texts(f"{name}.columns", arrays):
        key = f"{name}.{column}"
        if key in arrays:
            columns[column] = pl.Series(arrays[key])
        else:
            columns[column] = pl.Series(unpack_texts(key, arrays), dtype=pl.String)
    return pl.DataFrame(columns)
