"""Labelled telemetry of a simulated fleet, for the two metric streams.

What belongs here: putting quiet readings, anomalies and missing rows together into frames, and
writing these as the files a user would drop. What does not: the physics (profiles, signals), the
kinds of anomaly (`ml.evaluation.injection`), simulated barcode scans.

The same seed gives the same bytes. Another seed gives other noise, gaps and anomalies on the
*same* devices, so that a model trained under one seed can fairly be tested under another.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import polars as pl

from anomaly_platform.ml.arrays import Floats
from anomaly_platform.ml.evaluation.injection import (
    InjectedEvent,
    Kind,
    apply_event,
    plan_events,
    robust_scale,
)
from anomaly_platform.simulator.fleet import device_presence
from anomaly_platform.simulator.profiles import EMS, IIOT, MetricProfile, StreamProfile
from anomaly_platform.simulator.signals import Clock, data_rng, device_load, quiet_readings

FileFormat: TypeAlias = Literal["csv", "parquet"]

# Share of the anomalous rows that come as incidents: several metrics of a device at once.
_INCIDENT_SHARE = 0.3
_INCIDENT_KINDS: tuple[Kind, ...] = ("spike", "level_shift", "drift", "noise_burst")
_INCIDENT_METRICS = (2, 3)
_APART = 12  # rows between an incident and a series' own anomalies
_DEFAULT_START = datetime(2025, 1, 6, tzinfo=UTC)

_EVENT_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "entity": pl.String,
    "metric": pl.String,
    "kind": pl.String,
    "magnitude": pl.Float64,
    "start": pl.Datetime("us", "UTC"),
    "end": pl.Datetime("us", "UTC"),
    "rows": pl.Int64,
    "incident": pl.String,
}


@dataclass(frozen=True, slots=True)
class Simulation:
    """A simulated stream.

    Attributes
    ----------
    stream : str
        ``iiot`` or ``ems``.
    frame : polars.DataFrame
        ``entity, metric, event_time, value, label``, sorted by the first three; `value` is null
        for a reading without a value, `label` is never null.
    events : polars.DataFrame
        One row per anomaly and series: ``entity, metric, kind, magnitude`` (signed, in robust
        scales of the series), ``start, end`` (first and last reading, both included), ``rows``
        (readings that arrived with a value), ``incident`` (shared by the series of a device that
        one incident hit, else null).
    """

    stream: str
    frame: pl.DataFrame
    events: pl.DataFrame


def _simulated(
    profile: StreamProfile,
    days: int = 30,
    devices: int = 20,
    seed: int = 42,
    *,
    start: datetime = _DEFAULT_START,
    frequency: timedelta = timedelta(minutes=5),
    anomaly_rate: float = 0.02,
    missing_rate: float = 0.005,
    churn: float = 0.1,
) -> Simulation:
    """Simulate the devices of a stream.

    Parameters
    ----------
    profile : StreamProfile
        The stream.
    days : int
        Length, at least 1.
    devices : int
        Number of devices, at least 1.
    seed : int
        Decides noise, gaps and anomalies; the devices are the same under every seed.
    start : datetime
        First reading, with a time zone.
    frequency : timedelta
        Time between readings.
    anomaly_rate : float
        Wanted share of anomalous rows, in [0, 0.3].
    missing_rate : float
        Share of readings that are lost, in [0, 0.5]; 0 also switches outages off.
    churn : float
        Chance that a device joins late, in [0, 1]; half of it that it leaves early.

    Returns
    -------
    Simulation
        Frame and events.

    Raises
    ------
    ValueError
        If a number lies outside its range, or `start` has no time zone.
    """
    plan = _Plan(days, devices, seed, start, frequency, anomaly_rate, missing_rate, churn)
    rows = int(timedelta(days=days) / frequency)
    clock = Clock.regular(start, rows, frequency)
    times = pl.Series("event_time", (clock.seconds * 1e6).round().astype(np.int64)).cast(
        pl.Datetime("us", "UTC")
    )
    simulated = [
        part
        for number in range(1, devices + 1)
        for part in _simulate_device(
            profile, plan, clock, times, profile.entity_pattern.format(number=number)
        )
    ]
    frame = pl.concat(frame for frame, _ in simulated).sort("entity", "metric", "event_time")
    events = [event for _, found in simulated for event in found]
    table = pl.DataFrame(events, schema=_EVENT_SCHEMA).sort("entity", "metric", "start")
    return Simulation(profile.stream, frame, table)


#: Presses in a plant that runs in shifts, seven metrics each.
simulate_iiot = partial(_simulated, IIOT)
#: Hosts that follow the working day of their users, eight metrics each.
simulate_ems = partial(_simulated, EMS)


def write(
    simulation: Simulation,
    directory: Path,
    format: FileFormat = "csv",  # noqa: A002 - the word its users look for
    stream: str | None = None,
) -> list[Path]:
    """Write a simulation as one file per UTC day, with the external column names.

    Parameters
    ----------
    simulation : Simulation
        What to write.
    directory : Path
        Folder, made if need be; files of the same name are replaced.
    format : str
        ``csv`` or ``parquet``.
    stream : str, optional
        Stem of the file names; the simulation's stream by default.

    Returns
    -------
    list of Path
        In order of their day. Rows are in the order in which they would arrive.

    Raises
    ------
    ValueError
        If the format is unknown.
    """
    if format not in ("csv", "parquet"):
        raise ValueError(f"unknown file format {format!r}: use csv or parquet")
    profile = {IIOT.stream: IIOT, EMS.stream: EMS}[simulation.stream]
    directory.mkdir(parents=True, exist_ok=True)
    external = simulation.frame.sort("event_time", "entity", "metric").select(
        pl.col("entity").alias(profile.entity_field),
        pl.col("metric").alias("metric_name"),
        "value",
        pl.col("event_time").alias("timestamp"),
        pl.col("label").alias("is_anomaly"),
    )
    paths: list[Path] = []
    by_day = external.with_columns(pl.col("timestamp").dt.date().alias("_day"))
    for day in by_day.partition_by("_day", maintain_order=True):
        date, rows = day["_day"][0].isoformat(), day.drop("_day")
        path = directory / f"{stream or simulation.stream}-{date}.{format}"
        if format == "csv":
            rows.write_csv(path, datetime_format="%Y-%m-%dT%H:%M:%SZ")
        else:
            rows.write_parquet(path)
        paths.append(path)
    return paths


@dataclass(frozen=True, slots=True)
class _Plan:
    days: int
    devices: int
    seed: int
    start: datetime
    frequency: timedelta
    anomaly_rate: float
    missing_rate: float
    churn: float

    def __post_init__(self) -> None:
        if self.days < 1 or self.devices < 1:
            raise ValueError("days and devices must be at least 1")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, not {self.seed}")
        if self.start.tzinfo is None:
            raise ValueError("start needs a time zone")
        if self.frequency < timedelta(seconds=1):
            raise ValueError(f"frequency must be at least one second, not {self.frequency}")
        for name, share, most in (
            ("anomaly_rate", self.anomaly_rate, 0.3),
            ("missing_rate", self.missing_rate, 0.5),
            ("churn", self.churn, 1.0),
        ):
            if not 0 <= share <= most:
                raise ValueError(f"{name} must lie in [0, {most}], not {share}")


@dataclass(frozen=True, slots=True)
class _Incident:
    name: str
    event: InjectedEvent
    metrics: frozenset[str]


def _simulate_device(
    profile: StreamProfile, plan: _Plan, clock: Clock, times: pl.Series, device: str
) -> Iterator[tuple[pl.DataFrame, list[dict[str, object]]]]:
    rows = clock.seconds.size
    load = device_load(clock, device, profile.load, plan.seed)
    rng = data_rng(plan.seed, device, "presence")
    present = device_presence(rows, 86_400 / clock.step, plan.churn, plan.missing_rate, rng)
    incidents = _plan_incidents(profile, plan, device, load)
    for metric in profile.metrics:
        values = np.round(quiet_readings(clock, device, metric, load, plan.seed), metric.decimals)
        rng = data_rng(plan.seed, device, metric.metric, "anomalies")
        planned = _plan_series(metric, plan, values, incidents, rng)
        scale = robust_scale(values)
        labels = np.zeros(rows, dtype=np.bool_)
        for event, _ in planned:
            apply_event(values, event, scale=scale, rng=rng, bounds=metric.bounds)
            labels[event.start : event.stop] = True
        values = np.round(values, metric.decimals)
        # Half of what is lost has no row, the other half a row without a value.
        draw = data_rng(plan.seed, device, metric.metric, "lost").random(rows)
        absent = draw < plan.missing_rate / 2
        null = ~absent & (draw < plan.missing_rate)
        kept = present & ~absent
        readable = kept & ~null
        yield (
            pl.select(
                entity=pl.lit(device),
                metric=pl.lit(metric.metric),
                event_time=times.filter(pl.Series(kept)),
                value=pl.Series(np.where(null, np.nan, values)[kept], nan_to_null=True),
                label=pl.Series(labels[kept]),
            ),
            [
                {
                    "entity": device,
                    "metric": metric.metric,
                    "kind": event.kind,
                    "magnitude": event.magnitude,
                    "start": times[event.start],
                    "end": times[event.stop - 1],
                    "rows": int(readable[event.start : event.stop].sum()),
                    "incident": incident,
                }
                for event, incident in planned
                if readable[event.start : event.stop].any()
            ],
        )


def _plan_incidents(
    profile: StreamProfile, plan: _Plan, device: str, load: Floats
) -> list[_Incident]:
    """Draw what hits several metrics of a device at the same time."""
    rng = data_rng(plan.seed, device, "incidents")
    names = [metric.metric for metric in profile.metrics]
    mean_hit = sum(_INCIDENT_METRICS) / 2
    # An incident labels some metrics only, so the device has more of them than a series is to see.
    rate = min(0.5, plan.anomaly_rate * _INCIDENT_SHARE * len(names) / mean_hit)
    events = plan_events(load, scale=1.0, rng=rng, rate=rate, kinds=_INCIDENT_KINDS)
    incidents: list[_Incident] = []
    for number, event in enumerate(events):
        count = int(rng.integers(_INCIDENT_METRICS[0], _INCIDENT_METRICS[1] + 1))
        chosen = rng.choice(len(names), size=count, replace=False)
        name = f"{device}/{number:04d}"
        incidents.append(_Incident(name, event, frozenset(names[i] for i in chosen)))
    return incidents


def _plan_series(
    metric: MetricProfile,
    plan: _Plan,
    values: Floats,
    incidents: list[_Incident],
    rng: np.random.Generator,
) -> list[tuple[InjectedEvent, str | None]]:
    """Return the anomalies of one series in order: its share of the incidents, and its own."""
    scale = robust_scale(values)
    taken = np.zeros(values.size, dtype=np.bool_)
    planned: list[tuple[InjectedEvent, str | None]] = []
    for incident in incidents:
        event = incident.event
        if metric.metric not in incident.metrics:
            continue
        level = float(np.median(values[event.start : event.stop]))
        # An incident that lowers a metric already at its floor raises it instead.
        room = level - metric.bounds[0] if event.magnitude < 0 else metric.bounds[1] - level
        magnitude = event.magnitude if room >= 3 * scale else -event.magnitude
        planned.append(
            (InjectedEvent(event.kind, event.start, event.stop, magnitude), incident.name)
        )
        taken[max(0, event.start - _APART) : event.stop + _APART] = True
    rate = plan.anomaly_rate * (1 - _INCIDENT_SHARE)
    own = plan_events(values, scale=scale, rng=rng, rate=rate, bounds=metric.bounds)
    planned.extend((e, None) for e in own if not taken[e.start : e.stop].any())
    return sorted(planned, key=lambda pair: pair[0].start)
