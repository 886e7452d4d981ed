"""The manifest: nothing but a whole one is read, and no file of it leads out of the back-up."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from anomaly_platform.runtime.backup.manifest import (
    MANIFEST,
    BackupError,
    Manifest,
    StoredFile,
    read_manifest,
)


def document(**changes: Any) -> dict[str, Any]:
    file = StoredFile(part="lake", name="a/b.parquet", size=3, digest="d", modified=1.5)
    manifest = Manifest(
        made_at=dt.datetime(2026, 1, 5, tzinfo=dt.UTC),
        versions={"anomaly_platform": "1"},
        schema_version="0007",
        postgres=18,
        mlflow_artifacts="/home/mlflow",
        settings={"alpha": 0.01},
        left_out=[],
        files=[file],
    )
    return {**manifest.model_dump(mode="json"), **changes}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text(json.dumps(document()))
    read = read_manifest(tmp_path)
    assert read.model_dump(mode="json") == document()
    assert read.of("lake")[0].path == "lake/a/b.parquet"
    assert read.of("landing") == []


def test_without_one_there_is_no_back_up(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(BackupError, match=r"is no back-up, or one that was broken off"):
            read_manifest(folder)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "", "a\x00b"])
def test_no_file_leads_out_of_its_part(tmp_path: Path, name: str) -> None:
    file = {"part": "lake", "name": name, "size": 1, "digest": "d"}
    (tmp_path / MANIFEST).write_text(json.dumps(document(files=[file])))
    with pytest.raises(BackupError, match=r"files\.0\.name: .*no path within the back-up"):
        read_manifest(tmp_path)


def test_half_a_manifest_and_one_of_another_format_are_refused(tmp_path: Path) -> None:
    whole = json.dumps(document())
    other = json.dumps(document(format=2))
    for text in ("", whole[: len(whole) // 2], whole[:-1], other, "[]"):
        (tmp_path / MANIFEST).write_text(text)
        with pytest.raises(BackupError, match="is not whole"):
            read_manifest(tmp_path)
