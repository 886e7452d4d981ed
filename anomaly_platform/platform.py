"""The composition root: makes every part from the settings and hands each what it uses.

No part imports it back; what stages, routes and commands ask for, they find here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomaly_platform.kinds.parts import Parts
from anomaly_platform.notifications.outbox import Outbox
from anomaly_platform.notifications.redaction import Redactor
from anomaly_platform.registry.tuned_settings import TunedSettings
from anomaly_platform.runtime.backup.unfinished import refuse_unfinished
from anomaly_platform.settings import Settings
from anomaly_platform.settings.types import split_numbers
from anomaly_platform.storage.first_days import FirstDays
from anomaly_platform.storage.lake.landing import Landing
from anomaly_platform.storage.postgres.database import (
    DatabaseUrls,
    prepare_databases,
    redact,
    release_embedded,
)
from anomaly_platform.streams import BARCODE, BUILT_IN, MetricStream, ScanStream, Stream
from anomaly_platform.streams.user_defined import (
    BadStreamFile,
    StreamFileError,
    UserStreams,
    load_user_streams,
)
from anomaly_platform.warehouse import Warehouse

if TYPE_CHECKING:
    from anomaly_platform.ingest.online.readings import ReadingRules
    from anomaly_platform.kinds.base import StreamKind
    from anomaly_platform.realtime.ingest import OnlineIngest
    from anomaly_platform.realtime.series_state import SeriesStates
    from anomaly_platform.registry.champions import ModelSets
    from anomaly_platform.registry.mlflow.model_registry import MlflowMirror
    from anomaly_platform.storage.lake.lake import Lake
    from anomaly_platform.storage.tables.progress import Account
    from anomaly_platform.storage.tables.scored.rows import ScoredRows
    from anomaly_platform.streams.staleness import StreamState

#: An event before this day comes from a clock that was never set.
_CLOCK_NEVER_SET = date(1971, 1, 1)
#: Where partitions begin while there are no data.
_BEFORE_ALL_DATA = date(2010, 1, 1)
#: The detector of every metric stream.
DETECTOR = "isolation_forest"


class Platform:
    """Opens what a stage needs when it first needs it; loading the graph opens nothing.

    Parameters
    ----------
    settings : Settings
        Where everything is. A home that a restore has not finished is refused.
    streams : sequence of Stream or None
        The streams that this platform runs; ``None`` takes the built-in ones and those that the
        files of ``ANOMALY_STREAMS_DIR`` describe.
    """

    def __init__(self, settings: Settings, streams: Sequence[Stream] | None = None) -> None:
        refuse_unfinished(settings.home)
        self.settings = settings
        self._given = None if streams is None else tuple(streams)

    @cached_property
    def user_streams(self) -> UserStreams:
        """The streams that files describe, and the files that describe none."""
        if self._given is not None:
            return UserStreams()
        taken = {stream.name for stream in (*BUILT_IN, BARCODE)}
        return load_user_streams(self.settings.streams_dir, taken)

    @cached_property
    def streams(self) -> tuple[Stream, ...]:
        """The streams that this platform runs, as tuned; those of bad files are not among them."""
        return tuple(one for one in self._as_tuned if not isinstance(one, BadStreamFile))

    @property
    def bad_streams(self) -> tuple[BadStreamFile, ...]:
        """The files for which a stream is left out: what describes it, or what was tuned of it."""
        tuned = (one for one in self._as_tuned if isinstance(one, BadStreamFile))
        return (*self.user_streams.bad, *tuned)

    def untuned(self, stream: MetricStream) -> MetricStream:
        """Return the stream with its own settings, whatever tuning was put into use."""
        own = next(one for one in self._untuned if one.name == stream.name)
        return own if isinstance(own, MetricStream) else stream

    @property
    def _untuned(self) -> tuple[Stream, ...]:
        return (*BUILT_IN, *self.user_streams.streams) if self._given is None else self._given

    @cached_property
    def _as_tuned(self) -> tuple[Stream | BadStreamFile, ...]:
        return tuple(self.tuned.applied_to(stream) for stream in self._untuned)

    @property
    def tuned(self) -> TunedSettings:
        """Where the settings of tuned streams are."""
        return TunedSettings(self.settings.home)

    def stream(self, name: str) -> Stream:
        """Return a stream by name.

        Raises
        ------
        StreamFileError
            When the file that should describe the stream is wrong; the text says where and how.
        LookupError
            When there is none of this name; the text lists those there are.
        """
        for stream in self.streams:
            if stream.name == name:
                return stream
        for bad in self.bad_streams:
            if name in {bad.name, bad.path.stem}:
                raise StreamFileError(f"the stream {name} cannot be used:\n{bad}")
        known = ", ".join(stream.name for stream in self.streams)
        raise LookupError(f"there is no stream {name!r}; there are {known}")

    @cached_property
    def urls(self) -> DatabaseUrls:
        """The databases' URLs, started and migrated where they are embedded."""
        return prepare_databases(self.settings)

    @property
    def public_url(self) -> str:
        """The database's URL as it may be shown: without the password of a server of your own."""
        # The embedded server has no password, and its socket is in the URL's parameters.
        url = self.urls.application
        return url if self.settings.is_embedded else redact(url)

    @cached_property
    def warehouse(self) -> Warehouse:
        """The tables."""
        return Warehouse(self.urls.application)

    @cached_property
    def outbox(self) -> Outbox:
        """What people and other systems are to be told."""
        return Outbox(self.settings.alert_cool_down, Redactor.of(self.settings))

    @cached_property
    def lake(self) -> Lake:
        """The files."""
        from anomaly_platform.storage.lake.lake import Lake

        return Lake(self.settings.lake_url, self.settings.home / "cache")

    @cached_property
    def landing(self) -> Landing:
        """The zone where files arrive."""
        return Landing(self.settings.landing_url)

    @property
    def model_sets(self) -> ModelSets:
        """Versions that serve together, and a person's decisions about them."""
        from anomaly_platform.registry.champions import ModelSets

        return ModelSets(self.warehouse.bundles, self.lake)

    @property
    def mlflow_mirror(self) -> MlflowMirror:
        """What keeps MLflow's registry up with the platform's."""
        from anomaly_platform.registry.mlflow.model_registry import MlflowMirror
        from anomaly_platform.registry.mlflow.version_pages import VersionPages

        parts = self.warehouse
        return MlflowMirror(
            self.settings,
            self.urls,
            parts.transactions,
            parts.bundles,
            parts.mlflow_updates,
            VersionPages(
                parts.bundles, parts.partitions, self.lake, self.stream, self.threshold_of
            ),
        )

    def kind(self, stream: Stream) -> StreamKind[Any]:
        """Return what differs between kinds of streams, for this one; it opens nothing yet."""
        from anomaly_platform.kinds.table import kind_of

        return kind_of(stream, partial(self._parts_of, stream))

    def _parts_of(self, stream: Stream) -> Parts[Any]:
        warehouse, settings = self.warehouse, self.settings
        return Parts(
            stream=stream,
            lake=self.lake,
            partitions=warehouse.partitions,
            series=warehouse.series,
            bundles=warehouse.bundles,
            labels=warehouse.labels,
            drift=warehouse.drift,
            scores=self.scores_of(stream),
            outbox=self.outbox,
            home=settings.home,
            reference=self.reference_folder(stream),
            start=self.start_of(stream),
            weights=self.weights_of(stream) if isinstance(stream, ScanStream) else {},
            alpha=self.alpha_of(stream),
            threshold=self.threshold_of(stream),
            seed=settings.seed,
            min_training_samples=settings.min_training_samples,
            contamination=self.contamination_of(stream),
        )

    @property
    def series_states(self) -> SeriesStates:
        """Where the past of series comes from."""
        from anomaly_platform.realtime.series_state import SeriesStates

        return SeriesStates(self.warehouse.transactions, self.lake, self.warehouse.partitions)

    def online_ingest(self) -> OnlineIngest:
        """Return a new way for readings into the tables, for one thread."""
        from anomaly_platform.realtime.ingest import OnlineIngest

        return OnlineIngest(self.urls.application, self.series_states, self.outbox)

    def start_of(self, stream: Stream) -> date:
        """Return the day before which events of the stream are refused."""
        return stream.start or self.settings.start_date or _CLOCK_NEVER_SET

    def first_day_of(self, stream: Stream) -> date:
        """Return the day on which the stream's partitions begin: that of its first data.

        Without data it lies far back, so that whatever comes first has its day.
        """
        start = stream.start or self.settings.start_date
        first = self.first_days.read().get(stream.name)
        if first is None:
            return start or _BEFORE_ALL_DATA
        # A sender's clock may be ahead of midnight.
        return min(max(first, start or first), datetime.now(UTC).date())

    @property
    def first_days(self) -> FirstDays:
        """Where the first day of each stream is noted."""
        return FirstDays(self.settings.home)

    def note_first_days(self) -> None:
        """Bring the note of the first days up to the tables."""
        found = self.warehouse.progress.first_days()
        self.first_days.note({stream.name: found.get(stream.name) for stream in self.streams})

    def reading_rules(self, stream: Stream) -> ReadingRules:
        """Return what a single reading of the stream may say, as a row of a file may."""
        from anomaly_platform.ingest.online.readings import ReadingRules

        return ReadingRules(
            start=datetime.combine(self.start_of(stream), time(), UTC),
            timezone=stream.timezone or self.settings.default_timezone,
            future_allowance=self.settings.future_allowance,
        )

    def alpha_of(self, stream: Stream) -> float:
        """Return the share of normal readings that may lie above the default threshold."""
        return self.settings.alpha if stream.alpha is None else stream.alpha

    def threshold_of(self, stream: Stream) -> float:
        """Return the score from which a reading of the stream is an anomaly."""
        return self.settings.threshold if stream.threshold is None else stream.threshold

    def contamination_of(self, stream: Stream) -> float:
        """Return the largest share of rows that fitting may set aside as suspect."""
        own = stream.contamination if isinstance(stream, MetricStream) else None
        return self.settings.contamination if own is None else own

    def prediction_target_of(self, stream: Stream) -> float:
        """Return the seconds within which most scoring requests are to be answered."""
        settings = self.settings
        is_metric = stream.has_series
        target = settings.prediction_target_ms if is_metric else settings.scan_prediction_target_ms
        return target / 1000

    def weights_of(self, stream: ScanStream) -> dict[str, float]:
        """Return how much each detector counts in the stream's fused confidence."""
        return {**split_numbers(self.settings.scan_weights), **stream.weights}

    def time_limits_of(self, stream: ScanStream) -> dict[str, float]:
        """Return the seconds that each detector of the stream has online."""
        return {**split_numbers(self.settings.scan_time_limits), **stream.time_limits}

    def reference_folder(self, stream: Stream) -> Path:
        """Return the folder that holds what is known of a stream's network beforehand."""
        return self.settings.reference_path / stream.name

    def scores_of(self, stream: Stream) -> ScoredRows:
        """Return the part of the warehouse that holds the stream's scored rows."""
        return self.warehouse.scores if stream.has_series else self.warehouse.scan_scores

    def state_of(self, stream: Stream) -> StreamState:
        """Return how far the stream has come, for deciding what is due."""
        least = stream.fewest_to_learn_from(self.settings.min_training_samples)
        return self.warehouse.progress.state(stream.name, stream.scored_by, least)

    def account_of(self, stream: Stream) -> Account:
        """Return where the stream's rows are."""
        return self.warehouse.progress.account(stream.name)

    def rows_by_digest(self, stream: Stream) -> dict[str, int]:
        """Return how many rows of each ingested file have an event day."""
        return self.warehouse.progress.rows_by_digest(stream.name)

    def close(self) -> None:
        """Give connections back; a closed platform opens them anew when used."""
        if "warehouse" in self.__dict__:
            self.warehouse.close()
            del self.__dict__["warehouse"]

    def release(self) -> None:
        """Stop the embedded database if no other process uses it."""
        self.close()
        release_embedded(self.settings.home)
