"""The image's command with its environment, from the wheel alone and far from a checkout."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from tests.builders.waiting import free_port, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.tools]

ROOT = Path(__file__).parents[2]
IMAGE = (ROOT / "Dockerfile").read_text().rpartition("\nFROM ")[2].replace("\\\n", " ")


def said(instruction: str) -> str:
    """Return what the final stage says after an instruction."""
    (found,) = re.findall(rf"^{instruction} (.*)$", IMAGE, flags=re.MULTILINE)
    return str(found)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The folder of the image's virtual environment, with the wheel as the build installs it.

    What the wheel depends on is taken from the environment of the tests, which spares minutes; its
    own editable installation is not.
    """
    folder = tmp_path / "venv"
    venv.EnvBuilder(symlinks=True).create(folder)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "install", "-q"]
    subprocess.run([*pip, "--no-deps", "--no-index", "--no-compile", wheel], check=True)
    return folder


def test_the_command_becomes_healthy_outside_a_checkout(
    tmp_path: Path, installed: Path, database_url: str
) -> None:
    port, data = str(free_port()), tmp_path / "data"
    data.mkdir()
    places = {"/opt/venv": str(installed), "/data": str(data), "/tmp": str(tmp_path)}

    def here(text: str) -> str:
        for theirs, ours in places.items():
            text = re.sub(rf"(?<![\w/]){theirs}(?=/|:|$)", ours, text)
        return text.replace("8000", port).replace("$PATH", "/usr/bin:/bin")

    variables = dict(pair.split("=", 1) for pair in shlex.split(here(said("ENV"))))
    variables |= {"HOME": str(tmp_path), "ANOMALY_DATABASE_URL": database_url}
    variables["ANOMALY_API_WORKERS"] = "1"
    command = json.loads(said("CMD"))
    check = json.loads(here(said("HEALTHCHECK").partition("CMD ")[2]))
    programs = installed / "bin"
    where = [programs / "python", "-c", "import anomaly_platform as a; print(a.__file__)"]
    shown = subprocess.run(where, cwd=data, env=variables, capture_output=True, check=True)
    assert shown.stdout.decode().startswith(str(installed)), "the wheel's, not the checkout's"
    started = [programs / command[0], *command[1:]]
    with (tmp_path / "log").open("wb") as log:
        api = subprocess.Popen(started, cwd=data, env=variables, stdout=log, stderr=log)

    def healthy() -> bool:
        assert api.poll() is None, (tmp_path / "log").read_text()
        asked = [programs / check[0], *check[1:]]
        found = subprocess.run(asked, env=variables, capture_output=True, check=False)
        return found.returncode == 0

    try:
        wait_until(healthy, seconds=300)
    finally:
        api.send_signal(signal.SIGTERM)
        api.wait(60)
