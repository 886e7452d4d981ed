"""Explains in words, from the evidence, why a scan is suspicious.

What belongs here: sentences made from what the detectors found. Rules bring their own reasons;
for the sequence model it is what was expected and what came, for the one-class SVM what is furthest
from what is usual (`unlike_usual`).
"""

from collections.abc import Mapping, Sequence

from anomaly_platform.ml.detectors.one_class_svm_scans import Distance
from anomaly_platform.ml.detectors.sequence_lstm.detector import SequenceEvidence
from anomaly_platform.ml.scans.unlike_usual import DAYS, duration, percent, unlike_usual

_NAMES = {"lstm": "sequence model", "svm": "one-class SVM", "rules": "rules"}


def explain(
    *,
    rules: Sequence[str] = (),
    sequence: SequenceEvidence | None = None,
    unusual: Sequence[Distance] = (),
    move: tuple[str | None, str | None] = (None, None),
    left_out: Mapping[str, str] | None = None,
    places: Mapping[str, str] | None = None,
) -> str:
    """Put the evidence of one scan into words.

    Parameters
    ----------
    rules
        Reasons of the rules that fire.
    sequence
        The sequence model's evidence, when it finds the scan unusual.
    unusual
        How far each feature is from usual, the furthest one first, where the one-class SVM finds
        the scan unusual.
    move
        Ids of the place of the scan before and of this one; None where there is none.
    left_out
        Detectors that took no part, and why.
    places
        Names of places by id.

    Returns
    -------
    str
        Sentences joined by `; `, empty when there is nothing to say.
    """
    said = list(rules)
    if sequence is not None:
        said.append(explain_sequence(sequence, places or {}))
    if unusual:
        said.append(unlike_usual(unusual, *(_named(one, places or {}) for one in move)))
    for name, reason in (left_out or {}).items():
        said.append(f"{_NAMES.get(name, name)} left out ({reason})")
    return "; ".join(said)


def explain_sequence(evidence: SequenceEvidence, places: Mapping[str, str]) -> str:
    """Say what was expected and what came, about the part that surprised most.

    Weekday, hour and elapsed time are one subject: when a scan came.
    """
    parts = evidence.parts
    when = parts.get("weekday", 0.0) + parts.get("hour", 0.0) + parts.get("elapsed", 0.0)
    if max(parts.get("place", 0.0), parts.get("event", 0.0)) >= when:
        expected = _where(evidence.expected, places)
        p = evidence.expected_p.get("place", 1.0) * evidence.expected_p.get("event", 1.0)
        return f"expected {expected}, {percent(p)} likely; got {_where(evidence.observed, places)}"
    came = _moment(evidence.observed)
    at = places.get(evidence.observed.get("place", ""), evidence.observed.get("place", ""))
    hour = evidence.observed_p.get("hour", 1.0)
    if evidence.part == "hour" or evidence.expected_hours is None:
        what = evidence.observed.get("event", "a scan")
        return f"{what} at {at} {came}, an hour that is {percent(hour)} likely"
    assert evidence.elapsed_hours is not None
    return (
        f"{evidence.observed.get('event', 'a scan')} at {at} came "
        f"{duration(evidence.elapsed_hours)} after the scan before, {came}; "
        f"expected after about {duration(evidence.expected_hours)}"
    )


def _named(place: str | None, places: Mapping[str, str]) -> str | None:
    return None if place is None else places.get(place, place)


def _where(event: Mapping[str, str], places: Mapping[str, str]) -> str:
    place = event.get("place", "")
    return f"{event.get('event', 'a scan')} at {places.get(place, place)}"


def _moment(event: Mapping[str, str]) -> str:
    day, hour = event.get("weekday", ""), event.get("hour", "")
    named = [f"on {DAYS[int(day)]}"] if day.isdigit() else []
    named += [f"at {hour}:00–{hour}:59"] if hour.isdigit() else []
    return " ".join(named) or "on some day"
