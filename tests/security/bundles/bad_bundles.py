"""Bundles made anew with something in them that is no model, and digests that agree with it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from hypothesis import strategies as st

from anomaly_platform.ml.arrays import AnyArray
from anomaly_platform.ml.bundles.format import ARRAYS, MANIFEST, SERIES, SHARED, arrays_digest
from anomaly_platform.ml.bundles.tensor_file import TensorFile, TensorSpec, write_tensor_file


@dataclass
class Parts:
    """What a bundle is made of."""

    manifest: dict[str, Any]
    series: pl.DataFrame
    arrays: dict[str, AnyArray]


def read_parts(folder: Path) -> Parts:
    tensors = TensorFile(folder / ARRAYS)
    arrays = {name: tensors.read(name).copy() for name in tensors.specs}
    tensors.close()
    manifest = json.loads((folder / MANIFEST).read_text())
    return Parts(manifest, pl.read_parquet(folder / SERIES), arrays)


def write_parts(parts: Parts, folder: Path) -> str:
    """Write a bundle whose digests all agree; return that of its manifest."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    arrays = {name: np.ascontiguousarray(array) for name, array in parts.arrays.items()}
    write_tensor_file(
        folder / ARRAYS,
        {
            name: (TensorSpec(array.dtype, array.shape), [array.tobytes()])
            for name, array in arrays.items()
        },
    )
    own = {name: array for name, array in arrays.items() if not name.startswith(SHARED)}
    slots = parts.manifest.get("slots")
    digests = {
        slot: arrays_digest({name: np.ascontiguousarray(of[slot]) for name, of in own.items()})
        for slot in range(slots if isinstance(slots, int) and slots < 100 else 0)
        if all(of.ndim and slot < len(of) for of in own.values())
    }
    series = parts.series
    if "slot" in series.columns and series["slot"].dtype.is_integer():
        said = series["slot"].replace_strict(digests, default="0" * 64, return_dtype=pl.String)
        series = series.with_columns(
            digest=pl.when(series["slot"].is_not_null()).then(said).otherwise(None)
        )
    series.write_parquet(folder / SERIES)
    manifest = dict(parts.manifest)
    if isinstance(manifest.get("files"), dict):
        manifest["files"] = {
            name: {
                "bytes": (folder / name).stat().st_size,
                "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest(),
            }
            for name in manifest["files"]
            if (folder / name).exists()
        }
    if isinstance(manifest.get("shared_digests"), dict):
        manifest["shared_digests"] = {
            name: arrays_digest({name: array})
            for name, array in arrays.items()
            if name.startswith(SHARED)
        }
    text = json.dumps(manifest).encode()
    (folder / MANIFEST).write_bytes(text)
    return hashlib.sha256(text).hexdigest()


NUMBERS = (float("nan"), float("inf"), -float("inf"), -1.0, 0.0, 1e30, 255.0, 2.0**31, 1e-30)
VALUES: tuple[Any, ...] = (
    *(None, -1, 0, 10**9, 10**18, 0.5, float("nan"), 1e300, True),
    *("x", "", [], {}, [10**12], [float("nan")], {"a": 1}),
)


def _number(array: AnyArray, place: int, number: float) -> AnyArray:
    changed = array.copy()
    with np.errstate(all="ignore"):
        changed.reshape(-1)[place % max(changed.size, 1)] = np.array(
            number if changed.dtype.kind == "f" else np.nan_to_num(number) % 2**16
        ).astype(changed.dtype)
    return changed


SHAPES: tuple[Callable[[AnyArray], AnyArray], ...] = (
    lambda array: array[..., :-1],
    lambda array: array[..., :0],
    lambda array: np.concatenate([array, array], axis=-1),
    lambda array: np.swapaxes(array, -1, -2) if array.ndim > 2 else array[..., None],
    lambda array: array[:, :1] if array.ndim > 1 else array,
    lambda array: array[:0],
    lambda array: array.reshape(array.shape[0], -1) if array.ndim > 2 else array[..., None],
)
TYPES = ("f8", "f4", "f2", "i8", "i4", "u1", "?")


def change(parts: Parts, data: st.DataObject) -> str:
    """Change one thing of a bundle; return what."""
    where = data.draw(
        st.sampled_from(["number", "number", "shape", "type", "gone", "manifest", "series"])
    )
    if where == "manifest":
        return _change_manifest(parts.manifest, data)
    if where == "series":
        return _change_series(parts, data)
    name = data.draw(st.sampled_from(sorted(parts.arrays)))
    array = parts.arrays[name]
    if where == "gone":
        del parts.arrays[name]
    elif where == "number" and array.size:
        place, number = (
            data.draw(st.integers(0, array.size - 1)),
            data.draw(st.sampled_from(NUMBERS)),
        )
        parts.arrays[name] = _number(array, place, number)
        return f"{name}[{place}] = {number}"
    elif where == "shape":
        parts.arrays[name] = data.draw(st.sampled_from(SHAPES))(array)
    else:
        with np.errstate(all="ignore"):
            parts.arrays[name] = array.astype(data.draw(st.sampled_from(TYPES)))
    return f"{name} {where}"


def _change_manifest(manifest: dict[str, Any], data: st.DataObject) -> str:
    place: Any = manifest
    path = []
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        path.append(key)
        inner = place[key]
        if not (isinstance(inner, dict) and inner and data.draw(st.booleans())):
            break
        place = inner
    if data.draw(st.booleans()):
        del place[key]
    else:
        place[key] = data.draw(st.sampled_from(VALUES))
    return f"manifest {path}"


def _change_series(parts: Parts, data: st.DataObject) -> str:
    name = data.draw(st.sampled_from(parts.series.columns))
    column = parts.series[name]
    if data.draw(st.booleans()):
        parts.series = parts.series.drop(name)
    elif column.dtype.is_numeric():
        number = data.draw(st.sampled_from([-1, 99, 0]))
        parts.series = parts.series.with_columns(pl.lit(number, column.dtype).alias(name))
    else:
        parts.series = parts.series.with_columns(pl.lit(7).alias(name))
    return f"series {name}"
