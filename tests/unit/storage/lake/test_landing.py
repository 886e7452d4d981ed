"""The landing zone shows what waits, and only that."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from anomaly_platform.storage.lake.landing import (
    MAPPING_SUFFIX,
    SEEN_SECONDS,
    STILL_SECONDS,
    LandedFile,
    Landing,
    settle,
)


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    return Landing(str(tmp_path / "landing"))


def drop(landing: Landing, name: str, text: str = "a,b\n1,2\n") -> Path:
    path = Path(landing.folder("iiot")) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_lists_files_but_nothing_hidden_unfinished_or_accompanying(landing: Landing) -> None:
    for name in ("b.csv", "a.csv", "sub/c.csv", ".hidden", "x.csv.part", "y.tmp", "~lock~"):
        drop(landing, name)
    drop(landing, "a.csv" + MAPPING_SUFFIX)
    assert [file.name for file in landing.waiting("iiot")] == ["a.csv", "b.csv", "sub/c.csv"]
    assert landing.waiting("ems") == []


def names(files: list[LandedFile]) -> list[str]:
    return [file.name for file in files]


def test_a_file_counts_once_it_held_still_since_the_last_tick_and_for_five_seconds(
    landing: Landing,
) -> None:
    path = drop(landing, "grows.csv")
    whole = drop(landing, "whole.csv")
    written = whole.stat().st_mtime
    os.utime(path, (written, written))
    ready, seen = settle({}, landing.waiting("iiot"), written + 3)
    assert ready == []
    ready, seen = settle(seen, landing.waiting("iiot"), written + STILL_SECONDS - 0.1)
    assert ready == []
    path.write_text("a,b\n1,2\n3,4\n")
    os.utime(path, (written + 5, written + 5))
    ready, seen = settle(seen, landing.waiting("iiot"), written + STILL_SECONDS)
    assert names(ready) == ["whole.csv"]
    ready, _ = settle(seen, landing.waiting("iiot"), written + 5 + STILL_SECONDS)
    assert names(ready) == ["grows.csv", "whole.csv"]


def test_an_old_file_counts_once_it_was_seen_unchanged(landing: Landing) -> None:
    path = drop(landing, "moved.csv")
    now = path.stat().st_mtime
    os.utime(path, (now - 86_400,) * 2)
    ready, seen = settle({}, landing.waiting("iiot"), now)
    assert ready == []
    ready, seen = settle(seen, landing.waiting("iiot"), now + 0.5)
    assert ready == []
    ready, _ = settle(seen, landing.waiting("iiot"), now + SEEN_SECONDS)
    assert names(ready) == ["moved.csv"]


def test_a_clock_that_is_set_back_holds_no_file_up(landing: Landing) -> None:
    path = drop(landing, "a.csv")
    now = path.stat().st_mtime + 3_600
    _, seen = settle({}, landing.waiting("iiot"), now)
    os.utime(path, (now - 7_200,) * 2)
    _, seen = settle(seen, landing.waiting("iiot"), now)
    _, seen = settle(seen, landing.waiting("iiot"), now - 3_600)
    ready, _ = settle(seen, landing.waiting("iiot"), now - 3_600 + STILL_SECONDS)
    assert names(ready) == ["a.csv"]


@pytest.mark.parametrize("modified", [0.0, 1e12])
def test_where_a_time_says_nothing_a_file_has_to_look_the_same_for_five_seconds(
    modified: float,
) -> None:
    files = [LandedFile("a.csv", "/a.csv", 7, modified)]
    ready, seen = settle({}, files, 1_000.0)
    ready, seen = settle(seen, files, 1_000.0 + STILL_SECONDS - 0.1)
    assert ready == []
    ready, _ = settle(seen, files, 1_000.0 + STILL_SECONDS)
    assert names(ready) == ["a.csv"]


def test_settled_leaves_out_what_changes_under_its_eyes(landing: Landing) -> None:
    drop(landing, "whole.csv")
    assert [f.name for f in landing.settled("iiot", pause=0.01)] == ["whole.csv"]
    assert landing.settled("ems", pause=0.01) == []


def test_unchanged_notices_growth_and_removal(landing: Landing) -> None:
    path = drop(landing, "a.csv")
    (file,) = landing.waiting("iiot")
    assert landing.unchanged(file)
    path.write_text("longer than before, much longer")
    assert not landing.unchanged(file)
    path.unlink()
    assert not landing.unchanged(file)


def test_archive_and_reject_move_the_file_with_its_mapping(landing: Landing) -> None:
    drop(landing, "sub/a.csv")
    drop(landing, "sub/a.csv" + MAPPING_SUFFIX, "{}")
    drop(landing, "bad.csv")
    good, bad = sorted(landing.waiting("iiot"), key=lambda f: f.name != "sub/a.csv")
    assert landing.mapping_text(good) == "{}"
    assert landing.mapping_text(bad) is None
    archived = Path(landing.archive(good, "iiot", "d" * 64))
    rejected = Path(landing.reject(bad, "iiot", "e" * 64))
    assert landing.waiting("iiot") == []
    assert archived.is_file()
    assert archived.parent.parent.name == ".archive"
    assert Path(str(archived) + MAPPING_SUFFIX).is_file()
    assert rejected.parent.parent.name == ".rejected"


def test_put_brings_the_mapping_and_forgets_an_older_one(landing: Landing, tmp_path: Path) -> None:
    source = tmp_path / "mine.csv"
    source.write_text("x\n1\n")
    landing.put("ems", source, '{"columns": {}}')
    (file,) = landing.waiting("ems")
    assert landing.mapping_text(file) == '{"columns": {}}'
    landing.put("ems", source, None)
    assert landing.mapping_text(file) is None
    with landing.local_copy(file) as local:
        assert local.read_text() == "x\n1\n"


def test_works_on_a_file_system_that_is_not_local(tmp_path: Path) -> None:
    landing = Landing("memory://landing")
    source = tmp_path / "mine.csv"
    source.write_text("x\n1\n")
    landing.put("ems", source, None)
    (file,) = landing.waiting("ems")
    with landing.local_copy(file) as local:
        assert local.read_text() == "x\n1\n"
    landing.archive(file, "ems", "f" * 64)
    assert landing.waiting("ems") == []


def test_pipes_and_links_are_not_files(landing: Landing, tmp_path: Path) -> None:
    folder = Path(landing.folder("iiot"))
    os.mkfifo(folder / "endless.csv")
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    (folder / "link.csv").symlink_to(secret)
    drop(landing, "real.csv")
    assert [file.name for file in landing.waiting("iiot")] == ["real.csv"]


def test_a_long_name_still_fits_behind_its_digest(landing: Landing) -> None:
    drop(landing, "n" * 240 + ".csv")
    (file,) = landing.waiting("iiot")
    assert Path(landing.archive(file, "iiot", "d" * 64)).name.endswith(".csv")
    assert landing.waiting("iiot") == []
