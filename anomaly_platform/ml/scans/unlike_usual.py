"""Says in words how a scan differs from usual ones, as the one-class SVM sees it.

What belongs here: a clause for each feature that it reads. An operator knows days, places and
hours, and neither the features' names nor standard deviations.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from anomaly_platform.ml.detectors.one_class_svm_scans import RAREST_MOVE, Distance
from anomaly_platform.ml.features.scans.names import LOOKBACK_HOURS

DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

_LOOKBACK_DAYS: Final = LOOKBACK_HOURS // 24
#: Subjects that are named, and from how many standard deviations on the second one is.
_NAMED: Final = 2
_FAR: Final = 1.0
#: Features that are one subject: nobody needs to hear of the same day or place twice.
_SUBJECTS: Final = {
    **dict.fromkeys(("day_of_week", "is_weekend"), "day"),
    **dict.fromkeys(("location_hierarchy", "latitude", "longitude"), "place"),
    "location_transition_frequency": "move",
}


class _Scan(NamedTuple):
    """What is said of one scan; `before` and `place` are names, None where there is none."""

    values: Mapping[str, Distance]
    before: str | None
    place: str | None

    @property
    def day(self) -> str:
        return DAYS[round(self.values["day_of_week"].value) % len(DAYS)]

    @property
    def is_first(self) -> bool:
        return round(self.values["sequence_length"].value) == 1

    def has_nothing_to_say(self, one: Distance, subject: str) -> bool:
        """Whether what a subject is about is not known, or a move is more common than most."""
        if subject == "move":
            from_nowhere = self.before is None and not self.is_first
            return self.place is None or from_nowhere or one.deviations > 0
        return subject == "place" and self.place is None


def unlike_usual(distances: Sequence[Distance], before: str | None, place: str | None) -> str:
    """Say what is furthest from usual, and what is usual.

    Parameters
    ----------
    distances
        Of every feature, the furthest one first.
    before, place
        Names of the place of the scan before and of this one; None where there is none.
    """
    scan = _Scan({one.feature: one for one in distances}, before, place)
    said: dict[str, str] = {}
    for one in distances:
        subject = _SUBJECTS.get(one.feature, one.feature)
        if subject in said or scan.has_nothing_to_say(one, subject):
            continue
        if said and (len(said) == _NAMED or abs(one.deviations) < _FAR):
            break
        said[subject] = _CLAUSES[one.feature](one, scan)
    return f"unlike usual scans: {', and '.join(said.values())}"


def percent(p: float) -> str:
    """Return a share in words."""
    if p >= 0.0995:
        return f"{100 * p:.0f} %"
    return f"{100 * p:.1f} %" if p >= 0.001 else "under 0.1 %"


def duration(hours: float) -> str:
    """Return a time in a unit that suits it."""
    if hours < 1:
        return f"{60 * hours:.0f} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


def _hour(one: Distance, _: _Scan) -> str:
    hour = f"{one.value:02.0f}"
    return f"scanned at {hour}:00–{hour}:59, {_way(one, 'earlier', 'later')} in the day than most"


def _day(one: Distance, scan: _Scan) -> str:
    return f"scanned on a {scan.day}, {_way(one, 'earlier', 'later')} in the week than most"


def _weekend(one: Distance, scan: _Scan) -> str:
    share = percent(one.usual)
    return f"scanned on a {scan.day}, while {share} of the scans in training are on weekends"


def _at(lower: str, higher: str) -> Callable[[Distance, _Scan], str]:
    return lambda one, scan: f"at {scan.place}, {_way(one, lower, higher)} than most"


def _elapsed(one: Distance, _: _Scan) -> str:
    came = f"{duration(one.value)} after the scan before"
    if one.value > LOOKBACK_HOURS - 1:
        came = f"the first scan of its code in {_LOOKBACK_DAYS} days"
    return f"{came}, usual is about {duration(one.usual)} from scan to scan"


def _length(one: Distance, _: _Scan) -> str:
    return (
        f"scan {one.value:.0f} of its code in {_LOOKBACK_DAYS} days, usual is about {one.usual:.0f}"
    )


def _age(one: Distance, _: _Scan) -> str:
    when = f"{abs(one.value):.0f} days {'before' if one.value < 0 else 'after'}"
    return f"scanned {when} its date of manufacture, usual is about {one.usual:.0f} after it"


def _move(one: Distance, scan: _Scan) -> str:
    never, share = one.value < RAREST_MOVE / 2, percent(one.value)
    if scan.is_first:
        many = "no code in training begins" if never else f"{share} of the codes begin"
        return f"first seen at {scan.place}, where {many}"
    many = "no code in training" if never else f"{share} of the codes at {scan.before}"
    if scan.before == scan.place:
        return f"scanned at {scan.place} again, as {many} {'was' if never else 'are'}"
    return f"came from {scan.before} to {scan.place}, as {many} {'did' if never else 'do'}"


def _way(one: Distance, lower: str, higher: str) -> str:
    return higher if one.deviations > 0 else lower


_CLAUSES: Final[Mapping[str, Callable[[Distance, _Scan], str]]] = {
    "hour": _hour,
    "day_of_week": _day,
    "is_weekend": _weekend,
    "location_hierarchy": _at("nearer to the factory", "further from the factory"),
    "latitude": _at("further south", "further north"),
    "longitude": _at("further west", "further east"),
    "time_since_last_scan": _elapsed,
    "sequence_length": _length,
    "manufacture_age_days": _age,
    "location_transition_frequency": _move,
}
