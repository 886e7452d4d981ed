"""``anomaly doctor``: what works on this machine, and what to do about what does not."""

import importlib.metadata
import os
import platform as host_platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from anomaly_platform.cli.services.ports import Port, ports_of_platform, serves_mlflow
from anomaly_platform.cli.services.running import RunningPlatform, platform_of
from anomaly_platform.platform import Platform
from anomaly_platform.settings import Settings

_LEAST_FREE_GIB = 2
_PACKAGES = ("dagster", "polars", "numba", "scikit-learn", "psycopg", "torch")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report.

    Attributes
    ----------
    subject, detail : str
        What was looked at, and what was seen.
    works : bool
        Whether the platform can work with it.
    fix : str
        What to do when it does not work.
    """

    subject: str
    works: bool
    detail: str
    fix: str = ""


def examine(settings: Settings, port: int) -> Iterator[Finding]:
    """Look at everything the platform needs; a failing look is a finding, never an error."""
    yield _python()
    yield Finding("Processors", True, f"{os.cpu_count()}")
    yield _disk(settings)
    folder = "set ANOMALY_HOME to a folder you may write to"
    home = _tried("Home", lambda: _home(settings), folder)
    yield home
    server = "check ANOMALY_DATABASE_URL and the server"
    kind = "embedded: " if settings.is_embedded else "your server: "
    place = "set ANOMALY_LAKE_URL to a place to write to"
    with _home_to_try(settings) if home.works else nullcontext(settings) as tried:
        yield _tried("PostgreSQL", lambda: _database(tried), server, kind)
        yield _tried("Lake", lambda: _lake(tried, settings.lake_url), place)
    yield _streams(settings)
    running, mlflow = platform_of(settings.home), serves_mlflow(settings)
    for wanted in ports_of_platform(settings, "127.0.0.1", port, mlflow=mlflow):
        yield _port(wanted, running)
    yield _gpu()
    yield from _versions()


def _python() -> Finding:
    version = host_platform.python_version()
    return Finding("Python", sys.version_info >= (3, 11), version, "install Python 3.11 or newer")


def _disk(settings: Settings) -> Finding:
    existing = _nearest(settings.home)
    free = shutil.disk_usage(existing).free / 2**30
    return Finding(
        "Disk",
        free > _LEAST_FREE_GIB,
        f"{free:.1f} GiB free at {existing}",
        f"free at least {_LEAST_FREE_GIB} GiB or set ANOMALY_HOME to another disk",
    )


def _nearest(home: Path) -> Path:
    """Return the home, or the nearest folder above it that exists."""
    return next(path for path in (home, *home.parents) if path.exists())


def _home(settings: Settings) -> str:
    there = settings.home.is_dir()
    with tempfile.TemporaryFile(dir=_nearest(settings.home)):
        return f"{settings.home}" if there else f"{settings.home}, which does not exist yet"


@contextmanager
def _home_to_try(settings: Settings) -> Iterator[Settings]:
    """Yield settings with a home to write to: one for the moment where there is none yet."""
    if settings.home.is_dir():
        yield settings
        return
    with tempfile.TemporaryDirectory(prefix=".doctor-", dir=_nearest(settings.home)) as folder:
        home = Path(folder)
        own_lake = Path(settings.lake_url).is_relative_to(settings.home)
        lake = str(home / "lake") if own_lake else settings.lake_url
        yield settings.model_copy(update={"home": home, "lake_url": lake})


def _database(settings: Settings) -> str:
    platform = Platform(settings)
    try:
        return platform.warehouse.server_version()
    finally:
        platform.release()


def _lake(tried: Settings, url: str) -> str:
    from anomaly_platform.storage.lake.lake import Lake

    Lake(tried.lake_url).probe()
    return url


def _tried(subject: str, look: Callable[[], str], fix: str, about: str = "") -> Finding:
    """Return what a look says, or why it fails, whatever the reason is."""
    try:
        return Finding(subject, True, f"{about}{look()}")
    except Exception as error:
        return Finding(subject, False, f"{about}{error}", fix)


def _streams(settings: Settings) -> Finding:
    platform = Platform(settings)
    bad = platform.bad_streams
    names = ", ".join(stream.name for stream in platform.streams)
    return Finding(
        "Streams",
        not bad,
        "\n".join([names, *map(str, bad)]),
        f"correct the file in {settings.streams_dir}, or take it away",
    )


def _port(wanted: Port, running: RunningPlatform | None) -> Finding:
    """Return whether ``anomaly up`` can listen on a port, or does so already."""
    subject = f"Port of {wanted.user}"
    if running is not None and wanted.number in running.ports:
        detail = f"{wanted.number}: `anomaly up` of this home (process {running.pid})"
        return Finding(subject, True, detail)
    free = wanted.is_free
    detail = f"{wanted.number}" if free else f"{wanted.number}, where something else listens"
    return Finding(subject, free, detail, f"stop what listens there, or {wanted.fix}")


def _gpu() -> Finding:
    device = Path("/proc/driver/nvidia/version")
    none = "none; training uses the processors"
    return Finding("GPU", True, device.read_text().splitlines()[0] if device.exists() else none)


def _versions() -> Iterator[Finding]:
    for package in _PACKAGES:
        try:
            yield Finding(package, True, importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(package, False, "not installed", f"pip install {package}")
