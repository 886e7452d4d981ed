"""Dagster's own tools as a user calls them, with no variable set: from the root of a fresh clone,
and from a home elsewhere that an installed wheel has made."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

pytestmark = [pytest.mark.e2e, pytest.mark.tools]

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(sys.executable).parent
ASSET = "iiot/raw_events"
TOOLS = (
    "dg check defs",
    "dg list defs",
    f"dg launch --assets {ASSET}",
    "dagster definitions validate",
    f"dagster asset materialize --select {ASSET} -m anomaly_platform.definitions",
)
#: A machine with two busy cores needs its time.
PATIENCE_S = 300


def _environment(scripts: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ANOMALY_", "DAGSTER_"))}
    return {**kept, "PATH": f"{scripts}{os.pathsep}{kept['PATH']}", "COLUMNS": "200"}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    folder = tmp_path_factory.mktemp("cloned") / "anomaly_platform"
    subprocess.run(["git", "clone", "--quiet", "--local", ROOT, folder], check=True)
    yield folder, _environment(SCRIPTS)
    assert not (folder / ".anomaly" / "postgres" / "postmaster.pid").exists(), "a server is left"


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder that `anomaly init` has made a home in, by an installation of the wheel.

    It borrows what this environment has installed, so that nothing is fetched.
    """
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "venv", with_pip=True)
    scripts = folder / "venv" / "bin"
    wheels = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    pip = [scripts / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, *wheels], check=True)
    packages = next((folder / "venv" / "lib").glob("python*/site-packages"))
    # As a plain path: the editable installation there is not taken up.
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for name in ("dagster", "dagster-webserver", "dagster-daemon", "dg"):
        text = (SCRIPTS / name).read_text().split("\n", 1)[1]
        (scripts / name).write_text(f"#!{scripts / 'python'}\n{text}")
        (scripts / name).chmod(0o755)
    home = folder / "plant"
    home.mkdir()
    environment = _environment(scripts)
    subprocess.run(["anomaly", "init"], cwd=home, env=environment, check=True)
    yield home, environment
    assert not (home / ".anomaly" / "postgres" / "postmaster.pid").exists(), "a server is left"


def _runs(command: str, folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        command.split(),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list(folder.glob(".tmp_dagster_home*"))


def _serves(command: str, folder: Path, environment: dict[str, str]) -> None:
    """Start a server, ask it for its assets, and stop it as Ctrl-C does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "said.log"
    with log.open("w") as said:
        server = subprocess.Popen(
            [*command.split(), "--port", str(port)],
            cwd=folder,
            env=environment,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            answer = _assets(port, server)
        finally:
            os.killpg(server.pid, signal.SIGINT)
            try:
                server.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()
    assert "raw_events" in answer, log.read_text() + answer
    log.unlink()


def _assets(port: int, server: subprocess.Popen[bytes]) -> str:
    query = b'{"query": "{assetNodes {assetKey {path}}}"}'
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql", query, {"Content-Type": "application/json"}
    )
    answer = ""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and server.poll() is None and "raw_events" not in answer:
        time.sleep(1)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                answer = response.read().decode()
        except OSError as error:
            answer = str(error)
    return answer


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_works_in_a_fresh_clone(tool: str, clone: tuple[Path, dict[str, str]]) -> None:
    _runs(tool, *clone)


@pytest.mark.parametrize("tool", ["dg dev", "dagster dev"])
def test_a_server_works_in_a_fresh_clone(tool: str, clone: tuple[Path, dict[str, str]]) -> None:
    _serves(tool, *clone)


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_works_beside_an_installed_home(
    tool: str, plant: tuple[Path, dict[str, str]]
) -> None:
    _runs(tool, *plant)


@pytest.mark.parametrize("tool", ["dg dev", "dagster dev"])
def test_a_server_works_beside_an_installed_home(
    tool: str, plant: tuple[Path, dict[str, str]]
) -> None:
    _serves(tool, *plant)


def test_a_tool_works_inside_the_home_and_sees_the_same_history(
    plant: tuple[Path, dict[str, str]],
) -> None:
    folder, environment = plant
    _runs("dg check defs", folder / ".anomaly", environment)
    below = folder / ".anomaly" / "lake"
    below.mkdir(exist_ok=True)
    done = subprocess.run(
        ["anomaly", "home"], cwd=below, env=environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == str(folder / ".anomaly")
