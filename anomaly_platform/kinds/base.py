"""What a stage asks a kind of stream for, and what it gets.

What belongs here: the protocol :class:`StreamKind` and the plain records that pass through it. A
stage is a module, a stream is a row, and all that differs between kinds is in the two
implementations. Nothing here knows Dagster.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import polars as pl

from anomaly_platform.incidents.anomaly_alerts import AlertedRows, DayAlerts
from anomaly_platform.kinds.findings import Check, Finding, Quality, ScoreLook
from anomaly_platform.kinds.formats import RowFormat, ScoredFormat
from anomaly_platform.kinds.training import Key, TrainingOrigin
from anomaly_platform.streams import Stream

if TYPE_CHECKING:
    from anomaly_platform.kinds.parts import Parts
    from anomaly_platform.ml.training.gates import Decision
    from anomaly_platform.registry.bundle_index import BundleRecord
    from anomaly_platform.storage.postgres.transactions import Connection
    from anomaly_platform.storage.tables.partitions import Partition
    from anomaly_platform.storage.tables.scored.new_rows import NewRows

S = TypeVar("S", bound=Stream)

Stats = dict[tuple[str, str], float | None]
"""Numbers of a day by subject and name; subject ``day`` is the day as a whole."""

Shown = Mapping[str, object]
"""What people see of a stage: numbers, texts, tables (lists of records), pictures (PNG)."""

OnEpoch = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class DetectorStage:
    """A stage that trains one detector.

    Attributes
    ----------
    detector : str
        Its name; the stage is ``<detector>_model``.
    description : str
        For people.
    tools : frozenset of str
        What it is made with.
    reads : tuple of str
        The stages before it.
    heavy : bool
        Whether it trains in a process of its own, one at a time.
    """

    detector: str
    description: str
    tools: frozenset[str]
    reads: tuple[str, ...] = ("features",)
    heavy: bool = False

    @property
    def stage(self) -> str:
        """Name of the stage."""
        return f"{self.detector}_model"


@dataclass(frozen=True, slots=True)
class TrainingOrder:
    """What is to be trained, and what helps with it.

    Attributes
    ----------
    series : collection of (entity, metric) or None
        Only these; None trains everything.
    window_days : int or None
        Days of history; None takes the stream's policy.
    origin : TrainingOrigin
        What asked for it.
    log : logging.Logger
        Where news go.
    observe : callable
        Takes figures of a training under way.
    run_trainer : callable or None
        Runs a training in a process of its own, as a configuration file says, and hands over the
        figures of each epoch; raises `TrainingInterruptedError` when somebody killed it. Needed
        for a heavy stage only.
    """

    series: Sequence[Key] | None = None
    window_days: int | None = None
    origin: TrainingOrigin = field(default_factory=TrainingOrigin)
    log: logging.Logger = field(default_factory=lambda: logging.getLogger(__name__))
    observe: Callable[[Shown], None] = lambda _: None
    run_trainer: Callable[[Path, OnEpoch], object] | None = None


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What came of a training: the new version, and what people see of it."""

    version: int
    shown: Shown


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one challenger.

    Attributes
    ----------
    version : int
        The version that was judged: the challenger's own, or the one that it was rebased as.
    decision : Decision
        Of the gates.
    metrics : mapping
        What was measured of it while it was judged.
    """

    version: int
    decision: Decision
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scorer:
    """The models in service, ready to score days.

    Attributes
    ----------
    version : int or None
        The version that a scored day carries; None where nothing that was trained serves.
    versions : mapping of str to int
        All versions that take part, by detector.
    score : callable
        From a day's features to its scored rows, as the lake keeps them.
    judges : tuple of str
        Detectors in service that have to judge every row, each in a column of its own.
    failed : set of str
        Receives those without a column that failed on the day that is scored.
    left : list of callables
        Receives what publishes, within a transaction, the states that the scored day leaves.
    """

    version: int | None
    versions: Mapping[str, int]
    score: Callable[[Partition], Iterator[pl.DataFrame]]
    judges: tuple[str, ...] = ()
    failed: set[str] = field(default_factory=set)
    left: list[Callable[[Connection], None]] = field(default_factory=list)

    def publish_states(self, connection: Connection) -> None:
        """Publish what the day leaves; raises `StaleInput`."""
        for publish in self.left:
            publish(connection)


class StreamKind(ABC, Generic[S]):
    """All that differs between kinds of streams, for one stream.

    Parameters
    ----------
    stream : Stream
        Whose rows.
    open_parts : callable
        Opens what the kind works with; called when something is first read or written, so that
        describing the graph opens nothing.
    """

    #: Whether a day is scored with the validated rows of its look-back beside its features.
    scores_with_history: ClassVar[bool]
    #: What makes the set in service, beside the database: Dagster's kinds of that stage.
    champion_tools: ClassVar[frozenset[str]]
    #: What a version in service is called, and what is said when there is nothing to judge.
    version_word: ClassVar[str]
    nothing_to_judge: ClassVar[str]
    #: What has to hold of a bundle, for people.
    bundle_opens: ClassVar[str]
    bundle_size: ClassVar[str]
    #: What is counted as decided on, and how quality is told.
    decided: ClassVar[str]
    quality: ClassVar[Quality]
    #: What has to hold of every row of features, and of every scored row.
    feature_check: ClassVar[Check]
    score_checks: ClassVar[tuple[Check, ...]]
    #: Files with these names hold no events but what is known beforehand.
    reference_files: ClassVar[tuple[str, ...]] = ()
    #: Numbers of a day that are shown first.
    shown_stats: ClassVar[tuple[str, ...]]
    #: Which rows of a scored day alert, and what is told of them.
    alerting: ClassVar[AlertedRows]

    def __init__(self, stream: S, open_parts: Callable[[], Parts[S]]) -> None:
        self.stream: S = stream
        self._open_parts = open_parts

    @cached_property
    def parts(self) -> Parts[S]:
        """What the kind works with."""
        return self._open_parts()

    @property
    @abstractmethod
    def rows(self) -> RowFormat:
        """How rows are read and validated."""

    @property
    @abstractmethod
    def scored(self) -> ScoredFormat:
        """How scored rows look."""

    @property
    @abstractmethod
    def detectors(self) -> tuple[DetectorStage, ...]:
        """The stages that train, in order."""

    @property
    @abstractmethod
    def descriptions(self) -> Mapping[str, str]:
        """What people read about ``features`` and the stages after the models."""

    @property
    @abstractmethod
    def feature_schema(self) -> Mapping[str, pl.DataType]:
        """The columns of a day's features: the event's own, then each feature."""

    @abstractmethod
    def features(self, events: pl.DataFrame, since: datetime) -> pl.DataFrame:
        """Return the features of the events from an instant on; the others are their look-back."""

    def named_fields(self) -> dict[str, tuple[str, ...]]:
        """Return the accepted column names: the stream's own before those of its kind."""
        from anomaly_platform.ingest.layout.mapping import plain

        own = self.stream.column_names()
        # What the stream calls its metric must not be taken for the entity of its kind.
        claimed = {plain(name) for names in own.values() for name in names}
        return {
            name: (
                *own.get(name, ()),
                *(other for other in known if plain(other) not in claimed),
            )
            for name, known in self.rows.fields.items()
        }

    def reference_name(self, file: Path) -> str:
        """Read a reference file and return the name under which it is kept.

        Raises
        ------
        ValueError
            When it cannot be used, or the kind has no reference data.
        """
        raise ValueError(f"{self.stream.name} has no reference data; {file.name} is not taken")

    def history(self, day: date, last: date) -> list[Partition]:
        """Return the validated days from the look-back of a day to `last`."""
        first = day - timedelta(days=self.stream.lookback_days)
        return self.parts.partitions.between(
            self.stream.name, "validated_events", first.isoformat(), last.isoformat()
        )

    @abstractmethod
    def train(self, detector: str, order: TrainingOrder) -> TrainingReport:
        """Train a detector and enter the bundle as a challenger.

        Raises
        ------
        StageError
            When there is nothing to train on, or the order cannot be followed.
        """

    @abstractmethod
    def judge(self) -> Iterator[Verdict]:
        """Judge the challengers that wait, and promote or reject them.

        Raises
        ------
        StageError
            When a challenger cannot be judged.
        """

    @abstractmethod
    def serving(self) -> Shown:
        """Return what serves now, for people."""

    @abstractmethod
    def members(self, version: int) -> dict[str, int]:
        """Return the versions that serve together under this version, by detector."""

    @abstractmethod
    def verify(self, version: int) -> None:
        """Open all that serves under a version, its digests verified; raise when it cannot be."""

    @abstractmethod
    def scorer(self) -> Scorer:
        """Return the models in service, or what stands in for them."""

    @abstractmethod
    def ensure_tables(self) -> None:
        """Make the tables and views of a stream that is scored for the first time."""

    def replacing(
        self, day: date, *, watermark: int, scorer: Scorer
    ) -> AbstractContextManager[NewRows]:
        """Replace a day in ``scored_<stream>`` by what the block adds; raises `StaleInput`.

        The states that the scorer's day leaves are published with it.
        """
        stream, parts = self.stream, self.parts
        return parts.scores.replacing(
            stream.name,
            day,
            watermark=watermark,
            detector=stream.scored_by,
            bundle_version=scorer.version,
            threshold=parts.threshold,
            alerts=DayAlerts(parts.outbox, stream.name, stream.title, day, self.alerting),
            beside=scorer.publish_states,
        )

    @abstractmethod
    def monitor(self) -> Callable[[date, Partition], Stats]:
        """Return what tells the numbers of scored days, and stores their drift."""

    @abstractmethod
    def weigh(self, record: BundleRecord) -> tuple[int, int, str]:
        """Open and verify a bundle; return its bytes, how many are allowed, and what for."""

    @property
    @abstractmethod
    def least_quality(self) -> float:
        """The quality under which a bundle is told of."""

    @property
    @abstractmethod
    def told_quality(self) -> float:
        """Balanced accuracy in service under which people are told."""

    @property
    @abstractmethod
    def champion_checks(self) -> tuple[Check, ...]:
        """What has to hold of what serves."""

    @abstractmethod
    def look_at_champion(self) -> Iterator[Finding]:
        """Check what serves."""

    @abstractmethod
    def look_at_features(self, day: Partition) -> list[str]:
        """Return what is wrong with a day's features."""

    @abstractmethod
    def replay(self, day: Partition) -> tuple[int, list[str]]:
        """Compute a sample of a day's features one event at a time; return rows and differences."""

    @abstractmethod
    def look_at_scores(self, day: Partition, look: ScoreLook) -> None:
        """Add what is seen of a scored day."""


def midnight(day: date) -> datetime:
    """Return the instant at which a UTC day begins."""
    from datetime import UTC

    return datetime.combine(day, time(), UTC)
