"""Every setting is read once, checked, mirrored, and keeps its secret."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from anomaly_platform.settings import Settings, SettingsError, get_settings

ROOT = Path(__file__).parents[2]


def test_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = get_settings()
    assert settings.home == tmp_path / ".anomaly"
    assert settings.lake_url == str(tmp_path / ".anomaly" / "lake")
    assert settings.landing_url == str(tmp_path / ".anomaly" / "landing")
    assert settings.is_embedded
    assert (settings.alpha, settings.threshold, settings.contamination) == (0.01, 0.7, 0.1)
    assert settings.start_date is None
    assert settings.future_allowance == timedelta(hours=1)
    assert (settings.min_training_samples, settings.seed) == (100, 42)


def test_environment_wins_and_is_read_anew_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANOMALY_ALPHA", "0.05")
    assert get_settings().alpha == 0.05
    monkeypatch.setenv("ANOMALY_ALPHA", "0.02")
    assert get_settings().alpha == 0.02


def test_four_names_count_without_the_prefix_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Settings.model_config, "env_file", ".env")
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("AUTO_CREATE_ALERTS=false\nPORT=9001\nSEED=7\n")
    for name, value in {
        "PORT": "9002",
        "EMS_CORE_URL": "http://ems:3100",
        "MIN_TRAINING_SAMPLES": "",
        "DATABASE_URL": "postgresql://u:p@elsewhere/db",
        "REDIS_URL": "redis://elsewhere:6379/0",
        "EMS_DATABASE_URL": "postgresql://u:p@elsewhere/db",
        "HOME_URL": "x",
        "THRESHOLD": "0.9",
    }.items():
        monkeypatch.setenv(name, value)
    found = get_settings()
    assert (found.api_port, found.auto_create_alerts) == (9002, False)
    assert (found.ems_core_url, found.has_ems) == ("http://ems:3100", True)
    assert found.min_training_samples == 100
    assert (found.database_url, found.redis_url, found.ems_database_url) == (None, None, None)
    assert (found.threshold, found.seed) == (0.7, 42)
    (tmp_path / ".env").write_text("ANOMALY_API_PORT=9003\n")
    assert get_settings().api_port == 9003, "with the prefix, a file wins over what has none"
    monkeypatch.setenv("PORT", "many")
    assert get_settings().api_port == 9003
    (tmp_path / ".env").unlink()
    with pytest.raises(SettingsError, match=r"ANOMALY_API_PORT \(or PORT\)"):
        get_settings()


def test_nothing_is_pushed_to_an_ems_that_nobody_has_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not get_settings(ems_push=True, ems_pull=True).pushes_to_ems
    assert get_settings(ems_pull=True, ems_core_url="http://localhost:3100").pushes_to_ems
    monkeypatch.setenv("ANOMALY_EMS_CORE_URL", "http://ems:3100")
    assert get_settings(ems_push=True).pushes_to_ems
    assert not get_settings().pushes_to_ems


def test_dotenv_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Settings.model_config, "env_file", ".env")
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("ANOMALY_SEED=7\nPGPASSWORD=unrelated\nANOMALY_LAKE_URL=\n")
    settings = get_settings()
    assert settings.seed == 7
    assert settings.lake_url.endswith("lake"), "an empty value means the default"


def test_relative_places_become_absolute_and_urls_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = get_settings(home="here", lake_url="s3://bucket/lake", landing_url="in")
    assert settings.home == tmp_path / "here"
    assert settings.lake_url == "s3://bucket/lake"
    assert settings.landing_url == str(tmp_path / "in")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALPHA", "0.5"),
        ("ALPHA", "often"),
        ("THRESHOLD", "1"),
        ("CONTAMINATION", "-0.1"),
        ("MIN_TRAINING_SAMPLES", "3"),
        ("DEFAULT_TIMEZONE", "Mars/Olympus"),
        ("START_DATE", "yesterday"),
        ("LOG_LEVEL", "loud"),
        ("DAGSTER_DATABASE", "a b"),
        ("DATABASE_URL", "mysql://u:hunter2@host/db"),
        ("DATABASE_URL", "postgresql://u:hunter2@host:port/db"),
        ("DATABASE_URL", "postgresql://u:hunter2@host"),
        ("DATABASE_URL", "hunter2"),
        ("EMS_DATABASE_URL", "mysql://u:hunter2@host/db"),
        ("EMS_TABLES", "hosts=assets"),
        ("EMS_TABLES", "assets.ip=id"),
        ("EMS_TABLES", "metrics.timestamp="),
        ("WEBHOOK_URLS", "https://fine.example/x ftp://host/hunter2"),
        ("WEBHOOK_URLS", "https:///hunter2"),
        ("SMTP_URL", "https://u:hunter2@host"),
        ("SMTP_URL", "smtp://u:hunter2@host:port"),
        ("MQTT_URL", "u:hunter2@host"),
        ("MQTT_PREFIX", "plant/#"),
        ("GITHUB_REPOSITORY", "plant"),
        ("EMS_CORE_URL", "localhost:3100"),
        ("ALERT_COOL_DOWN_MINUTES", "-1"),
    ],
)
def test_an_error_names_the_variable_and_never_its_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"ANOMALY_{name}", value)
    with pytest.raises(SettingsError) as caught:
        get_settings()
    assert f"ANOMALY_{name}" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_secrets_are_not_printed() -> None:
    settings = get_settings(database_url="postgresql://u:hunter2@host/db")
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(settings.model_dump())


def test_settings_are_immutable() -> None:
    with pytest.raises(ValueError, match="frozen"):
        get_settings().alpha = 0.5  # type: ignore[misc]


def test_env_example_mirrors_every_setting() -> None:
    text = (ROOT / ".env.example").read_text()
    shown = dict(re.findall(r"^# ANOMALY_([A-Z_]+)=(.*)$", text, flags=re.MULTILINE))
    assert list(shown) == [name.upper() for name in Settings.model_fields]
    for name, field in Settings.model_fields.items():
        if field.default is not None and field.default_factory is None:
            assert shown[name.upper()] == str(field.default), name


def test_env_example_as_it_stands_gives_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = (ROOT / ".env.example").read_text().splitlines()
    settings = [line.removeprefix("# ") for line in lines if line.startswith("# ANOMALY_")]
    (tmp_path / ".env").write_text(
        "\n".join(line for line in settings if "DATABASE_URL" not in line)
    )
    default = get_settings()
    monkeypatch.setitem(Settings.model_config, "env_file", ".env")
    assert get_settings() == default


def test_importing_the_settings_loads_nothing_heavy() -> None:
    heavy = "polars numpy pandas pyarrow sqlalchemy psycopg dagster torch sklearn numba"
    code = (
        "import sys, anomaly_platform.settings\n"
        f"found = [name for name in {heavy.split()!r} if name in sys.modules]\n"
        "sys.exit(', '.join(found) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
