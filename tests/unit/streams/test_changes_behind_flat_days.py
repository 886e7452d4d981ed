"""A change is learned again once, on whatever day of the week it begins."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from anomaly_platform.ml.arrays import Floats, Ints
from anomaly_platform.ml.drift.days import UsualDays
from anomaly_platform.ml.drift.distances import ReferenceDistribution
from anomaly_platform.streams.base import RetrainingPolicy
from anomaly_platform.streams.drift import judge_day
from anomaly_platform.streams.retraining import (
    Decision,
    DriftedDay,
    SeriesEvidence,
    StreamEvidence,
    decide,
)

#: Nothing is trained for its age meanwhile, which would hide what is trained for the change.
POLICY = RetrainingPolicy(max_age=timedelta(days=60))
MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
PER_DAY, KNOWN, LATER = 288, 28, 21


def readings(begins: int, *, swing: float, noise: float) -> tuple[Ints, Floats]:
    """Return readings with flat weekends whose swing or noise changes on a day."""
    day = np.arange((KNOWN + LATER) * PER_DAY) / PER_DAY
    is_new = day >= begins
    course = np.where(is_new, swing, 5.0) * np.sin(2.0 * np.pi * day) * (day % 7.0 < 5.0)
    random = np.random.default_rng(begins).standard_normal(day.size)
    values = 50.0 + course + np.where(is_new, noise, 1.0) * random
    return int(MONDAY.timestamp() * 1e6) + (day * 86_400e6).astype(np.int64), values


def trainings(times: Ints, values: Floats) -> list[tuple[int, Decision]]:
    """Return what is decided at the end of each day, where every challenger serves at once."""

    def of_days(first: int, until: int) -> slice:
        return slice(first * PER_DAY, until * PER_DAY)

    first, until, changed = 0, KNOWN, 0
    judged: list[DriftedDay] = []
    found = []
    for day in range(KNOWN, KNOWN + LATER):
        known, own = of_days(first, until), of_days(day, day + 1)
        reference = ReferenceDistribution.fit(values[known, None], ("value",))
        (drift,) = reference.compare(values[own, None])
        usual = reference.usual_psi(values[known], times[known] // 86_400_000_000)
        change, *_ = UsualDays.fit(times[known], values[known]).compare(times[own], values[own])
        verdict = judge_day(
            POLICY,
            change=change,
            psi=drift.psi,
            psi_noise=drift.psi_noise,
            usual_psi=usual,
            score_psi=None,
        )
        judged.append(DriftedDay((MONDAY + timedelta(days=day)).date(), verdict, change=change))
        now = MONDAY + timedelta(days=day + 1)
        series = SeriesEvidence(
            "press-1",
            "load",
            (day + 1 - changed) * PER_DAY,
            MONDAY + timedelta(days=changed),
            now,
            trained_rows=(until - first) * PER_DAY,
            days=judged,
        )
        evidence = StreamEvidence(
            now, 1, MONDAY + timedelta(days=until), trained_series=100, series=[series]
        )
        for due in decide(POLICY, evidence):
            found.append((day, due))
            if due.window_days is not None:
                changed = day + 1 - due.window_days
            first, until, judged = max(changed, day + 1 - POLICY.window.days), day + 1, []
    return found


@pytest.mark.parametrize("weekday", range(7))
@pytest.mark.parametrize(("swing", "noise"), [(7.5, 1.0), (5.0, 0.3)])
def test_one_change_is_trained_for_once(weekday: int, swing: float, noise: float) -> None:
    causes = [
        due.cause for _, due in trainings(*readings(KNOWN + weekday, swing=swing, noise=noise))
    ]
    assert causes.count("drift") == 1
