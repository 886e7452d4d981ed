"""The health report: the status of each part, and what to do about it.

Belongs here: asking each part, with a time limit, and judging the answer. Nothing here says where
a part is or how it is reached: the answer is public.
"""

import asyncio
import datetime as dt
import logging
import time
from typing import Final

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping
from psycopg_pool import PoolTimeout

from anomaly_platform import __version__
from anomaly_platform.platform import Platform
from anomaly_platform.queries.latency import LatencyLook, look_at_latency
from anomaly_platform.queries.queues import Queue, read_queues, read_rejected_files
from anomaly_platform.serving.champions.models import ModelStore
from anomaly_platform.serving.health.neighbours import ask_ems_core, ask_mqtt
from anomaly_platform.serving.health.pipeline import PipelineHealth
from anomaly_platform.serving.health.pulse import Pulse
from anomaly_platform.serving.schemas.health import (
    Health,
    Part,
    QueueState,
    Readiness,
    ServedVersion,
)
from anomaly_platform.serving.shared_redis import SharedRedis
from anomaly_platform.storage.postgres.database import DatabaseError
from anomaly_platform.storage.postgres.transactions import Pool

#: Seconds for which an answer is given again: health is public, its checks are not free.
_LIFETIME_S: Final = 2.0
_PATIENCE_S: Final = 2.0
#: Whole hours are counted: the one that goes on, and the one before.
_LATELY: Final = dt.timedelta(hours=1)

_WHAT_DRAINS: Final = {
    "training_requests": (1800.0, "see whether Dagster's daemon runs (anomaly up)"),
    "deliveries": (600.0, "see whether the dispatcher runs (anomaly dispatch) and its log"),
    "online_readings": (1800.0, "see whether Dagster's daemon runs (anomaly up)"),
    "registry_mirror": (3600.0, "see whether MLflow's database answers"),
}

_log = logging.getLogger(__name__)


class HealthChecks:
    """Checks every part, at most once in two seconds however often the report is asked for.

    Parameters
    ----------
    platform : Platform
        Settings, landing folders and Dagster's database.
    pool : AsyncConnectionPool
        Of the platform's database.
    models : ModelStore
        What serves each stream.
    redis : SharedRedis or None
        What the workers share; None where none is set.
    pulse : Pulse
        Says whether this worker is late with everything.
    """

    def __init__(
        self,
        platform: Platform,
        pool: Pool,
        models: ModelStore,
        redis: SharedRedis | None,
        pulse: Pulse,
    ) -> None:
        self._settings = platform.settings
        self._url = platform.urls.application
        self._latency = platform.warehouse.prediction_latency
        self._targets = {one.name: platform.prediction_target_of(one) for one in platform.streams}
        self._untrained = _what_serves_untrained({one.has_series for one in platform.streams})
        self._pool = pool
        self._models = models
        self._redis = redis
        self._pulse = pulse
        self._pipeline = PipelineHealth(platform)
        self._last: Health | None = None
        self._asked_at = float("-inf")
        self._asking = asyncio.Lock()

    async def health(self) -> Health:
        """Return the report, not older than two seconds."""
        async with self._asking:
            if self._last is None or time.monotonic() - self._asked_at >= _LIFETIME_S:
                self._last = await self._ask()
                self._asked_at = time.monotonic()
        return self._last

    async def readiness(self) -> Readiness | None:
        """Return how requests are answered; None while they cannot be, without the database."""
        if (await self.health()).parts["database"].status == "down":
            return None
        return "busy" if self._pulse.is_busy else "ready"

    async def _ask(self) -> Health:
        (database, queues, files, predictions), ems_core, mqtt = await asyncio.gather(
            self._database(), ask_ems_core(self._settings), ask_mqtt(self._settings)
        )
        pipeline, figures = await self._pipeline.ask(queues)
        parts = {
            "database": database,
            "models": self._models_part(),
            "pipeline": pipeline,
            "queues": _judge(queues),
            "files": files,
            "predictions": predictions,
            "ems_core": ems_core,
            "redis": self._redis_part(),
            "mqtt": mqtt,
        }
        worst = {part.status for part in parts.values()}
        status = "ok" if worst <= {"ok", "off"} else "degraded"
        return Health(
            status="down" if database.status == "down" else status,
            version=__version__,
            checked_at=dt.datetime.now(dt.UTC),
            parts=parts,
            models=self._versions(),
            pipeline=figures,
            queues={
                name: QueueState(depth=queue.depth, oldest_seconds=queue.oldest_s)
                for name, queue in queues.items()
            },
        )

    async def _database(self) -> tuple[Part, dict[str, Queue], Part, Part]:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await asyncio.to_thread(_ask_for_a_connection, self._url)
                began = time.perf_counter()
                queues = await read_queues(self._pool)
                rejected = await read_rejected_files(self._pool)
                since = dt.datetime.now(dt.UTC) - _LATELY
                found = await asyncio.to_thread(self._latency.since, since)
        except (
            *(psycopg.OperationalError, PoolTimeout),
            *(DatabaseError, TimeoutError, OSError),
        ) as error:
            if isinstance(error, TimeoutError) and self._pulse.is_busy:
                busy = Part(status="degraded", detail="not known while this worker is busy")
                return (
                    Part(
                        status="degraded",
                        detail=f"no answer within {_PATIENCE_S:.0f} s: this worker is busy",
                        fix="see what else runs on the machine, and ANOMALY_API_WORKERS",
                    ),
                    {},
                    busy,
                    busy,
                )
            _log.warning("the database does not answer: %s", type(error).__name__)
            unknown = Part(status="down", detail="not known while the database does not answer")
            return (
                Part(
                    status="down",
                    detail="does not answer",
                    fix="see whether PostgreSQL runs and takes connections (anomaly doctor)",
                ),
                {},
                unknown,
                unknown,
            )
        spent = (time.perf_counter() - began) * 1000
        database = Part(status="ok", detail=f"answers in {spent:.1f} ms")
        look = look_at_latency(found, self._targets)
        return database, queues, _files_part(rejected), _predictions_part(look)

    def _versions(self) -> dict[str, ServedVersion]:
        models = self._models
        return {
            name: ServedVersion(
                version=version,
                problem=f"version {models.problems[name].version} could not be loaded"
                if name in models.problems
                else None,
            )
            for name, version in models.versions().items()
        }

    def _models_part(self) -> Part:
        models = self._models
        versions = models.versions()
        serving = sorted(name for name, version in versions.items() if version is not None)
        if models.problems:
            return Part(
                status="degraded",
                detail=f"the champion of {', '.join(sorted(models.problems))} cannot be loaded; "
                "what served before goes on",
                fix="the log says why; promote another version (anomaly models promote)",
            )
        if not serving:
            return Part(
                status="degraded",
                detail=f"no stream has a model yet; {self._untrained}",
                fix="bring in data and train (anomaly run STREAM)",
            )
        return Part(status="ok", detail=f"serving {', '.join(serving)}")

    def _redis_part(self) -> Part:
        redis = self._redis
        if redis is None:
            return Part(status="off", detail="not set; each worker counts and caches for itself")
        if redis.answers:
            return Part(status="ok", detail="answers")
        return Part(
            status="down",
            detail="does not answer; each worker counts and caches for itself meanwhile",
            fix="see whether Redis runs, and ANOMALY_REDIS_URL",
        )


def _what_serves_untrained(kinds: set[bool]) -> str:
    """Return what serves streams without models: those of metrics (True), of scans, or both."""
    if kinds == {True}:
        return "the statistical fallback serves"
    if kinds == {False}:
        return "rules serve"
    return "the statistical fallback serves metrics, and rules serve scans"


def _ask_for_a_connection(url: str) -> None:
    """Raise :class:`psycopg.OperationalError` where the server takes no new connections.

    Those of the pool answer on while a server waits for its users to leave. One that has no
    connection to spare, and one that refuses the password, is no such server.
    """
    # Longer than the report waits, which knows whether this worker is late.
    asked = make_conninfo(url, connect_timeout=round(2 * _PATIENCE_S))
    found = Ping(PGconn.ping(asked.encode()))
    if found is not Ping.OK:
        raise psycopg.OperationalError(f"no new connections: {found.name}")


def _files_part(rejected: int) -> Part:
    if not rejected:
        return Part(status="ok", detail="none was rejected in the last 7 days")
    return Part(
        status="degraded",
        detail=f"{rejected:,} rejected in the last 7 days",
        fix="anomaly check says which and why; mend them and import them under the same name",
    )


def _predictions_part(look: LatencyLook) -> Part:
    if not look.slow:
        return Part(status="ok", detail=f"{look.seen} lately")
    return Part(
        status="degraded",
        detail=f"slow: {'; '.join(look.slow)}",
        fix="see load and model cache on the dashboard; add workers (ANOMALY_API_WORKERS)",
    )


def _judge(queues: dict[str, Queue]) -> Part:
    if not queues:
        return Part(status="down", detail="not known while the database does not answer")
    late = [name for name, queue in queues.items() if queue.oldest_s > _WHAT_DRAINS[name][0]]
    if not late:
        waiting = sum(queue.depth for queue in queues.values())
        return Part(status="ok", detail=f"{waiting:,} waiting")
    return Part(
        status="degraded",
        detail=f"{', '.join(late)}: the oldest has waited too long",
        fix="; ".join(dict.fromkeys(_WHAT_DRAINS[name][1] for name in late)),
    )
