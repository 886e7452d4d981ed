"""What can be said of image and compose file without building them: all they refer to is there."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from anomaly_platform.cli.main import app
from anomaly_platform.settings import ENV_PREFIX, Settings, get_settings

ROOT = Path(__file__).parents[3]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]
DOCKERFILE = (ROOT / "Dockerfile").read_text()

#: Variables that Dagster reads, beside the settings.
_DAGSTER = {"ANOMALY_DAGSTER_URL", "DAGSTER_HOME"}


def words_of(service: dict[str, Any]) -> list[str]:
    command = service.get("command", [])
    return [str(word) for word in command]


def test_the_services_of_the_requirements_are_there() -> None:
    images = {service["image"].partition(":")[0] for service in SERVICES.values()}
    assert {
        "postgres", "redis", "eclipse-mosquitto", "grafana/grafana", "prom/prometheus",
    } <= images  # fmt: skip
    assert {
        "api", "dispatcher", "subscriber", "dagster-webserver", "dagster-daemon", "dagster-code",
        "setup",
    } == set(OURS)  # fmt: skip
    for service in SERVICES.values():
        assert ":" in service["image"], "an image without a tag is another one tomorrow"


def test_what_services_wait_for_is_there_and_can_come_true() -> None:
    for name, service in SERVICES.items():
        wanted = service.get("depends_on", {})
        for other in wanted:
            assert other in SERVICES, f"{name} waits for {other}"
            if not isinstance(wanted, dict):
                continue
            condition = wanted[other]["condition"]
            if condition == "service_healthy":
                assert SERVICES[other].get("healthcheck", {}).get("test"), other
            if condition == "service_completed_successfully":
                assert SERVICES[other]["restart"] == "no"
        pid = service.get("pid")
        assert pid is None or pid.removeprefix("service:") in SERVICES


def test_what_speaks_no_tls_is_only_for_this_machine() -> None:
    for name, service in SERVICES.items():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name


def test_every_mounted_file_and_volume_is_there() -> None:
    used = set()
    for service in SERVICES.values():
        for mount in service.get("volumes", ()):
            source = mount.partition(":")[0]
            if source.startswith("."):
                assert (ROOT / source).exists(), source
            else:
                used.add(source)
    assert used == set(COMPOSE["volumes"])


def test_every_variable_is_a_setting_and_its_value_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = {f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields} | _DAGSTER
    given = set(re.findall(r"\b(ANOMALY_[A-Z_]+|DAGSTER_HOME)=", DOCKERFILE))
    for name in OURS:
        given |= set(SERVICES[name]["environment"])
    assert given <= known | {"DAGSTER_DISABLE_TELEMETRY"}
    for name, value in SERVICES["api"]["environment"].items():
        monkeypatch.setenv(name, re.sub(r"\$\{[^}]*\}", "secret", str(value)))
    settings = get_settings()
    assert settings.api_host == "0.0.0.0"
    assert not settings.is_embedded
    assert not settings.mlflow_pages, "no service has the port to which the console would link"


def test_passwords_are_asked_for_and_shown_in_the_example() -> None:
    text = (ROOT / "compose.yaml").read_text()
    asked = set(re.findall(r"\$\{([A-Z_]+)", text))
    assert asked
    example = (ROOT / ".env.example").read_text()
    for name in asked:
        assert f"# {name}=" in example
        assert f"${{{name}:?" in text, f"{name} may be forgotten without a word"
    assert not re.search(r"(?i)password: *['\"]?[a-z0-9]+['\"]?$", text, flags=re.MULTILINE)


def _command(words: list[str]) -> tuple[Any, list[str]]:
    """Return the command that the words name, and the words that are left for it."""
    found: Any = get_command(app)
    rest = list(words)
    while rest and rest[0] in getattr(found, "commands", ()):
        found = found.commands[rest.pop(0)]
    return found, rest


def test_every_anomaly_command_exists_with_its_options() -> None:
    lines = [" ".join(words_of(SERVICES[name])) for name in OURS]
    lines += re.findall(r'CMD \["anomaly", "(.*)"\]', DOCKERFILE)
    commands = [line for text in lines for line in re.findall(r"anomaly ((?:[a-z-]+ ?)+.*)", text)]
    commands += re.findall(r'CMD \["anomaly", "(.*)"\]', DOCKERFILE)
    assert len(commands) >= 4
    for command in commands:
        found, rest = _command(command.split())
        assert not hasattr(found, "commands"), command
        options = {option for one in found.params for option in one.opts}
        assert {word for word in rest if word.startswith("--")} <= options, command


def test_ports_are_those_that_the_services_listen_on() -> None:
    assert SERVICES["api"]["environment"]["ANOMALY_API_PORT"] == "8000"
    assert SERVICES["api"]["ports"] == ["127.0.0.1:8000:8000"]
    assert "8000/health/live" in DOCKERFILE
    assert "EXPOSE 8000" in DOCKERFILE
    prometheus = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    [scrape] = prometheus["scrape_configs"]
    assert scrape["static_configs"][0]["targets"] == ["api:8000"]
    assert scrape["job_name"] == "anomaly_api"
    key_file = scrape["authorization"]["credentials_file"]
    assert key_file in " ".join(words_of(SERVICES["setup"]))
    webserver = words_of(SERVICES["dagster-webserver"])
    assert webserver[webserver.index("--port") + 1] == "3000"
    assert "127.0.0.1:3000:3000" in SERVICES["dagster-webserver"]["ports"], "it has no login"
    workspace = yaml.safe_load((ROOT / "deploy/dagster/workspace.yaml").read_text())
    server = workspace["load_from"][0]["grpc_server"]
    code = words_of(SERVICES["dagster-code"])
    assert server["host"] == "dagster-code"
    assert str(server["port"]) == code[code.index("--port") + 1]
    local = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"][0]["python_module"]
    assert code[code.index("--module-name") + 1] == local["module_name"]
    assert code[code.index("--attribute") + 1] == local["attribute"]
    assert server["location_name"] == local["location_name"]


def test_the_image_is_made_of_what_is_there_and_runs_as_nobody_special() -> None:
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    assert len(stages) == 2
    final = stages[-1]
    assert final.index("USER anomaly") < final.index("CMD")
    assert "HEALTHCHECK" in final
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, flags=re.MULTILINE):
        for source in line.split()[:-1]:
            name = source.removeprefix("./")
            assert (ROOT / name).exists(), name
            assert name in allowed, f".dockerignore keeps {name} out"
    uid = re.search(r"--uid (\d+)", DOCKERFILE)
    assert uid is not None
    assert SERVICES["prometheus"]["group_add"] == [uid[1]], "it has to read the key"
    for name in OURS:
        assert "user" not in SERVICES[name]


def test_a_process_that_is_not_the_api_has_no_health_check_of_the_api() -> None:
    for name in set(OURS) - {"api"}:
        check = SERVICES[name]["healthcheck"]
        assert check.get("disable") or "8000" not in str(check["test"]), name


def test_shell_scripts_parse() -> None:
    setup = words_of(SERVICES["setup"])[-1].replace("$$", "$")
    subprocess.run(["sh", "-n", "-c", setup], check=True)


def test_the_broker_takes_its_configuration(tmp_path: Path) -> None:
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin")
    if program is None:
        pytest.skip("needs mosquitto; install the Debian package mosquitto")
    text = (ROOT / "deploy/mosquitto/mosquitto.conf").read_text()
    (tmp_path / "passwords").write_text("")
    (tmp_path / "passwords").chmod(0o600)
    text = text.replace("/mosquitto/data/", f"{tmp_path}/").replace("listener 1883", "listener 0")
    text = text.replace("listener 0", f"listener 0 {tmp_path}/socket") + "user root\n"
    (tmp_path / "conf.d").mkdir()
    shutil.copy(ROOT / "deploy/mosquitto/acl", tmp_path)
    text = text.replace("/mosquitto/config/", f"{tmp_path}/")
    (tmp_path / "mosquitto.conf").write_text(text)
    broker = subprocess.Popen(
        [program, "-c", tmp_path / "mosquitto.conf"], stdout=subprocess.DEVNULL
    )
    try:
        while not (tmp_path / "socket").exists():
            assert broker.poll() is None, "it does not take the configuration"
            time.sleep(0.02)
    finally:
        broker.kill()
        broker.wait()
