"""The build hook takes the archive that was reviewed, whole, or says why not."""

from __future__ import annotations

import base64
import hashlib
import io
import subprocess
import tarfile
from pathlib import Path

import pytest

hatch_build = pytest.importorskip("hatch_build", reason="hatchling is a tool of developers")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An npm package of two files."""
    made = tmp_path / "kit-1.0.0.tgz"
    with tarfile.open(made, "w:gz") as members:
        for name in ("package/dist/kit.js", "package/LICENSE"):
            entry = tarfile.TarInfo(name)
            entry.size = len(name)
            members.addfile(entry, io.BytesIO(name.encode()))
    return made


@pytest.fixture
def npm(tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An npm on the path that copies the archive and prints its name."""
    tool = tmp_path / "bin" / "npm"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\ncp {archive} . && echo {archive.name}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent), prepend=":")
    return tool


def library(archive: Path, *files: str) -> object:
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    return hatch_build.Library("kit", "1.0.0", f"sha512-{digest}", files)


def test_the_named_files_land_in_the_folder_once(npm: Path, archive: Path, tmp_path: Path) -> None:
    kit = library(archive, "dist/kit.js", "LICENSE")
    hatch_build.fetch(kit, tmp_path / "kit")
    assert {one.name for one in (tmp_path / "kit").iterdir()} == {"kit.js", "LICENSE", "integrity"}
    npm.unlink()
    hatch_build.fetch(kit, tmp_path / "kit")  # what is there is not fetched again


def test_another_archive_is_refused_and_nothing_lands(
    npm: Path, archive: Path, tmp_path: Path
) -> None:
    other = library(archive, "LICENSE")._replace(integrity="sha512-AAAA")  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="another digest"):
        hatch_build.fetch(other, tmp_path / "kit")
    assert not (tmp_path / "kit").exists()
    assert npm.exists()


def test_without_the_registry_the_build_goes_on_and_says_so(
    npm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm.write_text("#!/bin/sh\necho offline >&2\nexit 1\n")
    monkeypatch.setattr(hatch_build, "LIBRARIES", hatch_build.LIBRARIES[:1])
    told: list[str] = []

    class App:
        display_warning = staticmethod(told.append)

    hook = hatch_build.BrowserLibraries(str(tmp_path), {}, None, None, str(tmp_path), "wheel", App)
    hook.initialize("standard", {})
    assert "swagger-ui-dist 5.35.0 could not be fetched" in told[0]
    assert not list(tmp_path.glob("anomaly_platform/**/*.js"))
    with pytest.raises(subprocess.CalledProcessError):
        hatch_build.fetch(hatch_build.LIBRARIES[0], tmp_path / "again")
