"""Judging readings that are not stored: what ingest would say of them now.

Belongs here: which moment a reading without a time is judged at, and a verdict in plain numbers.
What a verdict looks like to a client is in ``schemas.predict``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from anomaly_platform.ml.scoring.call_states import VISITED
from anomaly_platform.ml.scoring.calls import Told, look_ahead, rate_of, rates_of, tell
from anomaly_platform.ml.scoring.explaining.words import roles_of
from anomaly_platform.ml.scoring.reasons import novelty_reason
from anomaly_platform.ml.series_model.visited import SINCE
from anomaly_platform.serving.champions.served import FAILED, TRAINED
from anomaly_platform.serving.problems import not_found

if TYPE_CHECKING:
    import numpy.typing as npt

    from anomaly_platform.ml.arrays import Floats, Ints
    from anomaly_platform.ml.scoring.explaining.numbers import Explanation
    from anomaly_platform.serving.champions.served import ServedMetrics
    from anomaly_platform.serving.champions.thresholds import SeriesThresholds
    from anomaly_platform.serving.predict.look_backs import LookBack, LookBacks
    from anomaly_platform.settings import Settings


class Parts(Protocol):
    """What judging uses of all that a worker holds."""

    settings: Settings
    look_backs: LookBacks
    thresholds: SeriesThresholds


class Judgement(NamedTuple):
    """What one reading is.

    Attributes
    ----------
    when
        Microseconds since 1970 at which it was judged.
    score, is_anomaly
        None where nothing can be said; without a model only alarms are decided.
    status
        ``trained``, ``insufficient_history`` or ``failed``.
    reason
        Why it is an anomaly or a call, in the words that ingest would store; of any other reading
        why no model judged and what it takes, None where one did.
    is_call
        Whether ingest would tell somebody; None where nothing can be said.
    """

    when: int
    value: float
    score: float | None
    is_anomaly: bool | None
    threshold: float
    status: str
    reason: str | None = None
    is_call: bool | None = None
    explanation: Explanation | None = None


def moment(look_back: LookBack, frequency: int) -> int:
    """Return when a reading that names no time is judged, in microseconds since 1970.

    Now, where the series is live. A series that fell silent longer ago than its look-back reaches
    (imported history) has nothing that a reading of today could be compared with: there it is
    judged as the next one after the last.

    Parameters
    ----------
    look_back
        The series' newest readings.
    frequency
        Microseconds between two readings of the series, as expected.
    """
    now = time.time_ns() // 1000
    first, last = look_back.first_event, look_back.last_event
    if first is None or last is None:
        return now
    live = last < now < last + max(last - first, frequency)
    return now if live else last + frequency


async def look_back_of(serving: Parts, served: ServedMetrics, entity: str, metric: str) -> LookBack:
    """Return a series' look-back.

    Raises
    ------
    ApiProblem
        404, when nobody has ever heard of the series.
    """
    found = serving.look_backs.fresh(served, entity, metric)
    if found is None:
        found = await serving.look_backs.get(served, entity, metric)
    if found.revision is None and (entity, metric) not in served.series:
        raise not_found(f"{served.stream.entity_field} {entity!r} with a metric {metric!r}")
    return found


def judge_one(
    serving: Parts,
    served: ServedMetrics,
    look_back: LookBack,
    key: tuple[str, str],
    value: float,
    when: int | None = None,
) -> Judgement:
    """Judge one reading against a look-back; nothing is stored."""
    if when is None:
        when = moment(look_back, served.frequency)
    threshold = serving.thresholds.of(served.stream.name, *key, served.threshold)
    features = look_back.features(served.feature_set, when, value)
    with served.predicting() as scorer:
        said = scorer.judge_one(key, when, features, threshold)
        calls = scorer.first_calls(key) if look_back.calls is None else look_back.calls
        p = np.nan if said.p_value is None else said.p_value
        bounds = np.empty(2)
        call, novel = look_ahead(calls, when, value, p, rate_of(threshold, served.alpha), bounds)
        why, explanation = None, None
        if said.is_anomaly or (call and not novel):
            ((explanation, why),) = scorer.explain(
                *((key,), np.array((when,)), features, np.array((said.kind,))),
                *(np.array((threshold,)), roles_of(np.array((said.is_anomaly is True,)))),
            )
    if novel:
        why = novelty_reason(
            *(value, when, calls[VISITED + SINCE], bounds, why or ""),
            trained_until=served.trained_until(*key),
        )
    why = why or _why(serving, served, key, said.status, features[:, 0])
    is_call = None if said.p_value is None and not novel else call
    return Judgement(
        *(when, value, said.score, said.is_anomaly, threshold, said.status),
        *(why, is_call, explanation),
    )


def judge_many(
    serving: Parts,
    served: ServedMetrics,
    look_back: LookBack,
    key: tuple[str, str],
    values: Sequence[float],
    times: Sequence[int] | None,
) -> list[Judgement]:
    """Judge readings of one series; nothing is stored.

    Parameters
    ----------
    values
        Readings.
    times
        When each was taken, strictly ascending, in microseconds since 1970: each is then judged
        with those before it as its past. None judges each by itself, as :func:`judge_one`.
    """
    from anomaly_platform.ml.features.metrics.series_buffers import rows_in_turn

    feature_set, in_turn = served.feature_set, times is not None
    if times is None:
        when = moment(look_back, served.frequency)
        times = [when] * len(values)
        columns = [look_back.features(feature_set, when, value) for value in values]
        features = np.concatenate(columns, axis=1)
    else:
        features = rows_in_turn(feature_set, look_back.state, times, values)
    threshold = serving.thresholds.of(served.stream.name, *key, served.threshold)
    count = len(values)
    moments, thresholds = np.array(times, dtype=np.int64), np.full(count, threshold)
    with served.predicting() as scorer:
        verdicts = scorer.judge((key,) * count, moments, features, thresholds)
        calls = scorer.first_calls(key) if look_back.calls is None else look_back.calls
        said = (np.array(values), verdicts.p_value, thresholds)
        told = _told(calls, in_turn, moments, *said, served)
        unusual = np.flatnonzero(verdicts.is_anomaly | (told.calls & ~told.novel))
        found = scorer.explain(
            *((key,) * unusual.size, moments[unusual], features[:, unusual]),
            *(verdicts.kinds[unusual], thresholds[unusual]),
            roles_of(verdicts.is_anomaly[unusual]),
        )
    explained = dict(zip(unusual.tolist(), found, strict=True))
    reasons = {i: one.reason for i, one in explained.items()}
    for i in np.flatnonzero(told.novel).tolist():
        since = calls[VISITED + SINCE]
        reasons[i] = novelty_reason(
            *(values[i], times[i], since, told.bounds[:, i], reasons.get(i, "")),
            trained_until=served.trained_until(*key),
        )
    silent = np.isnan(verdicts.p_value) & ~told.novel
    return [
        Judgement(
            times[i],
            values[i],
            None if np.isnan(verdicts.score[i]) else float(verdicts.score[i]),
            bool(verdicts.is_anomaly[i]) if verdicts.decided[i] else None,
            threshold,
            verdicts.status[i],
            reasons.get(i) or _why(serving, served, key, verdicts.status[i], features[:, i]),
            None if silent[i] else bool(told.calls[i]),
            explained[i].explanation if i in explained else None,
        )
        for i in range(count)
    ]


def _told(
    calls: Floats,
    in_turn: bool,
    times: Ints,
    values: Floats,
    p_values: Floats,
    thresholds: Floats,
    served: ServedMetrics,
) -> Told:
    """Return what is told of readings: of each after those before it, or each as the next one."""
    count = times.size
    states = calls[None].copy() if in_turn else np.tile(calls, (count, 1))
    places = np.zeros(count, dtype=np.int64) if in_turn else np.arange(count)
    rates = rates_of(thresholds, served.alpha)
    return tell(states, places, times, values, p_values, rates)


def _why(
    serving: Parts,
    served: ServedMetrics,
    key: tuple[str, str],
    status: str,
    features: npt.NDArray[np.float64],
) -> str | None:
    """Return why no model judged a reading and what it takes, None where one did."""
    if status == TRAINED:
        return None
    if status == FAILED:
        return "its model could not be trained or read; the fallback stands in for it"
    # Only here: most predictions have a model and never come so far.
    from anomaly_platform.ml.detectors.statistical_kernels import MIN_COUNT

    least = serving.settings.min_training_samples
    if key in served.deleted:
        return "its model was deleted; the next training makes a new one"
    if served.status(*key) != TRAINED:
        return (
            f"no model was trained for it: that takes {least} readings and a training, "
            f"and the statistical fallback {MIN_COUNT} readings"
        )
    feature_set = served.feature_set
    seen = features[feature_set.names.index(f"count_{feature_set.windows[-1]}")]
    with served.predicting() as scorer:
        needed = scorer.history_needed(key) or MIN_COUNT
    hours = feature_set.lookback.total_seconds() / 3600
    why = (
        f"readings within its look-back of {hours:g} h: {seen:.0f} (history that ended earlier "
        f"does not count); its model needs {needed}, the statistical fallback {MIN_COUNT}"
    )
    if seen < MIN_COUNT:
        why += "; until then its usual range, level and time of day decide"
    return why
