"""What Dagster's own database knows: signs of life of its daemon, and how its runs go on."""

import datetime as dt
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from anomaly_platform.queries.rows import fetch_all

#: What of the daemon has to run for files and readings to be taken and scored.
_NEEDED: Final = ("SENSOR", "QUEUED_RUN_COORDINATOR", "SCHEDULER")

_BEATS: Final = """
SELECT daemon_type, (body::jsonb ->> 'timestamp')::float8,
    jsonb_typeof(body::jsonb -> 'errors') = 'array'
        AND jsonb_array_length(body::jsonb -> 'errors') > 0
FROM daemon_heartbeats WHERE daemon_type = ANY (%s)
"""
#: The newest end of each kind of work among the newest runs.
_RUNS: Final = """
SELECT DISTINCT ON (stream, work) stream, work, status, end_time FROM (
    SELECT status, end_time,
        coalesce((SELECT value FROM run_tags AS t WHERE t.run_id = r.run_id
            AND t.key = 'anomaly/stream' LIMIT 1), 'platform') AS stream,
        coalesce((SELECT value FROM run_tags AS t WHERE t.run_id = r.run_id
            AND t.key = 'anomaly/work' LIMIT 1), pipeline_name) AS work
    FROM (SELECT * FROM runs ORDER BY id DESC LIMIT 200) AS r
    WHERE status IN ('SUCCESS', 'FAILURE') AND end_time IS NOT NULL) AS ended
ORDER BY stream, work, end_time DESC
"""
#: The steps of a run that have begun.
_STEPS: Final = """
SELECT step_key AS name, min(timestamp) AT TIME ZONE 'UTC' AS began_at,
    max(timestamp) FILTER (WHERE dagster_event_type <> 'STEP_START') AT TIME ZONE 'UTC' AS ended_at,
    bool_or(dagster_event_type = 'STEP_FAILURE') AS has_failed
FROM event_logs WHERE run_id = %(run)s
    AND dagster_event_type IN ('STEP_START', 'STEP_SUCCESS', 'STEP_FAILURE')
GROUP BY step_key ORDER BY min(id)
"""
#: What a training has told of each of its epochs, as the metadata of an observation of its asset.
_EPOCHS: Final = """
SELECT (told ->> 'epoch')::int AS number, (told ->> 'loss')::float8 AS loss,
    (told ->> 'validation loss')::float8 AS validation
FROM (SELECT id, (
        SELECT jsonb_object_agg(one ->> 'label', one #> '{entry_data,value}')
        FROM jsonb_array_elements(event::jsonb #>
            '{dagster_event,event_specific_data,asset_observation,metadata_entries}') one) told
    FROM event_logs WHERE run_id = %(run)s AND dagster_event_type = 'ASSET_OBSERVATION') observed
WHERE told ? 'epoch' ORDER BY id
"""


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life of one of the daemon's parts: when, and whether it told of errors."""

    kind: str
    at: float
    has_errors: bool


@dataclass(frozen=True, slots=True)
class LastRun:
    """How the newest finished run of a kind of work ended, and when (Unix seconds)."""

    work: str
    succeeded: bool
    ended_at: float


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a run that has begun; `ended_at` is None while it goes on."""

    name: str
    began_at: dt.datetime
    ended_at: dt.datetime | None
    has_failed: bool


@dataclass(frozen=True, slots=True)
class Epoch:
    """What a training has told of an epoch."""

    number: int
    loss: float
    validation: float


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How far a run has come."""

    steps: Sequence[Step] = ()
    epochs: Sequence[Epoch] = ()


async def read_progress(url: str, run_id: str) -> RunProgress:
    """Return how far a run has come; parameters and errors as of `read_beats_and_runs`."""
    async with _connected(url) as connection:
        run = {"run": run_id}
        return RunProgress(
            await fetch_all(connection, Step, _STEPS, run),
            await fetch_all(connection, Epoch, _EPOCHS, run),
        )


async def read_beats_and_runs(url: str) -> tuple[list[Beat], list[LastRun]]:
    """Return the daemon's heartbeats, and the last run of each kind of work.

    Parameters
    ----------
    url : str
        Of Dagster's database, as SQLAlchemy or psycopg writes it.

    Raises
    ------
    psycopg.Error
        When the database does not answer, or Dagster has no tables in it.
    """
    async with _connected(url) as connection:
        beats = await (await connection.execute(_BEATS, (list(_NEEDED),))).fetchall()
        runs = await (await connection.execute(_RUNS)).fetchall()
    return (
        [Beat(kind, at, bool(errors)) for kind, at, errors in beats],
        [LastRun(f"{stream} {work}", status == "SUCCESS", at) for stream, work, status, at in runs],
    )


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    plain = url.replace("postgresql+psycopg2://", "postgresql://", 1)
    async with await psycopg.AsyncConnection.connect(
        plain, application_name="anomaly_api_health", autocommit=True
    ) as connection:
        yield connection
