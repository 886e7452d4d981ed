"""Copies between folders and object stores: whole or not there, for their owner alone."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import uuid
from pathlib import Path

import pytest

from anomaly_platform.runtime.backup.files import Place

CONTENT = b"x" * 3_000_000
DESCRIBED = (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture(params=["folder", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(
        str(tmp_path / "place") if request.param == "folder" else f"memory://{uuid.uuid4().hex}"
    )


def test_a_copy_has_the_digest_of_what_it_is_of(place: Place) -> None:
    assert place.states() == {}
    assert place.write("deep/er/file", io.BytesIO(CONTENT)) == DESCRIBED
    assert place.digest("deep/er/file") == DESCRIBED
    assert place.digest("deep/er/other") is None
    assert place.digest("deep") is None
    assert list(place.states()) == ["deep/er/file"]
    assert place.modified("deep/er/file") is not None


def test_a_state_changes_with_the_content(place: Place) -> None:
    place.write("file", io.BytesIO(b"a"))
    before = place.states()
    assert place.states() == before
    place.write("file", io.BytesIO(b"ab"))
    assert place.states() != before


def test_a_local_copy_keeps_its_time_and_is_its_owners_alone(tmp_path: Path) -> None:
    Place(str(tmp_path / "new")).write("deep/file", io.BytesIO(b"a"), modified=12345.5)
    file = tmp_path / "new/deep/file"
    assert file.stat().st_mtime == 12345.5
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (file, file.parent, tmp_path / "new")]
    assert modes == [0o600, 0o700, 0o700]


class Breaking(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell():
            raise OSError("the disk is gone")
        return super().read(size)


def test_a_copy_that_is_broken_off_leaves_nothing(tmp_path: Path) -> None:
    place = Place(str(tmp_path))
    place.write("file", io.BytesIO(b"before"))
    with pytest.raises(OSError, match="the disk is gone"):
        place.write("file", Breaking(CONTENT))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"before"


def test_links_to_files_count_and_pipes_do_not(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to(".")
    os.mkfifo(tmp_path / "pipe")
    assert set(Place(str(tmp_path)).states()) == {"file", "link"}
