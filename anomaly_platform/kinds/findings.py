"""What checks look for, and what they find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anomaly_platform.registry.bundle_index import BundleRecord
    from anomaly_platform.storage.tables.partitions import Partition


@dataclass(frozen=True, slots=True)
class Check:
    """Something that has to hold of a stage's result."""

    name: str
    description: str
    blocking: bool = False
    warns: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check saw: it passes when there are no problems."""

    check: str
    problems: Sequence[str]
    seen: str
    figures: Mapping[str, float | str] = field(default_factory=dict)


def told(day: Partition, counts: Mapping[str, int]) -> list[str]:
    """Say what is wrong with how many rows of a day; what does not occur is not told."""
    return [f"{day.partition}: {count:,} {what}" for what, count in counts.items() if count]


@dataclass(slots=True)
class ScoreLook:
    """What checks saw of scored days.

    Attributes
    ----------
    decided, anomalies : int
        Rows with a decision, and those of them that are anomalies.
    problems : dict of str to list of str
        What is wrong, by check.
    """

    decided: int = 0
    anomalies: int = 0
    problems: dict[str, list[str]] = field(default_factory=dict)

    def add(self, check: str, problems: Sequence[str]) -> None:
        """Add what is wrong with a day."""
        self.problems.setdefault(check, []).extend(problems)


@dataclass(frozen=True, slots=True)
class Quality:
    """The figure by which a bundle's quality is told.

    Attributes
    ----------
    metric : str
        Its name among the bundle's metrics.
    words : str
        How it is told, with a place for the number.
    check, description : str
        The check that it is good enough, with a place for the least number.
    meaning, advice : str
        What the figure is, and what one can do where it is too low.
    """

    metric: str
    words: str
    check: str
    description: str
    meaning: str
    advice: str

    def problems(self, record: BundleRecord | None, least: float) -> tuple[list[str], str]:
        """Return what is wrong with a bundle's quality, and what was seen."""
        value = None if record is None else record.metrics.get(self.metric)
        if value is None:
            return [], "nothing was measured"
        told = self.words.format(value)
        if value >= least:
            return [], told
        return [f"{told}, {least:.2f} is wanted; {self.meaning}. {self.advice}"], told
