"""When a stream's models are trained anew: pure decisions from what is known of data and models.

Belongs here: the rules, with patience and cool-down, and their reasons in words. What they need is
gathered by ``registry.training_evidence``; what follows is the sensors' work. Nothing here looks
at a clock: age and cool-down are counted in event time, so that imported history is as young as
the day it ends on, and a stream without new data is never trained on the same data again.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Literal

from anomaly_platform.ml.drift.days import LAST_DAYS, DayChange, told
from anomaly_platform.streams.base import RetrainingPolicy
from anomaly_platform.streams.drift import DRIFTED, Verdict

Cause = Literal["volume", "drift", "age", "quality", "labels"]

#: From this share of the trained series on, all of them are trained; for drift all have to be due,
#: since those that have not changed know more than the days since others did.
WHOLE_STREAM_SHARE = 0.5
#: No run gets a longer list of series than this.
MOST_SERIES = 1_000
#: From this share on, one severe day is something that happened to the whole fleet: a holiday, an
#: outage. It has to last before anything is trained for it.
FLEET_EVENT_SHARE = 1 / 3
#: Quieter days in a week after which a series is trained on that week. Fewer days hold too few
#: readings for what is unusual in them to be told from the noise.
QUIET_DAYS = 5
#: How many times the readings that a model needs there have to be since a change of behaviour: a
#: model of the new behaviour is trained on it alone.
ENOUGH_NEW = 4
#: Labels of a series since its training from which it is trained again.
ENOUGH_LABELS = 10
#: Labelled readings, some of them anomalies, from which their quality means something.
ENOUGH_LABELLED = 50
#: Labelled anomalies among them: of thirty the share that is found is known to within 0.15.
ENOUGH_ANOMALIES = 30
#: Days of history before which models are young: quality measured on so little says that there is
#: little history, which more of it mends by itself, and one severe day may be the first Sunday.
ENOUGH_DAYS = 7.0
#: How many cool-downs lie between two trainings for quality: the data must have a chance to differ.
QUALITY_COOL_DOWNS = 3
_OF_EVERYTHING = ("age", "quality")


@dataclass(frozen=True, slots=True)
class DriftedDay:
    """What the policy made of one day of a series."""

    day: date
    verdict: Verdict
    psi: float | None = None
    score_psi: float | None = None
    change: DayChange = field(default_factory=DayChange)


@dataclass(frozen=True, slots=True)
class SeriesEvidence:
    """What is known of one series that may be due.

    Attributes
    ----------
    rows : int
        Readings that there are.
    first_event, last_event : datetime
        Extent of the readings.
    trained_rows : int or None
        Readings that its model in service was trained on; ``None`` without a model.
    days : sequence of DriftedDay
        The newest complete days judged against the model in service, ascending.
    new_labels : int
        Labels given since the model in service was trained.
    asked : datetime or None
        The stream's newest event when a training that covered the series was last asked for.
    """

    entity: str
    metric: str
    rows: int
    first_event: datetime
    last_event: datetime
    trained_rows: int | None
    days: Sequence[DriftedDay] = ()
    new_labels: int = 0
    asked: datetime | None = None

    @property
    def rows_per_day(self) -> float:
        """Readings of a usual day."""
        return self.rows / max(1.0, (self.last_event - self.first_event) / timedelta(days=1))


@dataclass(frozen=True, slots=True)
class StreamEvidence:
    """What is known of a stream.

    Attributes
    ----------
    newest_event : datetime or None
        The event watermark.
    champion : int or None
        Version in service; without one, the first training is asked for elsewhere.
    window_end : datetime or None
        End of what the last training of all series was trained on.
    asked : datetime or None
        The newest event when a training of the whole stream was last asked for.
    trained_series : int
        Series with a model in service.
    severe_series : int
        Series whose newest complete day is severe.
    labelled, labelled_anomalies, labelled_quality
        Labelled readings of the last days, the anomalies among them (a run of labelled readings is
        one), and the balanced accuracy, which counts an anomaly as found by any of its readings.
    trained_days : float or None
        Days of history that the last training of all series had; None where nobody knows.
    injected_quality : float or None
        Balanced accuracy on injected anomalies, measured in training.
    days : sequence of DriftedDay
        Of the stream as a whole, where it is not made of series.
    series : sequence of SeriesEvidence
        Those that anything speaks for.
    """

    newest_event: datetime | None = None
    champion: int | None = None
    window_end: datetime | None = None
    asked: datetime | None = None
    trained_series: int = 0
    severe_series: int = 0
    labelled: int = 0
    labelled_anomalies: int = 0
    labelled_quality: float | None = None
    injected_quality: float | None = None
    trained_days: float | None = None
    days: Sequence[DriftedDay] = ()
    series: Sequence[SeriesEvidence] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """A training that is due.

    Attributes
    ----------
    entity, metric : str or None
        The series; ``None`` is the whole stream.
    cause : str
    reason : str
        In words.
    window_days : int or None
        History to train on: after a change of behaviour the days since; ``None`` is the policy's.
    """

    cause: Cause
    reason: str
    entity: str | None = None
    metric: str | None = None
    window_days: int | None = None


def decide(
    policy: RetrainingPolicy, evidence: StreamEvidence, *, min_training_samples: int = 100
) -> list[Decision]:
    """Return the trainings that are due.

    One decision for the whole stream makes those for single series needless; many series of one
    cause become the whole stream.

    Parameters
    ----------
    policy : RetrainingPolicy
    evidence : StreamEvidence
    min_training_samples : int
        Readings that a series needs before it gets a model.
    """
    newest = evidence.newest_event
    if newest is None or evidence.champion is None:
        return []
    single = [
        found
        for series in evidence.series
        if (found := _single(policy, evidence, series, newest, min_training_samples)) is not None
    ]
    # One length of history, so that one run serves them: of those that changed last.
    spans = [one.window_days for one in single if one.window_days is not None]
    single = [
        replace(one, window_days=min(spans)) if one.window_days is not None else one
        for one in single
    ]
    trained = _latest(evidence.asked, evidence.window_end)
    changed = any(one.cause == "drift" for one in single)
    for due, wait in _stream_decisions(policy, evidence, newest, single):
        # Series that changed come first: a training of everything would mix what they were with
        # what they are, and is told from when on they differ only by their own training.
        if changed and due.cause in _OF_EVERYTHING:
            continue
        if _cooled(wait, newest, trained):
            return [due]
    return single[:MOST_SERIES]


def _stream_decisions(
    policy: RetrainingPolicy,
    evidence: StreamEvidence,
    newest: datetime,
    single: Sequence[Decision],
) -> Iterator[tuple[Decision, timedelta]]:
    """Yield what speaks for training everything, the most urgent first, with its cool-down."""
    streak = _streak(policy, evidence.days, patient=False)
    if streak:
        yield Decision("drift", _drift_reason(evidence.days, streak)), policy.cool_down
    everything = _everything(single, evidence.trained_series)
    if everything is not None:
        yield everything, policy.cool_down
    if evidence.window_end is not None and newest - evidence.window_end >= policy.max_age:
        days = (newest - evidence.window_end).days
        reason = f"there are {days} days of data that the models have not seen"
        yield Decision("age", reason), policy.max_age
    poor = _poor_quality(policy, evidence)
    if poor is not None:
        yield Decision("quality", poor), QUALITY_COOL_DOWNS * policy.cool_down


def _everything(single: Sequence[Decision], trained_series: int) -> Decision | None:
    """Return the training of all series that so many single ones become, if they do."""
    if not single:
        return None
    ((cause, _),) = Counter(one.cause for one in single).most_common(1)
    share = len(single) / max(1, trained_series)
    if cause == "drift":
        is_everything = share >= 1.0
    else:
        is_everything = share >= WHOLE_STREAM_SHARE or len(single) > MOST_SERIES
    if not is_everything:
        return None
    first = next(one for one in single if one.cause == cause)
    reason = (
        f"{len(single)} series are due and {trained_series} have a model, such as "
        f"{first.entity} {first.metric}: {first.reason}"
    )
    return Decision(cause, reason, window_days=first.window_days)


@dataclass(frozen=True, slots=True)
class Quality:
    """How good the models in service are, as far as that is known.

    Attributes
    ----------
    balanced_accuracy : float
    basis : str
        On what, in words.
    """

    balanced_accuracy: float
    basis: str


def quality_of(evidence: StreamEvidence) -> Quality | None:
    """Return the quality that may be acted on, None while there is too little to tell by.

    What people know counts first, once there is enough of it; else anomalies injected in training,
    unless the training had hardly any history.
    """
    labelled = evidence.labelled_quality
    if (
        labelled is not None
        and evidence.labelled >= ENOUGH_LABELLED
        and evidence.labelled_anomalies >= ENOUGH_ANOMALIES
    ):
        basis = f"{evidence.labelled} labelled events, {evidence.labelled_anomalies} anomalies"
        return Quality(labelled, basis)
    injected, days = evidence.injected_quality, evidence.trained_days
    if injected is None or (days is not None and days < ENOUGH_DAYS):
        return None
    return Quality(injected, "injected anomalies")


def _poor_quality(policy: RetrainingPolicy, evidence: StreamEvidence) -> str | None:
    found, least = quality_of(evidence), policy.minimum_quality
    if found is None or found.balanced_accuracy >= least:
        return None
    return (
        f"balanced accuracy {found.balanced_accuracy:.2f} on {found.basis}, {least:.2f} is wanted"
    )


def _single(
    policy: RetrainingPolicy,
    evidence: StreamEvidence,
    series: SeriesEvidence,
    newest: datetime,
    min_training_samples: int,
) -> Decision | None:
    trained = None if series.trained_rows is None else evidence.window_end
    asked = _latest(series.asked, evidence.asked, trained)
    if not _cooled(policy.cool_down, newest, asked):
        return None
    found = next(_series_reasons(policy, evidence, series, min_training_samples), None)
    return None if found is None else replace(found, entity=series.entity, metric=series.metric)


def _series_reasons(
    policy: RetrainingPolicy,
    evidence: StreamEvidence,
    series: SeriesEvidence,
    min_training_samples: int,
) -> Iterator[Decision]:
    """Yield what speaks for training a series, the most urgent first."""
    if series.trained_rows is None:
        if series.rows >= min_training_samples:
            yield Decision("volume", f"{series.rows} readings and no model yet")
        return
    event = evidence.severe_series > max(1.0, FLEET_EVENT_SHARE * evidence.trained_series)
    is_young = series.trained_rows < (ENOUGH_DAYS - 0.5) * series.rows_per_day
    streak = _streak(policy, series.days, patient=event or is_young)
    needed = ENOUGH_NEW * min_training_samples
    if streak and streak * series.rows_per_day >= needed:
        yield Decision("drift", _drift_reason(series.days, streak), window_days=streak)
    elif _was_quiet_week(series.days) and LAST_DAYS * series.rows_per_day >= needed:
        reason = f"less noise for a week up to {series.days[-1].day}{_changes(series.days)}"
        yield Decision("drift", reason, window_days=LAST_DAYS)
    if series.new_labels >= ENOUGH_LABELS:
        yield Decision("labels", f"{series.new_labels} labels since its training")
    within = series.last_event - series.first_event <= policy.window
    if within and series.rows >= policy.growth * max(1, series.trained_rows):
        reason = f"{series.rows} readings, its model was trained on {series.trained_rows}"
        yield Decision("volume", reason)


def _streak(policy: RetrainingPolicy, days: Sequence[DriftedDay], *, patient: bool) -> int:
    """Return how many days in a row have drifted, 0 where they do not ask for a training yet.

    Enough of them do, or a severe one. Patience asks for enough of them in any case: a severe day
    may have happened to the whole fleet, and a model that has not seen a week yet may only lack a
    Sunday.
    """
    streak = 0
    for one in reversed(days):
        if one.verdict not in DRIFTED:
            break
        streak += 1
    severe = streak > 0 and days[-1].verdict == "severe" and not patient
    return streak if streak >= policy.drift_days or severe else 0


def _was_quiet_week(days: Sequence[DriftedDay]) -> bool:
    """Return whether the last seven days are of a quieter series, but for days of rest."""
    kinds = [one.change.kind for one in _last(days)]
    return (
        len(kinds) == LAST_DAYS and kinds[0] == "quieter" and kinds.count("quieter") >= QUIET_DAYS
    )


def _last(days: Sequence[DriftedDay]) -> list[DriftedDay]:
    """Return those of the last seven calendar days."""
    return [one for one in days if days[-1].day - one.day < timedelta(days=LAST_DAYS)]


def _changes(days: Sequence[DriftedDay]) -> str:
    """Return what is told of the last days, after a semicolon."""
    found = told([one.change for one in _last(days)])
    return "" if found is None else f"; {found.words}"


def _drift_reason(days: Sequence[DriftedDay], streak: int) -> str:
    newest = days[-1]
    measured = ", ".join(
        f"{name} {value:.1f}"
        for name, value in (("PSI", newest.psi), ("score PSI", newest.score_psi))
        if value is not None
    )
    said = _changes(days)
    if streak == 1:
        return f"severe drift on {newest.day} ({measured}){said}"
    return f"drifted on {streak} days in a row up to {newest.day} ({measured}){said}"


def _cooled(wait: timedelta, newest: datetime, asked: datetime | None) -> bool:
    """Return whether there is enough newer data since a training was last asked for."""
    return asked is None or newest - asked >= wait


def _latest(*times: datetime | None) -> datetime | None:
    return max((time for time in times if time is not None), default=None)
