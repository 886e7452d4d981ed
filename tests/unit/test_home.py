"""Which home a command means: here, above, or named; and what it says of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from anomaly_platform.resources.dagster_home import write_project
from anomaly_platform.settings import Settings, get_settings, unknown_settings
from anomaly_platform.settings.home import HOME_MARK
from anomaly_platform.storage.postgres.server_user import server_user


@pytest.fixture(autouse=True)
def _dotenv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Settings.model_config, "env_file", ".env")


@pytest.fixture
def below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder two levels below `tmp_path`."""
    folder = tmp_path / "line" / "press"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def test_a_home_above_is_found_and_without_one_it_would_be_here(
    tmp_path: Path, below: Path
) -> None:
    assert get_settings().home == below / ".anomaly"
    (tmp_path / ".anomaly").mkdir()
    assert get_settings().home == tmp_path / ".anomaly"
    (below / ".anomaly").mkdir()
    assert get_settings().home == below / ".anomaly"


def test_inside_a_home_of_any_name_it_is_that_one(tmp_path: Path, below: Path) -> None:
    (tmp_path / "line" / HOME_MARK).touch()
    assert get_settings().home == tmp_path / "line"


def test_a_home_above_that_somebody_else_owns_is_none(
    tmp_path: Path, below: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".anomaly").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 123_456)
    assert get_settings().home == below / ".anomaly"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's home belongs to another user")
def test_a_home_of_roots_is_found_from_below_once_it_is_the_database_users(
    tmp_path: Path, below: Path
) -> None:
    home = tmp_path / ".anomaly"
    home.mkdir()
    user = server_user(tmp_path)
    os.chown(home, user.uid, user.gid)
    assert get_settings().home == home


def test_the_dotenv_beside_the_home_is_read_from_below_and_its_places_lie_beside_it(
    tmp_path: Path, below: Path
) -> None:
    (tmp_path / ".env").write_text("ANOMALY_HOME=data\nANOMALY_LAKE_URL=lake\nANOMALY_SEED=7\n")
    settings = get_settings()
    assert settings.home == tmp_path / "data"
    assert settings.lake_url == str(tmp_path / "lake")
    assert settings.seed == 7
    (below / ".env").write_text("ANOMALY_SEED=8\n")
    assert get_settings().seed == 8, "the current folder's wins"


def test_settings_that_are_none_are_told_with_the_nearest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("ANOMALY_SEEED=7\nPGPASSWORD=x\n")
    monkeypatch.setenv("ANOMALY_TRESHOLD", "0.9")
    monkeypatch.setenv("ANOMALY_DAGSTER_URL", "handed on")
    assert unknown_settings() == {
        "ANOMALY_SEEED": "ANOMALY_SEED",
        "ANOMALY_TRESHOLD": "ANOMALY_THRESHOLD",
    }


def anomaly(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a module, as on a machine whose scripts are not on the path."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("ANOMALY_")}
    return subprocess.run(
        [sys.executable, "-m", "anomaly_platform", *arguments],
        cwd=folder,
        env={**kept, **variables, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_command_that_reads_makes_no_home_and_a_wrong_setting_is_told(tmp_path: Path) -> None:
    done = anomaly(tmp_path, "alerts", "list", ANOMALY_ALPHAA="0.1")
    assert done.returncode == 2
    assert "ANOMALY_ALPHAA is no setting; did you mean ANOMALY_ALPHA?" in done.stderr
    assert "there is no home" in done.stderr
    assert not list(tmp_path.iterdir())
    assert max(map(len, done.stderr.splitlines())) <= 80 or str(tmp_path) in done.stderr


@pytest.mark.parametrize(
    "command",
    ["keys list", "keys revoke abc", "db url", "tune iiot", "tune iiot --undo", "train iiot"],
)
def test_what_asks_or_changes_what_is_there_makes_no_home(tmp_path: Path, command: str) -> None:
    done = anomaly(tmp_path, *command.split())
    assert done.returncode == 2
    assert "there is no home" in " ".join(done.stderr.split())
    assert "(new)" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_init_makes_a_home_that_is_found_from_below_and_replaces_no_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = tmp_path / "plant"
    assert anomaly(tmp_path, "init", "plant").returncode == 0
    names = {"dagster.yaml", "workspace.yaml", "dg.toml", "anomaly_home.py"}
    for place in (plant, plant / ".anomaly"):
        assert names <= {file.name for file in place.iterdir()}
        instance = yaml.safe_load((place / "dagster.yaml").read_text())
        assert instance["telemetry"] == instance["nux"] == {"enabled": False}
    (plant / "deep").mkdir()
    assert anomaly(plant / "deep", "home").stdout == f"{plant / '.anomaly'}\n"
    assert anomaly(tmp_path, "init", "plant").returncode == 0, "again is fine"
    own = tmp_path / "own"
    own.mkdir()
    (own / "pyproject.toml").touch()
    done = anomaly(tmp_path, "init", "own")
    assert done.returncode == 2
    assert "project of its own" in done.stderr
    assert [file.name for file in own.iterdir()] == ["pyproject.toml"]


def test_what_a_home_carries_is_a_project_of_dagster(tmp_path: Path) -> None:
    write_project(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", "import anomaly_home; print(len(anomaly_home.defs().assets))"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(done.stdout) > 20
