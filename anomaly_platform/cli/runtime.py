"""What a command needs around it: the platform, Dagster's instance, and runs in this process."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from anomaly_platform.platform import Platform
from anomaly_platform.settings import Settings, get_settings

if TYPE_CHECKING:
    from dagster import DagsterInstance, Definitions, ExecuteInProcessResult


# Dagster's log of every event is in the UI; a command shows its progress instead.
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class RunFailedError(RuntimeError):
    """A Dagster run in this process failed; the message says which step and why."""


@dataclass(slots=True)
class Runtime:
    """An open platform with its Dagster instance.

    Attributes
    ----------
    platform : Platform
        Lake, warehouse, landing and streams.
    instance : DagsterInstance
        Records what runs here, so that the UI shows it.
    environment : mapping of str to str
        What child processes of Dagster need; holds a password, never print it.
    """

    platform: Platform
    instance: DagsterInstance
    environment: Mapping[str, str]
    _built: tuple[Mapping[str, date], Definitions] | None = None

    @property
    def definitions(self) -> Definitions:
        """The graph over this platform, made anew where older data have moved its first day."""
        from anomaly_platform.definitions import build_defs

        first_days = self.platform.first_days.read()
        if self._built is None or self._built[0] != first_days:
            self._built = first_days, build_defs(platform=self.platform)
        return self._built[1]

    def materialize(
        self,
        keys: Sequence[Sequence[str]],
        tags: Mapping[str, str],
        run_config: Mapping[str, Any] | None = None,
    ) -> ExecuteInProcessResult:
        """Run the assets with these keys, and their checks, in this process.

        Raises
        ------
        RunFailedError
            When a step fails, or a blocking check does.
        """
        from dagster import AssetKey

        job = self.definitions.resolve_implicit_global_asset_job_def()
        selected = job.get_subset(asset_selection={AssetKey(list(key)) for key in keys})
        result = selected.execute_in_process(
            instance=self.instance,
            tags=dict(tags),
            run_config={**QUIET, **(run_config or {})},
            raise_on_error=False,
        )
        if not result.success:
            raise RunFailedError(_reason(result))
        return result


@contextmanager
def open_platform(settings: Settings | None = None) -> Iterator[Platform]:
    """Open the platform of the settings, and stop its database after it unless others use it."""
    platform = Platform(settings or get_settings())
    try:
        yield platform
    finally:
        platform.release()


@dataclass(frozen=True, slots=True)
class Supervised:
    """A platform whose Dagster runs in other processes.

    Attributes
    ----------
    platform : Platform
    environment : mapping of str to str
        What these processes need; holds a password, never print it.
    """

    platform: Platform
    environment: Mapping[str, str]


@contextmanager
def open_supervised(settings: Settings) -> Iterator[Supervised]:
    """Open the platform and get Dagster's instance ready, without importing Dagster."""
    from anomaly_platform.resources.dagster_home import prepare_home
    from anomaly_platform.resources.instance_start import get_ready

    platform = Platform(settings)
    environment = prepare_home(settings, platform.urls.dagster)
    get_ready({**os.environ, **environment})
    platform.note_first_days()
    try:
        yield Supervised(platform, environment)
    finally:
        platform.close()
    platform.release()


@contextmanager
def open_runtime(settings: Settings | None = None) -> Iterator[Runtime]:
    """Start the database where it is embedded, bring its schema up to date, open everything."""
    from anomaly_platform.resources.dagster_home import open_instance, prepare_home
    from anomaly_platform.resources.run_launcher import fail_dead_runs

    settings = settings or get_settings()
    platform = Platform(settings)
    environment = prepare_home(settings, platform.urls.dagster)
    with open_instance(environment) as instance:
        fail_dead_runs(instance)
        platform.note_first_days()
        try:
            yield Runtime(platform, instance, environment)
        finally:
            platform.close()
    platform.release()


def _reason(result: ExecuteInProcessResult) -> str:
    for event in result.all_events:
        if event.is_failure and event.step_key is not None:
            error = event.step_failure_data.error
            while error is not None and error.cause is not None:
                error = error.cause
            message = error.message.strip() if error is not None else "no reason given"
            return f"{event.step_key.replace('__', '/')}: {message}"
    return f"run {result.run_id} failed; see it in the UI"
