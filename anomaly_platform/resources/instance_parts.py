"""The parts of Dagster's instance that find the home by themselves, without any variable.

``dagster.yaml`` names them, so that ``dagster dev`` or ``dg launch`` started beside a home write
into the same history as ``anomaly up``. Belongs here: nothing but where Dagster keeps its things.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage
from dagster_postgres import DagsterPostgresStorage

from anomaly_platform.resources.dagster_home import URL_VARIABLE
from anomaly_platform.resources.kept_connections import Schedules, kept
from anomaly_platform.settings import get_settings
from anomaly_platform.storage.own_files import keep_to_own_user

if TYPE_CHECKING:
    from dagster._serdes import ConfigurableClassData


class _WithoutSettings:
    """What these parts take from ``dagster.yaml``: nothing, the platform's settings say it."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Take no settings: they are the platform's."""
        return {}


class HomeStorage(_WithoutSettings, DagsterPostgresStorage):
    """Runs, events and schedules in the platform's PostgreSQL, started where it is embedded.

    The three share the connections that this process keeps. Dagster's own storage opens one for
    every operation, which costs the server a new process each time: half of what an idle platform
    spent.
    """

    def __init__(self, postgres_url: str, **options: Any) -> None:
        known = kept(postgres_url)
        known.look()
        super().__init__(postgres_url, should_autocreate_tables=not known.tables_seen, **options)
        known.tables_seen = True
        for part in (self._run_storage, self._event_log_storage):
            part._engine = known.engine
        self._schedule_storage = Schedules(known)

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
