"""Files of the lake: whole or not there, named by their content, read back by bucket."""

from __future__ import annotations

import datetime as dt
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from anomaly_platform.storage.lake.lake import Lake, LakeError

SCHEMA = {"bucket": pl.UInt8, "entity": pl.String, "value": pl.Float64, "label": pl.Boolean}


@pytest.fixture(params=["local", "memory"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    if request.param == "memory":
        return Lake(f"memory://lake-{uuid.uuid4().hex}", tmp_path / "cache")
    return Lake(str(tmp_path / "lake"))


def frame(first: int, last: int, rows_per_bucket: int = 10) -> pl.DataFrame:
    buckets = [b for b in range(first, last + 1) for _ in range(rows_per_bucket)]
    return pl.DataFrame(
        {
            "bucket": buckets,
            "entity": [f"e{b}" for b in buckets],
            "value": [None if n % 7 == 0 else float(n) for n in range(len(buckets))],
            "label": [None] * len(buckets),
        },
        schema=SCHEMA,
    )


def test_what_was_written_is_read(lake: Lake) -> None:
    written = lake.write("features", "ems", "2026-01-05", [frame(0, 31), frame(32, 63)])
    assert written.rows == 640
    assert written.path == f"features/ems/2026-01-05/{written.digest}.parquet"
    assert lake.exists(written.path)
    assert lake.read(written.path).equals(pl.concat([frame(0, 31), frame(32, 63)]))


def test_equal_content_has_an_equal_name_however_it_was_cut(lake: Lake) -> None:
    once = lake.write("s", "ems", "d", [frame(0, 63)])
    again = lake.write("s", "ems", "d", frame(0, 63).iter_slices(37))
    other = lake.write("s", "ems", "d", [frame(0, 62)])
    assert once == again
    assert other.path != once.path


def test_columns_and_bounds(lake: Lake) -> None:
    path = lake.write("s", "ems", "d", [frame(0, 63)]).path
    assert lake.columns(path) == list(SCHEMA)
    part = lake.read(path, columns=["value"], between={"bucket": (3, 4)})
    assert part.columns == ["value"]
    assert part.height == 20
    none = lake.read(path, between={"bucket": (70, 80)})
    assert none.is_empty()
    assert none.schema == pl.Schema(SCHEMA)
    with pytest.raises(LakeError, match="no column nonsense"):
        lake.read(path, columns=["nonsense"])


def test_chunks_hold_whole_buckets_of_all_files(lake: Lake) -> None:
    paths = [
        lake.write("s", "ems", "1", [frame(0, 63, 10)]).path,
        lake.write("s", "ems", "2", [frame(5, 20, 30)]).path,
        lake.write("s", "ems", "3", [], schema=SCHEMA).path,
    ]
    pieces = list(lake.chunks(paths, target_rows=100))
    assert sum(piece.height for piece in pieces) == 64 * 10 + 16 * 30
    assert max(piece.height for piece in pieces) <= 100
    seen = [set(piece["bucket"].to_list()) for piece in pieces]
    assert sum(len(buckets) for buckets in seen) == 64, "no bucket is in two pieces"
    assert list(lake.chunks([])) == []
    assert list(lake.chunks([paths[2]])) == []


def test_with_short_ends_the_first_and_the_last_pieces_are_of_one_bucket(lake: Lake) -> None:
    path = lake.write("s", "ems", "d", [frame(3, 60, 10)]).path

    def buckets(path: str) -> list[int]:
        pieces = lake.chunks([path], target_rows=100, short_ends=True)
        return [piece["bucket"].n_unique() for piece in pieces]

    assert buckets(path) == [1, 10, 10, 10, 10, 10, 3, 1, 1, 1, 1]
    assert buckets(lake.write("s", "ems", "e", [frame(7, 8, 10)]).path) == [1, 1]
    assert buckets(lake.write("s", "ems", "f", [frame(7, 7, 10)]).path) == [1]
    assert buckets(lake.write("s", "ems", "g", [], schema=SCHEMA).path) == []


def test_a_bucket_larger_than_the_target_is_one_piece(lake: Lake) -> None:
    path = lake.write("s", "ems", "d", [frame(7, 7, 500), frame(8, 8, 5)]).path
    assert [piece.height for piece in lake.chunks([path], target_rows=100)] == [500, 5]


def test_a_file_that_is_replaced_while_it_is_read_is_read_to_its_end(tmp_path: Path) -> None:
    """Housekeeping may remove it by its path as soon as no row names it."""
    lake = Lake(str(tmp_path / "lake"))
    path = lake.write("s", "ems", "d", [frame(0, 63)]).path
    pieces = lake.chunks([path], target_rows=100)
    first = next(pieces)
    (tmp_path / "lake" / path).unlink()
    assert pl.concat([first, *pieces]).equals(frame(0, 63))


def test_a_damaged_file_is_an_error_of_the_lake(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    path = lake.write("s", "ems", "d", [frame(0, 63)]).path
    content = bytearray((tmp_path / "lake" / path).read_bytes())
    content[4:2_000] = b"\xff" * 1_996
    (tmp_path / "lake" / path).write_bytes(content)
    with pytest.raises(LakeError, match=r"is damaged|cannot be read"):
        lake.read(path)


def test_chunks_refuse_files_without_buckets(lake: Lake) -> None:
    path = lake.write("s", "ems", "d", [pl.DataFrame({"a": [1]})]).path
    with pytest.raises(LakeError, match="cannot be read by bucket"):
        list(lake.chunks([path]))


def test_an_empty_file_keeps_its_columns(lake: Lake) -> None:
    written = lake.write("s", "ems", "d", iter(()), schema=SCHEMA)
    assert written.rows == 0
    assert lake.read(written.path).schema == pl.Schema(SCHEMA)


def test_nothing_to_write_is_an_error(lake: Lake) -> None:
    with pytest.raises(LakeError, match="no schema"):
        lake.write("s", "ems", "d", [])


def test_frames_have_to_agree(lake: Lake) -> None:
    with pytest.raises(LakeError, match=r"missing \['label'\], unknown \['surprise'\]"):
        lake.write("s", "ems", "d", [frame(0, 1), frame(2, 3).rename({"label": "surprise"})])
    with pytest.raises(LakeError, match="order of their buckets"):
        lake.write("s", "ems", "d", [frame(5, 6), frame(2, 3)])


def test_an_error_while_writing_leaves_nothing(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))

    def frames() -> Iterator[pl.DataFrame]:
        yield frame(0, 3)
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        lake.write("s", "ems", "d", frames())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    with pytest.raises(LakeError, match=r"gone\.parquet is not in the lake"):
        lake.read("gone.parquet")
    path = lake.write("s", "ems", "d", [frame(0, 63)]).path
    os.truncate(tmp_path / path, 100)
    with pytest.raises(LakeError, match="damaged"):
        lake.read(path)


def test_memory_is_bounded_by_row_groups_not_by_the_file(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    lake = Lake(str(tmp_path))
    frames = (frame(bucket, bucket, 40_000) for bucket in range(64))
    path = lake.write("s", "ems", "d", frames).path
    meta = pq.read_metadata(tmp_path / path)
    sizes = [meta.row_group(n).num_rows for n in range(meta.num_row_groups)]
    assert sum(sizes) == 64 * 40_000
    assert all(size % 40_000 == 0 for size in sizes), "row groups end where a bucket does"
    assert max(sizes) <= 4 * 131_072


def test_probe(lake: Lake) -> None:
    lake.probe()
    assert lake.garbage([], older_than=dt.timedelta(0)) == []


def test_a_folder_is_published_once_and_fetched(lake: Lake, tmp_path: Path) -> None:
    for attempt in range(2):
        folder = lake.new_folder() / "bundle"
        folder.mkdir(mode=0o700)
        (folder / "manifest.json").write_text("{}")
        (folder / "manifest.json").chmod(0o600)
        if attempt == 0:
            lake.publish_folder(folder, "models/ems/1")
        else:
            with pytest.raises(LakeError, match="never changed"):
                lake.publish_folder(folder, "models/ems/1")
    fetched = lake.fetch_folder("models/ems/1")
    assert (fetched / "manifest.json").read_text() == "{}"
    assert lake.fetch_folder("models/ems/1") == fetched


def test_a_local_bundle_keeps_its_modes(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    folder = lake.new_folder() / "bundle"
    folder.mkdir(mode=0o700)
    (folder / "manifest.json").touch(mode=0o600)
    lake.publish_folder(folder, "models/ems/1")
    published = lake.fetch_folder("models/ems/1")
    assert published.stat().st_mode & 0o777 == 0o700
    assert (published / "manifest.json").stat().st_mode & 0o777 == 0o600


def test_garbage_is_what_is_old_and_unreferenced(lake: Lake, tmp_path: Path) -> None:
    kept = lake.write("s", "ems", "d", [frame(0, 3)]).path
    replaced = lake.write("s", "ems", "d", [frame(0, 4)]).path
    folder = lake.new_folder() / "bundle"
    folder.mkdir()
    (folder / "manifest.json").write_text("{}")
    lake.publish_folder(folder, "models/ems/1")
    time.sleep(0.05)
    assert lake.garbage([kept], older_than=dt.timedelta(hours=1)) == []
    found = lake.garbage([kept, "models/ems/1"], older_than=dt.timedelta(0))
    assert [path for path, _ in found] == [replaced]
    lake.remove(replaced)
    assert lake.exists(kept)
    assert not lake.exists(replaced)
    assert lake.exists("models/ems/1/manifest.json")


def test_references_are_asked_for_after_the_files_are_listed(lake: Lake) -> None:
    published: list[str] = []

    def referenced() -> Iterator[str]:
        published.append(lake.write("s", "ems", "d", [frame(0, 5)]).path)
        yield from ()

    assert lake.garbage(referenced(), older_than=dt.timedelta(0)) == []
    assert lake.exists(published[0])
