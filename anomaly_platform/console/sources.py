"""What is behind a figure: the asset or run in Dagster, the model in MLflow, or the statement."""

from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import quote

from anomaly_platform.settings import Settings


class Source(NamedTuple):
    """One thing behind a figure.

    Attributes
    ----------
    kind, text : str
        What it is, and its name or statement.
    href : str or None
        Where it is shown; a statement is shown by running it.
    """

    kind: str
    text: str
    href: str | None = None


def asset(settings: Settings, stream: str, stage: str) -> Source:
    """Return an asset's page in Dagster."""
    return Source("Dagster asset", f"{stream}/{stage}", _dagster(settings, "assets", stream, stage))


def run(settings: Settings, run_id: str) -> Source:
    """Return a run's page in Dagster."""
    return Source("Dagster run", run_id[:8], _dagster(settings, "runs", run_id))


def models(settings: Settings, *detectors: tuple[str, str]) -> list[Source]:
    """Return pages in MLflow, with a version for each of the platform's; none that nobody serves.

    There are those of a server of the user's own, and those of ``anomaly up``, which says so to the
    API that it starts.

    Parameters
    ----------
    settings : Settings
    *detectors : tuple of str and str
        Streams, and a detector of each.
    """
    own = settings.mlflow_url
    told = "mlflow_pages" in settings.model_fields_set and settings.mlflow_pages
    if own is None and not told:
        return []
    base = f"http://127.0.0.1:{settings.mlflow_port}" if own is None else own.get_secret_value()
    names = [f"{stream}.{detector}" for stream, detector in detectors]
    pages = f"{base.rstrip('/')}/#/models"
    return [Source("MLflow model", name, f"{pages}/{quote(name, safe='')}") for name in names]


def statement(sql: str) -> Source:
    """Return a question to the tables, as anybody can ask it."""
    return Source("SQL", f'anomaly sql "{sql}"')


def _dagster(settings: Settings, *parts: str) -> str:
    base = settings.dagster_ui_url.rstrip("/")
    return "/".join((base, *_quoted(parts)))


def _quoted(parts: tuple[str, ...]) -> Iterator[str]:
    return (quote(part, safe="") for part in parts)
