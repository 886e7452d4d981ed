"""The parts of Dagster's instance that find the home by themselves, without any variable.

``dagster.yaml`` names them, so that ``dagster dev`` or ``dg launch`` started beside a home write
into the same history as ``anomaly up``. Belongs here: nothing but where Dagster keeps its things.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Self

from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import create_pg_engine

from anomaly_platform.resources.dagster_home import URL_VARIABLE
from anomaly_platform.settings import get_settings
from anomaly_platform.storage.own_files import keep_to_own_user

if TYPE_CHECKING:
    from dagster._serdes import ConfigurableClassData

#: Connections that a process keeps open; more are opened while they are needed.
_KEPT_CONNECTIONS: Final = 4
_RECYCLED_AFTER_S: Final = 600


class _WithoutSettings:
    """What these parts take from ``dagster.yaml``: nothing, the platform's settings say it."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Take no settings: they are the platform's."""
        return {}


class HomeStorage(_WithoutSettings, DagsterPostgresStorage):
    """Runs, events and schedules in the platform's PostgreSQL, started where it is embedded.

    The three share the connections of one pool. Dagster's own storage opens a connection for every
    operation, which costs the server a new process each time: half of what an idle platform spent.
    """

    def __init__(self, postgres_url: str, **options: Any) -> None:
        super().__init__(postgres_url, **options)
        engine = create_pg_engine(
            postgres_url,
            isolation_level="AUTOCOMMIT",
            pool_size=_KEPT_CONNECTIONS,
            max_overflow=-1,
            pool_recycle=_RECYCLED_AFTER_S,
            pool_pre_ping=True,
        )
        for part in (self._run_storage, self._event_log_storage, self._schedule_storage):
            part._engine = engine
        weakref.finalize(self, engine.dispose)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """Take the URL that a parent process hands on, or get the databases ready."""
        from anomaly_platform.storage.postgres.database import prepare_databases

        keep_to_own_user()
        url = os.environ.get(URL_VARIABLE) or prepare_databases(get_settings()).dagster
        return cls(url, inst_data=inst_data, **config_value)


class HomeArtifacts(_WithoutSettings, LocalArtifactStorage):
    """Files of runs, in Dagster's folder of the home."""

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """Build the part from ``dagster.yaml``."""
        return cls(_folder(), inst_data=inst_data, **config_value)


class HomeComputeLogs(_WithoutSettings, LocalComputeLogManager):
    """What steps print, in Dagster's folder of the home."""

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """Build the part from ``dagster.yaml``."""
        return cls(f"{_folder()}/storage", inst_data=inst_data, **config_value)


def _folder() -> str:
    """Return what DAGSTER_HOME says, or where ``anomaly up`` would set it."""
    return os.environ.get("DAGSTER_HOME") or str(get_settings().home / "dagster")
