"""Bundles: round trip, tampering, atomic publishing, one series read alone."""

import json
import multiprocessing
import os
import re
import shutil
import stat
import threading
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from anomaly_platform.ml.bundles import writer
from anomaly_platform.ml.bundles.bundle import open_bundle
from anomaly_platform.ml.bundles.format import (
    BundleError,
    BundleExistsError,
    DigestMismatchError,
    MissingFeaturesError,
)
from anomaly_platform.ml.bundles.tensor_file import TensorFileError, write_tensor_file
from anomaly_platform.ml.bundles.writer import BundleWriter

FILES = ("manifest.json", "series.parquet", "arrays.safetensors")
MANIFEST = {
    "stream": "ems",
    "feature_schema": {"features": {"value": {}, "mean_12": {}}, "inputs": ["z_12"]},
}


def write_bundle(
    directory: Path,
    manifest: dict[str, object],
    series: pl.DataFrame,
    arrays: dict[str, np.ndarray],
    *,
    shared: dict[str, np.ndarray] | None = None,
    series_key: tuple[str, ...] | list[str] = ("entity", "metric"),
) -> str:
    """Publish arrays that are stacked in memory already, (slots, …) each; see `BundleWriter`.

    Without a column ``slot`` the i-th row of ``series`` has the i-th part of every array.
    """
    counts = {array.shape[0] for array in arrays.values()}
    if len(counts) > 1:
        msg = f"stacked arrays differ in their first dimension: {sorted(counts)}"
        raise BundleError(msg)
    count = counts.pop() if counts else 0
    if "slot" not in series.columns:
        series = series.with_columns(pl.Series("slot", np.arange(series.height)))
    with BundleWriter(directory) as writer:
        for slot in range(count):
            writer.append({name: array[slot] for name, array in arrays.items()})
        for name, array in (shared or {}).items():
            writer.share(name, array)
        return writer.publish(manifest, series, series_key=series_key)


def table(count: int, **columns) -> pl.DataFrame:
    return pl.DataFrame(
        {"entity": [f"host-{i}" for i in range(count)], "metric": ["cpu"] * count, **columns}
    )


def arrays(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "forest/threshold": rng.normal(size=(count, 4, 7)).astype(np.float32),
        "forest/feature": rng.integers(0, 5, size=(count, 4, 7)).astype(np.uint8),
        "calibration/values": rng.normal(size=(count, 5)),
    }


@pytest.fixture
def published(tmp_path):
    directory = tmp_path / "ems" / "v1"
    write_bundle(directory, MANIFEST, table(6), arrays(6), shared={"pool": np.arange(3.0)})
    return directory


@given(
    count=st.integers(0, 5),
    data=st.data(),
    extra=st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3),
)
@settings(max_examples=40, deadline=None)
def test_round_trip(count, data, extra, tmp_path_factory):
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=4))
    stacked = {
        f"a{i}": data.draw(hnp.arrays(dtype, (count, *shape)))
        for i, dtype in enumerate(
            data.draw(st.lists(st.sampled_from(["f8", "f4", "u1"]), max_size=3))
        )
    }
    count = count if stacked else 0
    reserved = {"format", "files", "slots", "series_key", "shared_digests", "feature_schema"}
    manifest = {**{k: v for k, v in extra.items() if k not in reserved}, **MANIFEST}
    directory = tmp_path_factory.mktemp("bundles") / "v1"
    digest = write_bundle(directory, manifest, table(count), stacked)
    with open_bundle(directory, expected_digest=digest) as bundle:
        assert bundle.digest == digest
        assert {key: bundle.manifest[key] for key in manifest} == manifest
        assert bundle.series.drop("slot", "digest").equals(table(count))
        for i in range(count):
            assert bundle.slot(f"host-{i}", "cpu") == i
            found = bundle.arrays(i)
            assert {n: a.tobytes() for n, a in found.items()} == {
                n: a[i].tobytes() for n, a in stacked.items()
            }
            assert all(found[n].shape == shape for n in found)


def test_says_what_it_holds(published):
    bundle = open_bundle(published, expected_features=["mean_12", "value", "other"])
    assert bundle.features == ("value", "mean_12")
    assert bundle.inputs == ("z_12",)
    assert ("host-3", "cpu") in bundle
    assert ("host-3", "mem") not in bundle
    assert bundle.shared("pool").tolist() == [0.0, 1.0, 2.0]
    with pytest.raises(KeyError):
        bundle.slot("host-3", "mem")
    with pytest.raises(KeyError):
        bundle.shared("other")
    with pytest.raises(IndexError, match="no slot 6"):
        bundle.arrays(6)


def test_the_same_content_has_the_same_bytes(tmp_path):
    digests = {write_bundle(tmp_path / name, MANIFEST, table(3), arrays(3)) for name in ("a", "b")}
    assert len(digests) == 1
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_series_without_arrays_have_no_slot(tmp_path):
    with BundleWriter(tmp_path / "v1") as writer:
        slot = writer.append({"x": np.arange(4.0)})
        series = table(3, slot=[None, slot, None], status=["failed", "trained", "failed"])
        writer.publish(MANIFEST, series)
    bundle = open_bundle(tmp_path / "v1")
    assert bundle.slot("host-0", "cpu") is None
    assert bundle.slot("host-1", "cpu") == 0
    assert bundle.arrays(0)["x"].tolist() == [0.0, 1.0, 2.0, 3.0]


def test_a_bundle_may_name_its_series_otherwise(tmp_path):
    series = pl.DataFrame({"route": ["A→B"], "slot": [None]}, schema={"route": str, "slot": int})
    write_bundle(tmp_path / "v1", MANIFEST, series, {}, series_key=["route"])
    assert open_bundle(tmp_path / "v1").slot("A→B") is None


def test_everything_is_private_whatever_the_umask(tmp_path):
    previous = os.umask(0)
    try:
        write_bundle(tmp_path / "a" / "b" / "v1", MANIFEST, table(2), arrays(2))
    finally:
        os.umask(previous)
    for folder in ("a", "a/b", "a/b/v1"):
        assert stat.S_IMODE((tmp_path / folder).stat().st_mode) == 0o700
    assert sorted(p.name for p in (tmp_path / "a/b/v1").iterdir()) == sorted(FILES)
    for name in FILES:
        assert stat.S_IMODE((tmp_path / "a/b/v1" / name).stat().st_mode) == 0o600


@pytest.mark.parametrize("name", FILES)
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=25, deadline=None)
def test_a_flipped_bit_in_any_file_is_noticed(name, position, bit, tmp_path_factory):
    directory = tmp_path_factory.mktemp("tampered") / "v1"
    digest = write_bundle(directory, MANIFEST, table(3), arrays(3))
    data = bytearray((directory / name).read_bytes())
    data[int(position * len(data))] ^= 1 << bit
    (directory / name).write_bytes(data)
    with pytest.raises(BundleError):
        open_bundle(directory, expected_digest=digest)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("verify", ["all", "each"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_noticed_at_once(published, name, verify, share):
    size = (published / name).stat().st_size
    os.truncate(published / name, int(size * share))
    with pytest.raises(BundleError):
        open_bundle(published, verify=verify)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(published, name):
    (published / name).unlink()
    with pytest.raises(BundleError, match=re.escape(name)):
        open_bundle(published)


def test_read_each_notices_damage_in_the_series_it_reads(published):
    path = published / "arrays.safetensors"
    with open_bundle(published, verify="each") as bundle:
        healthy = bundle.arrays(4)["calibration/values"]
        at = path.read_bytes().index(healthy.tobytes())
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\xff")
    with open_bundle(published, verify="each") as bundle:
        assert bundle.arrays(3)
        with pytest.raises(DigestMismatchError, match="slot 4"):
            bundle.arrays(4)
        with pytest.raises(DigestMismatchError):
            bundle.verify_arrays()


@pytest.mark.parametrize(
    ("sound", "damaged"),
    [(b"[6,4,7]", b"[6,7,4]"), (b'"F32"', b'"I32"'), (b"forest/threshold", b"forest/threshole")],
)
def test_a_header_that_was_damaged_is_noticed_at_once(published, sound, damaged):
    path = published / "arrays.safetensors"
    path.write_bytes(path.read_bytes().replace(sound, damaged))
    # The bytes of each series are still those that were published.
    with pytest.raises(DigestMismatchError, match="header"):
        open_bundle(published, verify="each")


def test_a_bundle_that_knows_no_digest_of_its_header_is_read(published):
    path = published / "manifest.json"
    manifest = json.loads(path.read_bytes())
    del manifest["files"]["arrays.safetensors"]["header"]
    path.write_text(json.dumps(manifest))
    with open_bundle(published, verify="each") as bundle:
        assert bundle.arrays(4)


def test_read_each_notices_damage_in_a_shared_array(published):
    path = published / "arrays.safetensors"
    data = path.read_bytes()
    path.write_bytes(data.replace(np.arange(3.0).tobytes(), np.arange(1.0, 4.0).tobytes()))
    with (
        open_bundle(published, verify="each") as bundle,
        pytest.raises(DigestMismatchError, match="pool"),
    ):
        bundle.shared("pool")


def test_a_file_cut_under_an_open_bundle_raises(published):
    with open_bundle(published) as bundle:
        os.truncate(published / "arrays.safetensors", 400)
        with pytest.raises(DigestMismatchError, match="cut short"):
            bundle.arrays(5)


def test_one_series_of_two_thousand_is_read_alone(tmp_path):
    count, size = 2000, 4 * 7 * 4 + 4 * 7 + 5 * 8
    write_bundle(tmp_path / "v1", MANIFEST, table(count), arrays(count))
    with open_bundle(tmp_path / "v1", verify="each") as bundle:
        before = bundle.bytes_read
        assert before < 1000
        expected = {name: array[1234].tobytes() for name, array in arrays(count).items()}
        found = bundle.arrays(bundle.slot("host-1234", "cpu"))
        assert {name: array.tobytes() for name, array in found.items()} == expected
        assert bundle.bytes_read - before == size


def test_missing_features_are_named(published):
    with pytest.raises(MissingFeaturesError, match="mean_12"):
        open_bundle(published, expected_features=["value"])


def test_another_digest_is_refused(published):
    with pytest.raises(DigestMismatchError):
        open_bundle(published, expected_digest="0" * 64)


def test_no_bundle_and_an_unknown_format_are_told_apart(published, tmp_path):
    with pytest.raises(BundleError, match="no bundle at"):
        open_bundle(tmp_path / "nothing")
    content = json.loads((published / "manifest.json").read_text())
    for changed, message in (
        ({**content, "format": 99}, "format 99"),
        ({k: v for k, v in content.items() if k != "files"}, "not complete"),
    ):
        (published / "manifest.json").write_text(json.dumps(changed))
        with pytest.raises(BundleError, match=message):
            open_bundle(published)


def test_publishing_the_same_again_is_no_error_and_another_is(published):
    digest = open_bundle(published).digest
    same = {"shared": {"pool": np.arange(3.0)}}
    assert write_bundle(published, MANIFEST, table(6), arrays(6), **same) == digest
    with pytest.raises(BundleExistsError, match="v1"):
        write_bundle(published, MANIFEST, table(6), arrays(6, seed=1), **same)
    assert open_bundle(published).digest == digest
    assert [p.name for p in published.parent.iterdir()] == ["v1"]


def publish_in_a_process(directory, seed, barrier, results):
    barrier.wait()
    try:
        results.put((seed, write_bundle(directory, MANIFEST, table(4), arrays(4, seed=seed))))
    except BundleExistsError:
        results.put((seed, None))


def test_two_processes_publishing_one_version_leave_one_whole_bundle(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    workers = [
        context.Process(target=publish_in_a_process, args=(tmp_path / "v1", seed, barrier, results))
        for seed in (1, 2)
    ]
    for worker in workers:
        worker.start()
    outcome = dict(results.get(timeout=120) for _ in workers)
    for worker in workers:
        worker.join()
    (winner,) = [seed for seed, digest in outcome.items() if digest is not None]
    with open_bundle(tmp_path / "v1", expected_digest=outcome[winner]) as bundle:
        found = np.stack([bundle.arrays(slot)["forest/threshold"] for slot in range(4)])
    assert found.tobytes() == arrays(4, seed=winner)["forest/threshold"].tobytes()
    assert [p.name for p in tmp_path.iterdir()] == ["v1"]


def test_an_open_bundle_survives_its_removal(published):
    with open_bundle(published) as bundle:
        shutil.rmtree(published)
        assert bundle.arrays(5)["calibration/values"].shape == (5,)


def test_threads_read_one_bundle(published):
    expected = arrays(6)["forest/threshold"]
    wrong = []

    def read(bundle, slot):
        found = {bundle.arrays(slot)["forest/threshold"].tobytes() for _ in range(50)}
        if found != {expected[slot].tobytes()}:
            wrong.append(slot)

    with open_bundle(published) as bundle:
        threads = [threading.Thread(target=read, args=(bundle, slot)) for slot in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_what_is_in_the_file_lies_on_the_disk_no_second_time(tmp_path, monkeypatch):
    left = []

    def write(path, tensors):
        def watched(pieces):
            left.append(len(list(path.parent.glob("spool-*"))))
            yield from pieces

        return write_tensor_file(
            path, {name: (spec, watched(pieces)) for name, (spec, pieces) in tensors.items()}
        )

    monkeypatch.setattr(writer, "write_tensor_file", write)
    write_bundle(tmp_path / "v1", MANIFEST, table(3), arrays(3))
    assert left == list(range(len(left), 0, -1))
    assert len(left) == len(arrays(3))


def test_a_failed_training_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), BundleWriter(tmp_path / "v1") as writer:  # noqa: PT012
        writer.append({"x": np.zeros(3)})
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"x": np.zeros(4)}, "x"),
        ({"x": np.zeros(3, np.float32)}, "x"),
        ({"y": np.zeros(3)}, "x, y"),
    ],
)
def test_series_must_have_arrays_of_one_form(tmp_path, second, message):
    with BundleWriter(tmp_path / "v1") as writer:
        writer.append({"x": np.zeros(3)})
        with pytest.raises(BundleError, match=message):
            writer.append(second)


@pytest.mark.parametrize(
    ("manifest", "series", "message"),
    [
        ({}, table(1), "feature_schema"),
        ({"feature_schema": {"features": []}}, table(1), "feature_schema"),
        ({**MANIFEST, "files": {}}, table(1), "files"),
        ({**MANIFEST, "accuracy": float("nan")}, table(1), "JSON"),
        ({**MANIFEST, "when": object()}, table(1), "JSON"),
        (MANIFEST, table(1, slot=[1]), "slots outside 0..0"),
        (MANIFEST, table(1).drop("metric"), "lacks the columns metric"),
        (MANIFEST, pl.concat([table(1), table(1)]), "several rows"),
    ],
)
def test_what_breaks_the_rules_is_not_published(tmp_path, manifest, series, message):
    with pytest.raises(BundleError, match=message):
        write_bundle(tmp_path / "v1", manifest, series, {"x": np.zeros((1, 2))})
    assert list(tmp_path.iterdir()) == []


def test_arrays_of_no_plain_dtype_or_of_a_kept_name_are_refused(tmp_path):
    with pytest.raises(TensorFileError, match="object"):
        write_bundle(tmp_path / "v", MANIFEST, table(1), {"x": np.array([None])})
    with pytest.raises(BundleError, match="shared/"):
        write_bundle(tmp_path / "v", MANIFEST, table(1), {"shared/x": np.zeros(1)})
