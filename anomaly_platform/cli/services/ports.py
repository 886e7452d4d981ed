"""The ports that ``anomaly up`` listens on: which, for what, and whether they are free."""

import socket
from dataclasses import dataclass
from typing import Final

from anomaly_platform.settings import Settings

#: MLflow asks nobody for a password: its pages are for this machine alone.
MLFLOW_HOST: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Port:
    """A port that a service would listen on.

    Attributes
    ----------
    host, number
        Where.
    user : str
        Which service, for people.
    fix : str
        What to do when it is taken.
    """

    host: str
    number: int
    user: str
    fix: str

    @property
    def is_free(self) -> bool:
        """Whether nothing listens there."""
        return free_port(self.host, self.number)


def free_port(host: str, port: int) -> bool:
    """Return whether nothing listens on the port."""
    try:
        socket.create_connection((host, port), timeout=0.5).close()
    except socket.gaierror:
        # Nothing can listen under a name that is none.
        raise
    except OSError:
        return True
    return False


def serves_mlflow(settings: Settings, asked: bool | None = None) -> bool:
    """Return whether ``anomaly up`` serves MLflow's pages: as it is asked, or the settings say."""
    wanted = settings.mlflow_pages if asked is None else asked
    # A server of the user's own has its own pages.
    return wanted and settings.mlflow_url is None


def ports_of_platform(settings: Settings, host: str, port: int, *, mlflow: bool) -> list[Port]:
    """Return all ports that ``anomaly up`` listens on.

    Parameters
    ----------
    host, port
        Of Dagster's UI.
    mlflow : bool
        Whether MLflow's pages are served.
    """
    api = settings.api_host, settings.api_port
    wanted = [
        Port(host, port, "Dagster's UI", "choose another with --port"),
        Port(*api, "the API", "choose another with ANOMALY_API_PORT"),
    ]
    if mlflow:
        fix = "choose another with ANOMALY_MLFLOW_PORT, or do without with --no-mlflow"
        wanted.append(Port(MLFLOW_HOST, settings.mlflow_port, "MLflow", fix))
    return wanted
