"""``anomaly up``: the database, Dagster, the API and MLflow's pages, in the foreground."""

import math
import sys
import tempfile
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from anomaly_platform.cli.runtime import open_supervised
from anomaly_platform.cli.services.calendar import Calendar
from anomaly_platform.cli.services.dagster_daemon import CODE_SOCKET, daemon_command
from anomaly_platform.cli.services.own_pages import THIS_MACHINE
from anomaly_platform.cli.services.ports import MLFLOW_HOST, ports_of_platform, serves_mlflow
from anomaly_platform.cli.services.readiness import (
    Awaited,
    base_url,
    probed_url,
    tell_as_they_answer,
)
from anomaly_platform.cli.services.revival import Revival
from anomaly_platform.cli.services.running import only_platform_of
from anomaly_platform.cli.services.supervisor import Service, Supervisor
from anomaly_platform.notifications.channels.routes import Routes
from anomaly_platform.platform import Platform
from anomaly_platform.resources.dagster_home import CODE_LOCATION, write_server_workspace
from anomaly_platform.runtime.brief_end import briefly
from anomaly_platform.settings import Settings
from anomaly_platform.settings.types import split_list
from anomaly_platform.storage.own_files import tighten

_PATIENCE_SECONDS = 120
_LAST_WORDS_SECONDS = 3
_MAKE_A_KEY = "anomaly keys create NAME --scope ml:read --scope ml:write"


def run_platform(
    settings: Settings, console: Console, host: str, port: int, *, mlflow: bool | None = None
) -> int:
    """Run until Ctrl-C; return the exit code.

    Parameters
    ----------
    mlflow : bool or None
        Whether MLflow's pages are served; the registry is mirrored either way. ``None``: as the
        settings say.
    """
    mlflow = serves_mlflow(settings, mlflow)
    # A mistake in the routes is told now, and not by a dispatcher that starts again and again.
    Routes(settings.alert_routes)
    ports = ports_of_platform(settings, host, port, mlflow=mlflow)
    numbers = [one.number for one in ports]
    with only_platform_of(settings.home, probed_url(host, port), numbers):
        # PostgreSQL looks after its own folder, which may be another user's.
        tighten(settings.home, without="postgres")
        taken = next((one for one in ports if not one.is_free), None)
        if taken is not None:
            console.print(
                f"[red]Port {taken.number} on {taken.host}, which {taken.user} would use, is "
                f"taken; {taken.fix}."
            )
            return 2
        _run(settings, console, host, port, mlflow=mlflow)
    return 0


def _run(settings: Settings, console: Console, host: str, port: int, *, mlflow: bool) -> None:
    # Whoever reaches the code server's socket can start runs: its folder is this user's alone.
    with (
        open_supervised(settings) as runtime,
        tempfile.TemporaryDirectory(prefix="anomaly-") as sockets,
    ):
        environment = dict(runtime.environment)
        services = _services(runtime.platform, Path(sockets), host, port, mlflow=mlflow)

        calendar = Calendar(runtime.platform.first_days, probed_url(host, port))
        revival = Revival(settings, lambda line: console.print(line, soft_wrap=True, markup=False))

        def look_after() -> None:
            calendar.look()
            revival.look()

        supervisor = Supervisor(
            services,
            environment,
            settings.home / "logs",
            console.print,
            look_after,
            revival.write_out,
        )

        def announce() -> None:
            def say(line: str) -> None:
                console.print(line, soft_wrap=True)

            awaited = _awaited(settings, supervisor.log_folder, host, port, mlflow=mlflow)
            for line in _first_words(supervisor.log_folder, awaited):
                say(line)
            tell = partial(tell_as_they_answer, say=say, stopping=lambda: supervisor.stopping)
            late = tell(awaited, patience_s=_PATIENCE_SECONDS)
            if supervisor.stopping:
                return
            for stream in runtime.platform.streams:
                folder = runtime.platform.landing.folder(stream.name)
                console.print(f"Drop files   {folder}  ({stream.title})", soft_wrap=True)
            console.print(f"Log in with the key that `{_MAKE_A_KEY}` prints.", soft_wrap=True)
            console.print(f"Database     {runtime.platform.public_url}", soft_wrap=True)
            console.print("Stop with Ctrl-C.")
            revival.write_out()
            tell(late, patience_s=math.inf)

        # Beside the supervisor, which restarts what dies meanwhile and hears Ctrl-C at once.
        announcing = threading.Thread(target=announce, name="announce", daemon=True)
        supervisor.run(announcing.start)
        announcing.join(_LAST_WORDS_SECONDS)
        revival.close()
        console.print("Stopped.")


def _first_words(logs: Path, awaited: Sequence[Awaited]) -> list[str]:
    """Return what is said at once: where logs are, and where most people will go."""
    return [f"Starting; logs are in {logs}", awaited[0].told("starting")]


def _awaited(
    settings: Settings, logs: Path, host: str, port: int, *, mlflow: bool
) -> list[Awaited]:
    """Return what a person may want to open, the console first, and how to ask for an answer."""
    api = base_url(settings.api_host, settings.api_port)
    ready = f"{probed_url(settings.api_host, settings.api_port)}/health/ready"
    found = [
        Awaited(
            "Console",
            f"{api}/console",
            ready,
            str(logs / "api.log"),
        ),
        Awaited(
            "API",
            f"{api}/docs",
            ready,
            str(logs / "api.log"),
        ),
        Awaited(
            "Dagster UI",
            base_url(host, port),
            f"{probed_url(host, port)}/server_info",
            str(logs / "webserver.log"),
        ),
    ]
    if mlflow:
        url = base_url(MLFLOW_HOST, settings.mlflow_port)
        found.append(Awaited("MLflow", url, f"{url}/health", str(logs / "mlflow.log")))
    return found


def _services(
    platform: Platform, sockets: Path, host: str, port: int, *, mlflow: bool
) -> list[Service]:
    dagster = str(Path(sys.executable).with_name("dagster"))
    anomaly = str(Path(sys.executable).with_name("anomaly"))
    # One code server for webserver, daemon and runs: for a workspace that names the module, each of
    # the two starts its own, and the daemon starts it anew every minute.
    socket_path = sockets / CODE_SOCKET
    location = ["--location-name", CODE_LOCATION]
    code = ["--module-name", "anomaly_platform.definitions", "--attribute", "defs", *location]
    workspace = ["--workspace", str(write_server_workspace(sockets, socket_path))]
    services = [
        Service(
            "code", briefly(dagster, "code-server", "start", "--socket", str(socket_path), *code)
        ),
        Service(
            "webserver", briefly(anomaly, "ui", *workspace, "--host", host, "--port", f"{port}")
        ),
        Service("daemon", [*daemon_command(), *workspace]),
        Service("dispatcher", briefly(anomaly, "dispatch")),
        Service(
            "api", briefly(anomaly, "api"), _linked(platform.settings, host, port, mlflow=mlflow)
        ),
    ]
    if platform.settings.mqtt_url is not None:
        services.append(Service("mqtt", briefly(anomaly, "mqtt")))
    if mlflow:
        services.append(_mlflow_service(platform))
    return services


def _linked(settings: Settings, host: str, port: int, *, mlflow: bool) -> dict[str, str]:
    """Return what tells the console which pages there are, and where.

    The place of Dagster's own is told unless a setting does.
    """
    told = {"ANOMALY_MLFLOW_PAGES": "true" if mlflow else "false"}
    if "dagster_ui_url" not in settings.model_fields_set:
        told["ANOMALY_DAGSTER_UI_URL"] = probed_url(host, port)
    return told


def _mlflow_service(platform: Platform) -> Service:
    from anomaly_platform.registry.mlflow.model_registry import server_environment

    port, trusted = platform.settings.mlflow_port, split_list(platform.settings.ui_trusted_hosts)
    # Its own default lets every name through that begins like a private address.
    hosts = ",".join([*(f"{name}:{port}" for name in THIS_MACHINE), *trusted])
    origins = ",".join(f"{scheme}://{name}" for name in trusted for scheme in ("http", "https"))
    guard = ["--allowed-hosts", hosts, *(["--cors-allowed-origins", origins] if origins else [])]
    return Service(
        "mlflow",
        [*mlflow_command(port), *guard],
        # The database's URL, which may hold a password, is no argument that others could see.
        server_environment(platform.settings),
    )


def mlflow_command(port: int) -> list[str]:
    """Return the command that serves MLflow's pages, as ``registry.mlflow.pages`` has them."""
    from anomaly_platform.registry.mlflow.server import COMMAND

    return [
        *(*COMMAND, "--app-name", "anomaly"),
        *("--host", MLFLOW_HOST, "--port", str(port), "--workers", "1"),
    ]
