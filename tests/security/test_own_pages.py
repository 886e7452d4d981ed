"""Pages without a login are asked by their own pages alone: real servers, a real browser."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from anomaly_platform.cli.services.up import _mlflow_service
from anomaly_platform.platform import Platform
from anomaly_platform.settings import get_settings
from docgen.pictures import open_page
from tests.builders.waiting import free_port, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

ANOMALY = str(Path(sys.executable).with_name("anomaly"))
CODE = """
import dagster

@dagster.op
def say():
    return 1

@dagster.job
def hello():
    say()

defs = dagster.Definitions(jobs=[hello])
"""
#: Runs start at once: no daemon takes them from a queue here.
INSTANCE = """
telemetry: {enabled: false}
run_coordinator:
  module: dagster._core.run_coordinator
  class: DefaultRunCoordinator
"""
LAUNCH = (
    "mutation { launchRun(executionParams: {selector: {repositoryLocationName: \"code.py\", "
    "repositoryName: \"__repository__\", jobName: \"hello\"}}) { __typename } }"
)  # fmt: skip
RUNS = "{ runsOrError { ... on Runs { results { jobName status } } } }"
PATIENCE_S = 300


@contextmanager
def running(command: list[str], environment: dict[str, str], probe: str) -> Iterator[None]:
    """Run a server until it has answered and the block has ended."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ANOMALY_", "DAGSTER_"))}
    process = subprocess.Popen(command, env={**kept, **environment})

    def answers() -> bool:
        assert process.poll() is None, "the server ended by itself"
        try:
            return httpx.get(probe, timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    try:
        wait_until(answers, PATIENCE_S)
        yield
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module")
def ui() -> Iterator[str]:
    """Dagster's pages over a small job, as `anomaly up` serves them."""
    with tempfile.TemporaryDirectory(prefix="anomaly-ui-") as name:
        folder = Path(name)
        (folder / "code.py").write_text(CODE)
        (folder / "dagster.yaml").write_text(INSTANCE)
        workspace = folder / "workspace.yaml"
        workspace.write_text(f"load_from: [{{python_file: {folder / 'code.py'}}}]\n")
        port = free_port()
        command = [ANOMALY, "ui", "--workspace", str(workspace), "--port", str(port)]
        environment = {
            "DAGSTER_HOME": name,
            "ANOMALY_HOME": name,
            "ANOMALY_UI_TRUSTED_HOSTS": "ui.example,*.plant.example",
        }
        with running(command, environment, f"http://127.0.0.1:{port}/server_info"):
            yield f"http://127.0.0.1:{port}"


def ask(ui: str, query: str) -> dict[str, Any]:
    """Ask as a program does, which sends nothing of what browsers send."""
    answer = httpx.post(f"{ui}/graphql", json={"query": query}, timeout=60)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["data"]
    return found


def runs(ui: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = ask(ui, RUNS)["runsOrError"]["results"]
    return found


GET_MUTATION = f"/graphql?query={quote(LAUNCH)}"
EVIL = {"Origin": "http://evil.example"}
CROSS = {"Sec-Fetch-Site": "cross-site"}
IN_WINDOW = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}

#: Method, path and headers of what a page of somebody else can have a browser send.
ATTACKS: dict[str, tuple[str, str, dict[str, str]]] = {
    "a mutation by GET": ("GET", GET_MUTATION, {}),
    "the same as a link": ("GET", GET_MUTATION, {**CROSS, **IN_WINDOW}),
    "the same as an image": ("GET", GET_MUTATION, {**CROSS, "Sec-Fetch-Dest": "image"}),
    "the same with another ending": ("GET", GET_MUTATION.replace("/graphql", "/graphql/"), {}),
    "the same by HEAD": ("HEAD", GET_MUTATION, {}),
    "a form": ("POST", GET_MUTATION, EVIL),
    "a form of a page without name": ("POST", GET_MUTATION, {"Origin": "null"}),
    "a form of a browser that says no origin": ("POST", GET_MUTATION, CROSS),
    "a page of another port": ("POST", GET_MUTATION, {"Origin": "http://127.0.0.1:1"}),
    "a page of the same site": ("POST", GET_MUTATION, {"Sec-Fetch-Site": "same-site"}),
    "a name that leads here": ("POST", GET_MUTATION, {"Host": "evil.example"}),
    "a name that looks like an address": ("GET", "/", {"Host": "127.0.0.1.evil.example"}),
    "a name that ends like a known one": ("GET", "/", {"Host": "evil-ui.example"}),
    "a name and its own page": (
        "POST", GET_MUTATION, {"Host": "evil.example:1", "Origin": "http://evil.example:1"},
    ),
    "a question of another page": ("OPTIONS", "/graphql", EVIL),
    "a page in a frame": (
        "GET", "/", {**CROSS, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    ),
    "a file read by a script": ("GET", "/server_info", {**CROSS, "Sec-Fetch-Mode": "cors"}),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.replace(" ", "-"))
def test_what_other_pages_send_is_refused(ui: str, attack: str) -> None:
    method, path, headers = ATTACKS[attack]
    before = runs(ui)
    answer = httpx.request(method, ui + path, headers=headers, timeout=60)
    assert answer.status_code == 403, answer.text
    assert "access-control-allow-origin" not in answer.headers
    assert runs(ui) == before


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/", {**CROSS, **IN_WINDOW}),
        ("GET", "/runs", {"Sec-Fetch-Site": "none", **IN_WINDOW}),
        ("GET", "/server_info", {}),
        ("GET", "/server_info", {"Host": "ui.example"}),
        ("GET", "/server_info", {"Host": "line3.plant.example:8443"}),
        ("GET", "/server_info", {"Host": "LOCALHOST:3000"}),
        ("GET", "/server_info", {"Host": "[::1]:3000"}),
        ("GET", "/graphql", {"Accept": "text/html"}),
    ],
)
def test_links_own_pages_and_programs_work(
    ui: str, method: str, path: str, headers: dict[str, str]
) -> None:
    assert httpx.request(method, ui + path, headers=headers, timeout=60).status_code == 200


@pytest.mark.parametrize(
    "headers", [EVIL, CROSS, {"Origin": "null"}, {"Host": "evil.example"}], ids=str
)
def test_a_websocket_of_another_page_is_refused(ui: str, headers: dict[str, str]) -> None:
    address = ui.replace("http", "ws") + "/graphql"
    host = headers.get("Host")
    with pytest.raises(InvalidStatus) as refused:
        connect(
            address if host is None else address.replace("127.0.0.1", host),
            sock=_socket(ui) if host else None,
            additional_headers={k: v for k, v in headers.items() if k != "Host"},
            subprotocols=["graphql-ws"],  # type: ignore[list-item]
        )
    assert refused.value.response.status_code == 403


def _socket(ui: str) -> Any:
    import socket

    return socket.create_connection(("127.0.0.1", int(ui.rpartition(":")[2])))


def test_a_websocket_of_its_own_page_is_taken(ui: str) -> None:
    with connect(
        ui.replace("http", "ws") + "/graphql",
        additional_headers={"Origin": ui, "Sec-Fetch-Site": "same-origin"},
        subprotocols=["graphql-ws"],  # type: ignore[list-item]
    ) as socket:
        socket.send('{"type": "connection_init", "payload": {}}')
        assert "connection_ack" in str(socket.recv(60))


#: Tries all that a page can: a request that it may not read, a link, an image, a form, a websocket.
EVIL_PAGE = """
<!doctype html><title>evil</title><img src="{ui}{attack}">
<form id="form" method="post" target="frame" action="{ui}{attack}"></form>
<iframe name="frame"></iframe><iframe src="{ui}/"></iframe>
<script>
  document.getElementById("form").submit();
  const said = [];
  const post = fetch("{ui}{attack}", {{method: "POST", mode: "no-cors"}});
  const read = fetch("{ui}/server_info").then(() => said.push("read"), () => 0);
  const socket = new Promise((done) => {{
    const one = new WebSocket("{ws}/graphql", "graphql-ws");
    one.onopen = () => {{ said.push("socket"); done(); }};
    one.onerror = () => done();
  }});
  Promise.allSettled([post, read, socket]).then(() => {{
    document.title = "done " + said.join(" ");
  }});
</script>
"""


@contextmanager
def served(page: str) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://localhost:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def test_in_a_browser_the_pages_work_and_an_evil_page_does_not(ui: str) -> None:
    if shutil.which("chromium") is None:
        pytest.skip("needs chromium; install the Debian package chromium")
    from playwright.sync_api import sync_playwright

    evil = EVIL_PAGE.format(ui=ui, ws=ui.replace("http", "ws"), attack=GET_MUTATION)
    before = len(runs(ui))
    ask(ui, "mutation { setNuxSeen }")
    with sync_playwright() as driver, open_page(driver) as page, served(evil) as address:
        page.set_default_timeout(PATIENCE_S * 1000)
        page.goto(address)
        page.wait_for_function("document.title.startsWith('done')")
        page.wait_for_timeout(1000)
        assert page.title() == "done"
        assert len(runs(ui)) == before, "the evil page has started a run"

        sockets: list[str] = []
        page.on("websocket", lambda socket: sockets.append(socket.url))
        page.goto(f"{ui}/locations/code.py/jobs/hello/playground")
        page.get_by_role("button", name=re.compile("launch run", re.IGNORECASE)).click()
        wait_until(lambda: len(runs(ui)) == before + 1, PATIENCE_S)
        wait_until(lambda: runs(ui)[0]["status"] == "SUCCESS", PATIENCE_S)
        wait_until(lambda: bool(page.wait_for_timeout(200)) or bool(sockets), PATIENCE_S)


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory, module_database_url: str) -> Iterator[str]:
    """MLflow's pages with the very command of `anomaly up`, over a store of their own."""
    home = tmp_path_factory.mktemp("mlflow")
    settings = get_settings(home=home, database_url=module_database_url, mlflow_port=free_port())
    service = _mlflow_service(Platform(settings))
    environment = {**service.environment, "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{home}/store"}
    url = f"http://127.0.0.1:{settings.mlflow_port}"
    with running(list(service.command), environment, f"{url}/health"):
        yield url


def test_mlflow_is_asked_by_its_own_pages(mlflow: str) -> None:
    create = f"{mlflow}/api/2.0/mlflow/experiments/create"

    def status(name: str, **headers: str) -> int:
        return httpx.post(create, json={"name": name}, headers=headers, timeout=60).status_code

    assert status("program") == 200
    assert status("own", Origin=mlflow) == 200
    assert status("evil", Origin="http://evil.example") == 403
    assert status("nameless", Origin="null") == 403
    for host in ("evil.example", "10.evil.example", "192.168.evil.example:5000"):
        assert status("rebound", Host=host) == 403, host
    found = httpx.get(
        f"{mlflow}/api/2.0/mlflow/experiments/search?max_results=100", timeout=60
    ).json()["experiments"]
    assert {one["name"] for one in found} == {"Default", "program", "own"}
