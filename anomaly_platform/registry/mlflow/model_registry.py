"""Mirrors the platform's versions and champions to MLflow's runs, versions and aliases.

Belongs here: everything that talks to MLflow. It mirrors and never decides: ``champions`` is the
truth, and an MLflow that is down delays this module and nothing else. Bundles are logged as plain
files, never as a flavour, and never loaded from here. Importing this module does not import MLflow
(3.5 s, 195 MB); `MlflowMirror.drain` does, in a process of its own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from anomaly_platform.registry.bundle_index import BundleRecord
from anomaly_platform.registry.bundles import Bundles
from anomaly_platform.registry.mlflow.version_pages import RunPage, VersionPages

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

    from anomaly_platform.registry.pending_updates import PendingUpdates
    from anomaly_platform.settings import Settings
    from anomaly_platform.storage.postgres.database import DatabaseUrls
    from anomaly_platform.storage.postgres.transactions import Transactions

KEY_TAG: Final = "anomaly.key"
VERSION_TAG: Final = "anomaly.version"
CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"

_BATCH: Final = 90
_LOCK: Final = 0x6D6C666C  # any number that nobody else locks


@dataclass(frozen=True, slots=True)
class Drained:
    """What one pass over the waiting rows did.

    Attributes
    ----------
    done, waiting : int
        Rows that MLflow knows of now, and rows that still wait.
    error : str
        Why it stopped, without any password; empty when it did not.
    """

    done: int
    waiting: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class MlflowMirror:
    """Tells MLflow of what the platform's tables note.

    Parameters
    ----------
    settings : Settings
        Where MLflow is.
    urls : DatabaseUrls
        The databases, whose passwords no error may repeat.
    transactions, bundles, pending
        The tables, and the rows that wait.
    pages : VersionPages
        What is shown of a version.
    """

    settings: Settings
    urls: DatabaseUrls
    transactions: Transactions
    bundles: Bundles
    pending: PendingUpdates
    pages: VersionPages

    def drain(self) -> Drained:
        """Tell MLflow of everything that waits; stop at the first error and leave the rest.

        Any number of processes may call this: one works, the others find nothing to do. Killed at
        any point it is made good by the next call, and no version is entered twice.
        """
        done = 0
        with self.transactions.begin() as connection:
            # One process at a time: the others leave it at that.
            trying = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (_LOCK,))
            ((alone,),) = trying.fetchall()
            while alone and (rows := self.pending.due()):
                pending = list(rows)
                try:
                    registry = Registry.connect(self.settings, self.bundles, self.pages)
                    while pending:
                        key = (pending[0].stream, pending[0].detector)
                        same = [row for row in pending if (row.stream, row.detector) == key]
                        runs = registry.mirror(*key, sorted({row.version for row in same}))
                        for row in same:
                            self.pending.done(row, runs.get(row.version))
                        done += len(same)
                        pending = [row for row in pending if row not in same]
                except Exception as error:  # whatever ails MLflow, nothing here may fail over it
                    message = self._scrub(error)
                    self.pending.delay(pending, message)
                    return Drained(done, self.pending.waiting(), message)
        return Drained(done, self.pending.waiting())

    def _scrub(self, error: BaseException) -> str:
        """Return an error's type and text without the URL and the password that it may repeat."""
        message = f"{type(error).__name__}: {error}"
        given = self.settings.mlflow_url
        for url in (self.urls.mlflow, given.get_secret_value() if given else ""):
            password = urlsplit(url).password
            for secret in filter(None, (url, password, unquote(password or ""))):
                message = message.replace(secret, "***")
        return message


def tracking_uri(settings: Settings) -> str:
    """Return where MLflow keeps its runs: a server of the user's, or the platform's database.

    Raises
    ------
    DatabaseError
        When the database is missing and cannot be made.
    """
    from anomaly_platform.storage.postgres.database import ensure_mlflow_database

    url = settings.mlflow_url
    return ensure_mlflow_database(settings) if url is None else url.get_secret_value()


def server_environment(settings: Settings) -> dict[str, str]:
    """Return what a process with MLflow's server needs; holds a password, never print it."""
    folder = settings.mlflow_artifacts
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return {
        "MLFLOW_BACKEND_STORE_URI": tracking_uri(settings),
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": str(folder),
        "MLFLOW_SERVE_ARTIFACTS": "false",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


@dataclass(frozen=True, slots=True)
class Registry:
    """MLflow's client with the platform's names.

    Parameters
    ----------
    client : mlflow.tracking.MlflowClient
    settings, bundles, pages
        As :class:`MlflowMirror` has them.
    """

    client: MlflowClient
    settings: Settings
    bundles: Bundles
    pages: VersionPages

    @classmethod
    def connect(cls, settings: Settings, bundles: Bundles, pages: VersionPages) -> Registry:
        """Import MLflow and connect; MLflow's own tables are made with the first connection."""
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        # A server that does not answer is tried again by the next drain, not by this one.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        from mlflow.tracking import MlflowClient

        uri = tracking_uri(settings)
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        return cls(client, settings, bundles, pages)

    def mirror(self, stream: str, detector: str, versions: list[int]) -> dict[int, str]:
        """Bring runs, versions and aliases of a detector up to date; return the runs by version."""
        records = {one.version: one for one in self.bundles.all(stream, detector)}
        runs: dict[int, str] = {}
        for version in versions:
            record = records.get(version)
            if record is not None and record.status != "training":
                runs[version] = self._mirror_version(record)
        self._mirror_aliases(f"{stream}.{detector}", list(records.values()))
        return runs

    def _mirror_version(self, record: BundleRecord) -> str:
        key = f"{record.stream}/{record.detector}/{record.version}"
        page = self.pages.page_of(record)
        run_id = self._finished_run(record.stream, key) or self._write_run(record, key, page)
        for name, value in page.changing_tags.items():
            self.client.set_tag(run_id, name, value)
        if record.trained_at is not None:
            self._ensure_version(record, run_id, page)
        return run_id

    def _finished_run(self, stream: str, key: str) -> str | None:
        """Return the run of a version; clear away one whose writing was broken off."""
        experiment = self.client.search_runs(
            [self._experiment(stream)], f"tags.`{KEY_TAG}` = '{key}'"
        )
        whole = None
        for run in experiment:
            if run.info.status in ("FINISHED", "FAILED"):
                whole = str(run.info.run_id)
            else:
                self.client.delete_run(run.info.run_id)
        return whole

    def _write_run(self, record: BundleRecord, key: str, page: RunPage) -> str:
        from mlflow.entities import Metric, Param, RunTag

        run = self.client.create_run(
            self._experiment(record.stream),
            start_time=page.started_ms,
            run_name=f"{record.detector} {record.version}",
            tags={KEY_TAG: key, VERSION_TAG: str(record.version), **page.tags},
        )
        run_id = str(run.info.run_id)
        metrics = [Metric(m.name, m.value, page.ended_ms, m.step) for m in page.metrics]
        for start in range(0, max(len(metrics), len(page.parameters)), _BATCH):
            part = list(page.parameters.items())[start : start + _BATCH]
            self.client.log_batch(
                run_id,
                metrics=metrics[start : start + _BATCH],
                params=[Param(name, value) for name, value in part],
                tags=[RunTag("mlflow.note.content", page.note)] if start == 0 else [],
            )
        with page.files() as folder:
            if any(folder.iterdir()):
                self.client.log_artifacts(run_id, str(folder))
        status = "FAILED" if record.trained_at is None else "FINISHED"
        self.client.set_terminated(run_id, status, end_time=page.ended_ms)
        return run_id

    def _experiment(self, stream: str) -> str:
        found = self.client.get_experiment_by_name(stream)
        if found is not None:
            return str(found.experiment_id)
        place = None
        if self.settings.mlflow_url is None:
            folder = self.settings.mlflow_artifacts / stream
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            place = folder.as_uri()
        # Without it MLflow opens its pages for language models.
        tags = {"mlflow.experimentKind": "custom_model_development"}
        return str(self.client.create_experiment(stream, artifact_location=place, tags=tags))

    def _ensure_version(self, record: BundleRecord, run_id: str, page: RunPage) -> None:
        name = f"{record.stream}.{record.detector}"
        self._ensure_model(name)
        mine = None
        for one in self.client.search_model_versions(f"name = '{name}'"):
            if one.tags.get(VERSION_TAG) != str(record.version):
                continue
            if one.run_id == run_id and mine is None:
                mine = one
            else:
                # Left by a run that was broken off.
                self.client.delete_model_version(name, one.version)
        if mine is None:
            source = self.client.get_run(run_id).info.artifact_uri
            mine = self.client.create_model_version(
                name,
                source,
                run_id,
                tags={VERSION_TAG: str(record.version)},
                description=page.note,
            )
        for tag, value in page.changing_tags.items():
            self.client.set_model_version_tag(name, mine.version, tag, value)

    def _ensure_model(self, name: str) -> None:
        if not self.client.search_registered_models(f"name = '{name}'"):
            self.client.create_registered_model(name)

    def _versions(self, name: str) -> dict[int, Any]:
        """Return MLflow's versions by the platform's numbers."""
        found = self.client.search_model_versions(f"name = '{name}'")
        return {int(v.tags[VERSION_TAG]): v for v in found if VERSION_TAG in v.tags}

    def _mirror_aliases(self, name: str, records: list[BundleRecord]) -> None:
        if not any(record.trained_at is not None for record in records):
            return
        self._ensure_model(name)
        known = self._versions(name)
        aliases = self.client.get_registered_model(name).aliases
        for alias in (CHAMPION, CHALLENGER):
            # Records come the newest first.
            wanted = next((r.version for r in records if r.status == alias), None)
            if wanted in known:
                if str(aliases.get(alias)) != str(known[wanted].version):
                    self.client.set_registered_model_alias(name, alias, known[wanted].version)
            elif alias in aliases:
                self.client.delete_registered_model_alias(name, alias)
