"""Metrics from the EMS: a sensor that fetches what is new into landing.

What belongs here: the pace of fetching, and the alert when the EMS cannot be read. Nothing of it
exists unless ``ANOMALY_EMS_PULL`` is set.
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from dagster import (
    SensorDefinition,
    SensorEvaluationContext,
    SkipReason,
)

from anomaly_platform.ems.client import open_ems
from anomaly_platform.ems.pull import EmsPull, Span
from anomaly_platform.ems.records import EmsError
from anomaly_platform.notifications.outbox import Alert, fingerprint
from anomaly_platform.notifications.redaction import Redactor
from anomaly_platform.platform import Platform
from anomaly_platform.sensors.work import watching
from anomaly_platform.settings import Settings
from anomaly_platform.streams.bindings import EMS_PULL

_TICK_SECONDS = 30
#: A tick may take 60 s.
_LONGEST_TICK_S = 30.0
_UNREACHABLE = fingerprint("run_failed", EMS_PULL, "pull")


def build_ems_sensors(settings: Settings) -> list[SensorDefinition]:
    """Return the sensor that fetches, where that is wanted."""
    if not settings.ems_pull:
        return []

    @watching(
        name="ems_pull",
        description="Fetches new metrics from the EMS into landing/ems.",
        minimum_interval_seconds=_TICK_SECONDS,
    )
    def _sensor(context: SensorEvaluationContext) -> SkipReason:
        platform: Platform = context.resources.platform
        try:
            rows = pull(platform)
        except EmsError as error:
            # What it answered may repeat the token that it was shown.
            said = Redactor.of(platform.settings).clean(str(error))
            return SkipReason(f"the EMS could not be read: {said}")
        return SkipReason(f"{rows} new readings")

    return [_sensor]


def pull(platform: Platform) -> int:
    """Fetch what is new, as far as a tick allows; return how many readings.

    Raises
    ------
    EmsError
        When the EMS cannot be read; an alert says so until it can.
    """
    settings = platform.settings
    puller = EmsPull(
        platform.warehouse.transactions,
        platform.landing,
        history=timedelta(days=settings.ems_pull_history_days),
        overlap=timedelta(minutes=settings.ems_pull_overlap_minutes),
    )
    # What a tick that died has committed comes first.
    puller.write_files()
    began = time.monotonic()
    rows = 0
    while True:
        now = datetime.now(UTC)
        span = puller.next_span(now)
        try:
            found = asyncio.run(_fetch(settings, span))
        except EmsError as error:
            _tell(platform, error)
            raise
        fetched = puller.commit(span, found)
        puller.write_files()
        rows += 0 if fetched is None else fetched.rows
        if span.until >= now or time.monotonic() - began > _LONGEST_TICK_S:
            _tell(platform, None)
            return rows


async def _fetch(settings: Settings, span: Span) -> list[dict[str, Any]]:
    try:
        async with asyncio.timeout(_LONGEST_TICK_S), open_ems(settings) as ems:
            return await ems.raw_metrics(since=span.since, until=span.until)
    except TimeoutError:
        raise EmsError(f"the EMS took longer than {_LONGEST_TICK_S:g} s") from None


def _tell(platform: Platform, error: EmsError | None) -> None:
    with platform.warehouse.transactions.begin() as connection:
        if error is None:
            platform.outbox.resolve_alert(connection, _UNREACHABLE, {"reason": "it answers again"})
            return
        platform.outbox.raise_alert(
            connection,
            Alert(
                kind="run_failed",
                fingerprint=_UNREACHABLE,
                subject="ems pull",
                severity="warning",
                title="Metrics cannot be fetched from the EMS",
                stream=EMS_PULL,
                details={"error": str(error)},
            ),
        )
