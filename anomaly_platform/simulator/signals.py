"""Quiet readings of one device as arrays: load, seasons, regular jobs, noise. No anomalies here.

Two sources of chance are kept apart. The *physics* of a device (its level, its phase, which jobs
it runs) is drawn from its name alone and is the same under every seed and for every start date;
the *data* (noise, load of the day, a job that runs a little late) is drawn from the seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from zlib import crc32

import numpy as np

from anomaly_platform.ml.arrays import Floats, Ints
from anomaly_platform.simulator.profiles import Job, LoadCurve, MetricProfile

_PHYSICS = crc32(b"physics")
_DAY = 86_400.0
_NOISE_STEP = 300.0  # seconds over which a profile's `memory` is meant
_MONDAY = 4 * _DAY  # 1970-01-05 was one
# The tails of a Student t with six degrees of freedom: heavier than normal, as sensors' are.
_TAIL_DEGREES = 6.0
_TAIL_SIGMA = float(np.sqrt(_TAIL_DEGREES / (_TAIL_DEGREES - 2)))


@dataclass(frozen=True, slots=True)
class Clock:
    """The grid of readings and what the calendar says about each.

    Attributes
    ----------
    seconds : ndarray of float64, shape (n,)
        Seconds since 1970-01-01 UTC.
    hour : ndarray of float64, shape (n,)
        Hour of the day in [0, 24).
    weekday : ndarray of int64, shape (n,)
        0 = Monday.
    step : float
        Seconds between readings.
    """

    seconds: Floats
    hour: Floats
    weekday: Ints
    step: float

    @classmethod
    def regular(cls, start: datetime, rows: int, frequency: timedelta) -> Clock:
        """Return `rows` readings from `start` on, `frequency` apart."""
        step = frequency.total_seconds()
        seconds = start.timestamp() + np.arange(rows, dtype=np.float64) * step
        return cls(
            seconds=seconds,
            hour=(seconds % _DAY) / 3600,
            weekday=((seconds - _MONDAY) // _DAY % 7).astype(np.int64),
            step=step,
        )


def physics_rng(*names: str) -> np.random.Generator:
    """Return the generator of what a device *is*: it depends on the names alone."""
    return np.random.default_rng([_PHYSICS, *(crc32(name.encode()) for name in names)])


def data_rng(seed: int, *names: str) -> np.random.Generator:
    """Return the generator of what happens to a device under a seed.

    Each series has a generator of its own, so that one more device changes no other's readings.
    """
    return np.random.default_rng([seed, *(crc32(name.encode()) for name in names)])


def correlated_noise(rows: int, memory: float, step: float, rng: np.random.Generator) -> Floats:
    """Return AR(1) noise of unit variance with slightly heavy tails, shape (rows,).

    Parameters
    ----------
    rows : int
        Length.
    memory : float
        Correlation over five minutes, in [0, 1).
    step : float
        Seconds between rows.
    rng : numpy.random.Generator
        Source of the draws.
    """
    from scipy.signal import lfilter

    coefficient = memory ** (step / _NOISE_STEP)
    innovations = rng.standard_t(_TAIL_DEGREES, rows) / _TAIL_SIGMA
    if rows:
        # Start in the stationary state, not at zero.
        innovations[1:] *= np.sqrt(1 - coefficient**2)
    return np.asarray(lfilter([1.0], [1.0, -coefficient], innovations))


def device_load(clock: Clock, device: str, curve: LoadCurve, seed: int) -> Floats:
    """Return the load of a device, mostly in [0, 1]: what its metrics have in common.

    Parameters
    ----------
    clock : Clock
        When.
    device : str
        Name of the device; it decides phase and weekend.
    curve : str
        ``office`` follows the working day of people, ``shifts`` runs in plateaus with a short dip
        at 6, 14 and 22 o'clock.
    seed : int
        Decides how busy each day and hour really is.
    """
    physics = physics_rng(device, "load")
    data = data_rng(seed, device, "load")
    phase = physics.normal(0.0, 0.4)
    hour = (clock.hour - phase) % 24
    weekend = clock.weekday >= 5
    if curve == "office":
        base = 0.12 + 0.88 * np.clip(0.5 - 0.5 * np.cos(2 * np.pi * (hour - 2.5) / 24), 0, 1) ** 1.7
        base -= 0.12 * np.exp(-0.5 * ((hour - 12.5) / 0.6) ** 2)
        base = np.where(weekend, base * physics.uniform(0.3, 0.6), base)
    else:
        night = physics.uniform(0.45, 0.95)
        base = np.where((hour >= 6) & (hour < 22), 0.9, 0.9 * night)
        change = np.min(np.abs(np.subtract.outer(hour, (6.0, 14.0, 22.0))), axis=1)
        base *= 1 - 0.55 * np.exp(-0.5 * (change / 0.18) ** 2)
        base = np.where(weekend, base * physics.uniform(0.2, 0.9), base)
    days = ((clock.seconds - clock.seconds[:1]) // _DAY).astype(np.int64)
    busy = 1 + 0.06 * data.standard_normal(int(days[-1]) + 1 if days.size else 0)
    wander = 0.05 * correlated_noise(clock.seconds.size, 0.92, clock.step, data)
    return np.maximum(base * busy[days] * (1 + wander), 0.0)


def quiet_readings(
    clock: Clock, device: str, profile: MetricProfile, load: Floats, seed: int
) -> Floats:
    """Return what a metric of a device reads while nothing is wrong, shape (n,).

    Parameters
    ----------
    clock : Clock
        When.
    device : str
        Name of the device.
    profile : MetricProfile
        The metric.
    load : ndarray of float64, shape (n,)
        The device's load, see :func:`device_load`.
    seed : int
        Decides the noise.

    Returns
    -------
    ndarray of float64, shape (n,)
        Within the metric's bounds, not yet rounded.
    """
    physics = physics_rng(device, profile.metric)
    data = data_rng(seed, device, profile.metric)
    level = profile.level * (1 + profile.spread * physics.standard_normal())
    gain = profile.load_gain * np.exp(2 * profile.spread * physics.standard_normal())
    warmest = 15 + physics.normal(0, 0.5)
    period = physics.uniform(30, 120) * _DAY
    phase = physics.uniform(0, 2 * np.pi)
    values: Floats = level + gain * load
    values += profile.ambient_gain * np.cos(2 * np.pi * (clock.hour - warmest) / 24)
    values += profile.slow * np.sin(2 * np.pi * clock.seconds / period + phase)
    for job in profile.jobs:
        # Whether a device runs a job is decided once for all its metrics.
        runs = physics_rng(device, f"job {job.hour} {job.weekday}").random() < job.share
        if runs:
            values += job.gain * _job_pulse(clock, job, data)
    if profile.shape == "sawtooth":
        values += _sawtooth(clock, profile, physics)
    if profile.shape == "count":
        values = data.poisson(np.maximum(values, 0.0)).astype(np.float64)
        return np.clip(values, *profile.bounds)
    noise = correlated_noise(values.size, profile.memory, clock.step, data)
    # A busy metric is a noisier one.
    values += profile.noise * (0.6 + 0.4 * load) * noise
    return np.clip(values, *profile.bounds)


def _job_pulse(clock: Clock, job: Job, rng: np.random.Generator) -> Floats:
    """Return the course of a regular job, 1 at its height: a little late, never twice the same."""
    if not clock.seconds.size:
        return np.zeros(0)
    day = ((clock.seconds - clock.seconds[0] + clock.hour[0] * 3600) // _DAY).astype(np.int64)
    days = int(day[-1]) + 1
    late = np.abs(rng.normal(0.0, 2.0, days))[day]
    height = rng.normal(1.0, 0.08, days)[day]
    duration = (job.minutes * rng.uniform(0.85, 1.15, days))[day]
    minute = (clock.hour - job.hour) * 60 - late
    pulse = np.where((minute >= 0) & (minute < duration), height, 0.0)
    if job.weekday is not None:
        pulse = np.where(clock.weekday == job.weekday, pulse, 0.0)
    return pulse


def _sawtooth(clock: Clock, profile: MetricProfile, physics: np.random.Generator) -> Floats:
    """Return a store that runs full (or empty) and is put right about once a week."""
    period = physics.uniform(5, 9) * _DAY
    reach = physics.uniform(12, 24) * (-1 if profile.load_gain < 0 else 1)
    offset = physics.uniform(0, period)
    return reach * (((clock.seconds + offset) % period) / period)
