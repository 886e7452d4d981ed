"""The tensor file: the safetensors format, streaming in, slices out, damage noticed."""

import errno
import json
import os
from contextlib import closing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load_file, save_file

from anomaly_platform.ml.bundles import tensor_file
from anomaly_platform.ml.bundles.tensor_file import (
    TensorFile,
    TensorFileError,
    TensorSpec,
    TruncatedFileError,
    storable,
    write_tensor_file,
)

DTYPES = st.sampled_from(
    ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?", ">f8"]
)
ARRAYS = DTYPES.flatmap(
    lambda t: hnp.arrays(t, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0))
)


def write(path, arrays):
    stored = {name: storable(np.asarray(a)) for name, a in arrays.items()}
    return write_tensor_file(
        path, {n: (TensorSpec(a.dtype, a.shape), [a.tobytes()]) for n, a in stored.items()}
    )


@given(arrays=st.dictionaries(st.text(min_size=1, max_size=8), ARRAYS, max_size=4))
@settings(max_examples=40, deadline=None)
def test_what_is_written_is_read_here_and_by_the_library(arrays, tmp_path_factory):
    arrays.pop("__metadata__", None)
    path = tmp_path_factory.mktemp("tensors") / "a.safetensors"
    digest = write(path, arrays)
    library = load_file(path)
    with closing(TensorFile(path)) as file:
        assert file.digest() == digest
        assert set(file.specs) == set(arrays) == set(library)
        for name, array in arrays.items():
            for found in (file.read(name), library[name]):
                assert found.shape == array.shape
                assert found.tobytes() == storable(array).tobytes()
            if array.ndim:
                parts = [file.read(name, i).tobytes() for i in range(array.shape[0])]
                assert b"".join(parts) == storable(array).tobytes()


def test_a_file_that_is_stored_while_it_is_written_is_the_same(tmp_path, monkeypatch):
    arrays = {name: np.arange(2_000.0) for name in "abcd"}
    digest, synced, sync = write(tmp_path / "at once", arrays), [], os.fsync
    monkeypatch.setattr(tensor_file, "_SYNCED", 20_000)
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(sync(handle)))
    assert write(tmp_path / "bit by bit", arrays) == digest
    assert (tmp_path / "bit by bit").read_bytes() == (tmp_path / "at once").read_bytes()
    assert len(synced) > 1


def test_what_the_disk_refuses_early_is_raised(tmp_path, monkeypatch):
    def refuse(handle):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(tensor_file, "_SYNCED", 1)
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="full"):
        write(tmp_path / "x", {"a": np.arange(9.0)})


def test_the_librarys_files_are_read(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.array([1, 2], np.uint8)}
    save_file(arrays, tmp_path / "x", metadata={"any": "thing"})
    with closing(TensorFile(tmp_path / "x")) as file:
        assert {n: file.read(n).tolist() for n in file.specs} == {
            n: a.tolist() for n, a in arrays.items()
        }


def test_a_slice_reads_no_more_than_itself(tmp_path):
    write(tmp_path / "x", {"big": np.zeros((1000, 64), np.float32)})
    with closing(TensorFile(tmp_path / "x")) as file:
        header = file.bytes_read
        assert file.read("big", 999).shape == (64,)
        assert file.bytes_read - header == 256
        with pytest.raises(IndexError):
            file.read("big", 1000)


def test_files_are_private_whatever_the_umask(tmp_path):
    previous = os.umask(0)
    try:
        write(tmp_path / "x", {"a": np.zeros(3)})
    finally:
        os.umask(previous)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o600


def test_an_existing_file_is_not_overwritten(tmp_path):
    (tmp_path / "x").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        write(tmp_path / "x", {"a": np.zeros(3)})
    assert (tmp_path / "x").read_bytes() == b"mine"


def test_pieces_must_add_up(tmp_path):
    spec = TensorSpec(np.dtype("<f8"), (2,))
    with pytest.raises(TensorFileError, match="8 bytes, its spec says 16"):
        write_tensor_file(tmp_path / "x", {"a": (spec, [b"\0" * 8])})


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([None]), np.array([1j])])
def test_what_the_format_cannot_name_is_refused(array):
    with pytest.raises(TensorFileError, match="cannot be stored"):
        storable(array)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_every_truncation_is_noticed(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cut")
    write(folder / "x", {"a": np.arange(10.0), "b": np.zeros((2, 2), np.int8)})
    whole = (folder / "x").read_bytes()
    (folder / "y").write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(TensorFileError):
        TensorFile(folder / "y")


def test_a_file_cut_while_open_raises(tmp_path):
    write(tmp_path / "x", {"a": np.arange(1000.0)})
    with closing(TensorFile(tmp_path / "x")) as file:
        os.truncate(tmp_path / "x", 500)
        with pytest.raises(TruncatedFileError):
            file.read("a")
    file.close()


def header(entries):
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text


GOOD = {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "content",
    [
        b"\xff" * 64,
        header(b"not json"),
        header(b"[]"),
        header(b"\xff\xfe"),
        header({"a": 1}),
        header({"a": {**GOOD, "dtype": "F1"}}) + b"\0" * 8,
        header({"a": {**GOOD, "shape": [2]}}) + b"\0" * 8,
        header({"a": {**GOOD, "shape": [-1]}}) + b"\0" * 8,
        header({"a": {**GOOD, "shape": ["1"]}}) + b"\0" * 8,
        header({"a": {**GOOD, "shape": [-1, -1]}}) + b"\0" * 8,
        header({"a": {**GOOD, "data_offsets": [8, 16]}}) + b"\0" * 16,
        header({"a": {**GOOD, "data_offsets": []}}) + b"\0" * 16,
        header({"a": GOOD, "b": GOOD}) + b"\0" * 8,
        header({"a": GOOD}) + b"\0" * 9,
    ],
)
def test_damaged_files_are_refused(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(TensorFileError):
        TensorFile(tmp_path / "x")
