"""Signs of life of Dagster's daemon, and what its last runs came to, in Dagster's own database."""

from dataclasses import dataclass
from typing import Final

import psycopg

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


async def read_beats_and_runs(url: str) -> tuple[list[Beat], list[LastRun]]:
    """Return the daemon's heartbeats, and the last run of each kind of work.

    Parameters
    ----------
    url : str
        Of Dagster's database.

    Raises
    ------
    psycopg.Error
        When the database does not answer, or Dagster has no tables in it.
    """
    async with await psycopg.AsyncConnection.connect(
        url, application_name="anomaly_api_health", autocommit=True
    ) as connection:
        beats = await (await connection.execute(_BEATS, (list(_NEEDED),))).fetchall()
        runs = await (await connection.execute(_RUNS)).fetchall()
    return (
        [Beat(kind, at, bool(errors)) for kind, at, errors in beats],
        [LastRun(f"{stream} {work}", status == "SUCCESS", at) for stream, work, status, at in runs],
    )
