"""Dagster's home: where its instance is configured, and the environment that its processes need."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from anomaly_platform.settings import Settings
from anomaly_platform.settings.home import HOME_MARK, HOME_NAME

if TYPE_CHECKING:
    from dagster import DagsterInstance

GPU_POOL = "gpu"
#: What Dagster keeps the state of sensors and schedules under.
CODE_LOCATION = "anomaly_platform"
URL_VARIABLE = "ANOMALY_DAGSTER_URL"

#: By name, what makes a folder one that Dagster's own tools work in, beside dagster.yaml and
#: workspace.yaml. ``dg`` insists on a module that lies in the folder.
_PROJECT = {
    "dg.toml": """\
directory_type = "project"

[cli]
suppress_warnings = ["project_and_activated_venv_mismatch"]

[project]
root_module = "anomaly_home"
defs_module = "anomaly_home"
code_location_target_module = "anomaly_home"
code_location_name = "anomaly_platform"
""",
    "anomaly_home.py": '''\
"""The graph of the installed platform, for `dg` in this folder."""

from anomaly_platform.definitions import defs as defs
''',
}
_SHIPPED = ("dagster.yaml", "workspace.yaml")


def project_file(name: str) -> Path:
    """Return a file that ships with the project, from the checkout or from the installed package.

    Raises
    ------
    FileNotFoundError
        When the installation lacks it.
    """
    package = Path(__file__).resolve().parents[1]
    for candidate in (package.parent / name, package / "_project" / name):
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(f"{name} is missing from this installation; install the package anew")


def prepare_home(settings: Settings, dagster_url: str) -> dict[str, str]:
    """Write Dagster's home under ``ANOMALY_HOME`` and return the environment of its processes.

    Parameters
    ----------
    settings : Settings
        The platform's settings.
    dagster_url : str
        URL of Dagster's own database, ``postgresql+psycopg2://…``.

    Returns
    -------
    dict of str to str
        The variables to set; they hold the database's password and are never logged.
    """
    home = settings.home / "dagster"
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in _SHIPPED:
        shutil.copyfile(project_file(name), home / name)
    (settings.home / HOME_MARK).touch()
    write_project(settings.home)
    beside = settings.home.parent
    own = settings.home.name == HOME_NAME and beside != Path.home()
    if own and foreign_project_file(beside) is None:
        write_project(beside)
    return {
        "DAGSTER_HOME": str(home),
        "ANOMALY_HOME": str(settings.home),
        URL_VARIABLE: dagster_url,
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        # On a machine that is busy, a code server may need minutes to start a run; giving up after
        # Dagster's 60 s would fail runs for nothing, again and again.
        "DAGSTER_GRPC_TIMEOUT_SECONDS": os.environ.get("DAGSTER_GRPC_TIMEOUT_SECONDS", "300"),
    }


def write_project(folder: Path) -> None:
    """Make a folder one in which ``dagster`` and ``dg`` work without options or variables."""
    for name in _SHIPPED:
        shutil.copyfile(project_file(name), folder / name)
    for name, text in _PROJECT.items():
        (folder / name).write_text(text)


def write_server_workspace(folder: Path, socket: Path) -> Path:
    """Write the workspace of a code server that runs already; return its file."""
    server = {"socket": str(socket), "location_name": CODE_LOCATION}
    path = folder / "workspace.yaml"
    path.write_text(json.dumps({"load_from": [{"grpc_server": server}]}))
    return path


def foreign_project_file(folder: Path) -> Path | None:
    """Return a file that makes the folder a project of somebody's own, such as a checkout."""
    ours = folder / "anomaly_home.py"
    if ours.is_file():
        return None
    names = ("pyproject.toml", *_SHIPPED, *_PROJECT)
    return next((folder / name for name in names if (folder / name).exists()), None)


@contextmanager
def open_instance(environment: dict[str, str]) -> Iterator[DagsterInstance]:
    """Open the instance that `environment` describes, with the pool limits set.

    dagster.yaml knows only a default for all pools; one pool's limit lives in the instance.
    """
    os.environ.update(environment)
    from dagster import DagsterInstance

    with DagsterInstance.get() as instance:
        if instance.event_log_storage.supports_global_concurrency_limits:
            instance.event_log_storage.set_concurrency_slots(GPU_POOL, 1)
        yield instance
