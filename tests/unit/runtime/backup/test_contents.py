"""Which files are a home's, and under which name each is in a back-up."""

from __future__ import annotations

import pytest

from anomaly_platform.runtime.backup.contents import (
    archived_files,
    files_of_home,
    files_of_lake,
    places,
    waiting_files,
)
from anomaly_platform.runtime.backup.manifest import BackupError
from anomaly_platform.settings import Settings


def test_what_passes_and_what_other_parts_have_is_not_the_homes(local_settings: Settings) -> None:
    home = local_settings.home
    for name in (
        "dagster/storage/run/out", "labels.db", "keys/one.key", "deep/logs/kept",
        "lake/a", "landing/ems/a.csv", "mlflow/a", "reference/a", "streams/a.yaml",
        "logs/api.log", "run/1/x", "cache/x", "training/ems/x",
        "postgres/PG_VERSION", "postgres.lock", "postgres.new-x/a", "up.pid", "RESTORE-UNFINISHED",
        "demo/postgres/PG_VERSION", "demo/lake/a",
    ):  # fmt: skip
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).touch()
    left_out: list[str] = []
    found = set(files_of_home(places(local_settings), left_out))
    assert found == {"dagster/storage/run/out", "labels.db", "keys/one.key", "deep/logs/kept"}
    assert left_out == [f"{home / 'demo'}: another home, which has a back-up of its own"]


def test_the_lake_is_what_rows_refer_to_be_it_a_file_or_a_folder() -> None:
    names = ["raw/a.parquet", "raw/old.parquet", "models/1/m.json", "models/1/s.bin", "models/10/m"]
    assert files_of_lake(names, {"raw/a.parquet", "models/1"}) == [
        *("raw/a.parquet", "models/1/m.json", "models/1/s.bin")
    ]


def test_a_file_that_rows_refer_to_and_nobody_has_is_named() -> None:
    with pytest.raises(BackupError, match=r"1 files .* raw/gone\.parquet among them"):
        files_of_lake(["raw/a.parquet"], {"raw/a.parquet", "raw/gone.parquet"})


def test_only_whole_files_wait() -> None:
    names = [
        *("ems/a.csv", "ems/deep/b.csv", "ems/a.csv.mapping.json", "ems/c.csv.part", "ems/.d.csv"),
        *(".archive/ems/0-a.csv", "loose.csv"),
    ]
    assert waiting_files(names) == ["ems/a.csv", "ems/deep/b.csv", "loose.csv"]


def test_what_was_taken_in_after_the_instant_waits_under_its_own_name() -> None:
    names = [
        *(".archive/ems/aaa-host-1.csv", ".archive/ems/bbb-sub__host-2.csv"),
        *(".archive/ems/bbb-sub__host-2.csv.mapping.json", ".rejected/ems/ccc-x.csv"),
        *(".archive/iiot/aaa-other.csv", "ems/waiting.csv"),
    ]
    known = {("ems", "aaa"): "host-1.csv"}
    since = known | {("ems", "bbb"): "sub/host-2.csv", ("ems", "ccc"): "x.csv"}
    assert dict(archived_files(names, known, since)) == {
        ".archive/ems/aaa-host-1.csv": ".archive/ems/aaa-host-1.csv",
        ".archive/ems/bbb-sub__host-2.csv": "ems/bbb/sub/host-2.csv",
        ".archive/ems/bbb-sub__host-2.csv.mapping.json": "ems/bbb/sub/host-2.csv.mapping.json",
        ".rejected/ems/ccc-x.csv": "ems/ccc/x.csv",
        ".archive/iiot/aaa-other.csv": "iiot/aaa/other.csv",
    }
