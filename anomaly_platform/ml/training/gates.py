"""Promotion gates of a challenger: each a value, a bound and a verdict.

What belongs here: the gates as pure functions of measured figures. What does not: measuring
(``ml.training``), and what follows from a verdict (the ``champion`` assets).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

#: A training in which fewer of the series with enough history could be trained does not serve.
LEAST_TRAINED_SHARE: Final = 0.5
#: Balanced accuracy (0.5 is chance) under which a bundle does not serve; its median over series.
LEAST_BALANCED_ACCURACY: Final = 0.60
#: Below it no bundle serves, whatever its series were before.
LITTLE_BETTER_THAN_CHANCE: Final = 0.53
#: AUC-ROC on injected anomalies under which a detector of scans, or a set of them, is no good.
LEAST_AUC: Final = 0.6
#: Mean false-positive rate that is always good enough …
GOOD_FALSE_POSITIVE_RATE: Final = 0.05
#: … and the one that is too much where nothing serves that could do better.
MOST_FALSE_POSITIVES: Final = 0.10
#: How much worse than the champion, on the same rows, a challenger may be.
TOLERANCE: Final = 0.03
#: A series is much worse when it loses more balanced accuracy than this.
MUCH_WORSE: Final = 0.15
#: So large a share of the series compared may be much worse.
MOST_MUCH_WORSE: Final = 0.25
#: Known anomalies that have to be there before the share found of them says anything.
FEWEST_KNOWN_ANOMALIES: Final = 10
#: How much smaller a share of them than the champion a challenger may find: they are few.
KNOWN_TOLERANCE: Final = 0.10
#: Of the share that the champion finds, so much has to be found in any case.
LEAST_OF_KNOWN: Final = 0.5


@dataclass(frozen=True)
class Comparison:
    """What a challenger and the champion are worth on the same rows.

    Attributes
    ----------
    series
        Series that both were measured on; the figures below are means over them.
    challenger_accuracy, champion_accuracy
        Balanced accuracy in [0, 1].
    challenger_false_positive_rate, champion_false_positive_rate
        Share of rows that each flags when nothing is injected; None without series.
    much_worse
        Share of the series that lose more than `MUCH_WORSE`.
    known_anomalies
        Rows that are labelled as anomalies.
    challenger_found, champion_found
        Share of them that each flags.
    """

    series: int = 0
    challenger_accuracy: float = 0.0
    champion_accuracy: float = 0.0
    challenger_false_positive_rate: float | None = None
    champion_false_positive_rate: float | None = None
    much_worse: float = 0.0
    known_anomalies: int = 0
    challenger_found: float = 0.0
    champion_found: float = 0.0


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition.

    Attributes
    ----------
    gate : str
        What is asked.
    value, bound : str
        What was seen and what is needed, for people.
    passed : bool
        The verdict.
    """

    gate: str
    value: str
    bound: str
    passed: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a challenger enters service, the reason in words, and what it rests on."""

    promote: bool
    reason: str
    gates: tuple[Gate, ...] = ()

    def rows(self) -> list[dict[str, str | bool]]:
        """Return a record per gate."""
        return [asdict(gate) for gate in self.gates]


def decide(gates: Sequence[Gate], why: str) -> Decision:
    """Promote when every gate is passed, for the reason `why`; else name those that are not.

    Examples
    --------
    >>> decide([Gate("trained share", "40 %", "at least 50 %", False)], "new data").reason
    'trained share: 40 %, needed is at least 50 %'
    """
    failed = [gate for gate in gates if not gate.passed]
    if not failed:
        return Decision(True, why, tuple(gates))
    reason = "; ".join(f"{one.gate}: {one.value}, needed is {one.bound}" for one in failed)
    return Decision(False, reason, tuple(gates))


def schema_gate(trained_on: str, computed: str, *, equal: bool) -> Gate:
    """Return whether the challenger reads the features that are computed today."""
    return Gate("feature schema", trained_on, f"equal to {computed}", equal)


def trained_gate(trained: int, failed: int) -> Gate:
    """Return whether enough of the series with history enough could be trained."""
    tried = trained + failed
    share = trained / tried if tried else 0.0
    return Gate(
        "trained share",
        f"{share:.0%} ({trained} of {tried} series)",
        f"at least {LEAST_TRAINED_SHARE:.0%} and one series",
        trained > 0 and share >= LEAST_TRAINED_SHARE,
    )


def quality_gates(
    balanced_accuracy: float | None,
    false_positive_rate: float | None,
    champions: float | None,
    *,
    before: float | None = None,
) -> list[Gate]:
    """Return whether a challenger is good enough by itself.

    Parameters
    ----------
    balanced_accuracy
        Median over the series it trained, on held-out rows with injected anomalies; None where
        nothing could be measured.
    false_positive_rate
        Mean over them, on the same rows without injections.
    champions
        The champion's mean false-positive rate there: after a change of behaviour it is the
        champion that raises the false alarms.
    before
        The median balanced accuracy that the same series had when the champion was trained:
        of a series that is hard by nature no more is asked than that.
    """
    least = LEAST_BALANCED_ACCURACY
    if before is not None:
        least = max(LITTLE_BETTER_THAN_CHANCE, min(least, before - TOLERANCE))
    bound = MOST_FALSE_POSITIVES
    if champions is not None:
        bound = max(GOOD_FALSE_POSITIVE_RATE, champions + TOLERANCE)
    return [
        Gate(
            "minimum quality",
            _figure(balanced_accuracy, "median balanced accuracy"),
            f"at least {least:.2f}",
            balanced_accuracy is None or balanced_accuracy >= least,
        ),
        Gate(
            "false alarms",
            _figure(false_positive_rate, "mean false-positive rate"),
            f"at most {bound:.3f}",
            false_positive_rate is None or false_positive_rate <= bound,
        ),
    ]


def decide_on_set(
    quality: float | None, champions: float | None, *, trained_on: str, computed: str
) -> Decision:
    """Decide about detectors of scans that are fused into a set.

    Parameters
    ----------
    quality, champions
        AUC-ROC of the set, and of the one in service, on the same scans with injected anomalies;
        None where there are too few, or nothing serves.
    trained_on, computed
        Versions of the features that the detectors read and that are computed today.

    Examples
    --------
    >>> decide_on_set(0.9, 0.95, trained_on="a", computed="a").promote
    False
    """
    gates = [schema_gate(trained_on, computed, equal=trained_on == computed)]
    if quality is None:
        return decide(gates, "nothing to measure the models on; they serve until there is")
    why = f"AUC-ROC {quality:.3f} on injected anomalies"
    gates.append(Gate("minimum quality", why, f"at least {LEAST_AUC}", quality >= LEAST_AUC))
    if champions is not None:
        bound = champions - TOLERANCE
        gates.append(
            Gate(
                "no worse than the champion",
                f"AUC-ROC {quality:.3f} on the same scans",
                f"at least {bound:.3f} (champion {champions:.3f})",
                quality >= bound,
            )
        )
    return decide(gates, why)


def comparison_gates(comparison: Comparison) -> list[Gate]:
    """Return whether a challenger is no worse than the champion on the same held-out rows."""
    gates = []
    if comparison.series:
        bound = comparison.champion_accuracy - TOLERANCE
        gates += [
            Gate(
                "no worse than the champion",
                f"mean balanced accuracy {comparison.challenger_accuracy:.3f} "
                f"over {comparison.series} series",
                f"at least {bound:.3f} (champion {comparison.champion_accuracy:.3f})",
                comparison.challenger_accuracy >= bound,
            ),
            Gate(
                "series much worse",
                f"{comparison.much_worse:.0%}",
                f"at most {MOST_MUCH_WORSE:.0%} lose more than {MUCH_WORSE}",
                comparison.much_worse <= MOST_MUCH_WORSE,
            ),
        ]
    if comparison.known_anomalies >= FEWEST_KNOWN_ANOMALIES:
        gates.append(_known_anomalies_gate(comparison))
    return gates


def _known_anomalies_gate(comparison: Comparison) -> Gate:
    """Return whether a challenger finds known anomalies as well as the champion does.

    What a champion finds only because it flags ordinary rows just as often is no merit: after a
    change of behaviour it flags nearly everything, and so every anomaly. Half of it has to be found
    all the same: of a challenger that learned from poisoned data, too, the champion differs by
    flagging what the challenger takes for ordinary.
    """
    theirs = comparison.champion_false_positive_rate or 0.0
    ours = comparison.challenger_false_positive_rate or 0.0
    by_false_alarms = max(0.0, theirs - ours)
    least = max(
        LEAST_OF_KNOWN * comparison.champion_found,
        comparison.champion_found - by_false_alarms - KNOWN_TOLERANCE,
    )
    said = f"champion {comparison.champion_found:.0%}"
    if by_false_alarms >= 0.005:
        said += f" with {by_false_alarms:.0%} more false alarms"
    return Gate(
        "known anomalies found",
        f"{comparison.challenger_found:.0%} of {comparison.known_anomalies}",
        f"at least {least:.0%} ({said})",
        comparison.challenger_found >= least,
    )


def _figure(value: float | None, what: str) -> str:
    return "nothing to measure on" if value is None else f"{what} {value:.3f}"
