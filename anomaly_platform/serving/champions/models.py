"""The champions in memory: loaded, verified, warmed, swapped in one step, and within a budget.

A request takes what serves once (:meth:`ModelStore.metrics`, :meth:`ModelStore.scans`) and keeps
it to its end, so that it sees one version however often the champion changes meanwhile. The table
``champions`` is the truth: an announcement only says when to read it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from anomaly_platform.platform import Platform
from anomaly_platform.registry.bundle_index import BundleRecord
from anomaly_platform.serving.champions.freed_memory import give_back
from anomaly_platform.serving.champions.served import Key, ServedMetrics, ServedScans
from anomaly_platform.streams import (
    MetricStream,
    ScanStream,
    Stream,
    metric_streams,
    scan_streams,
)

if TYPE_CHECKING:
    from anomaly_platform.ml.bundles.bundle import Bundle

#: What every scan carries, whatever its features are.
_SCAN_COLUMNS: Final = (
    *("entity", "bucket", "epc_code", "event_time", "location_id", "business_step", "event_type"),
    *("event_id", "file_id", "scan_location", "operator_id", "device_id", "product_name"),
    *("label", "anomaly_kind"),
)

MODELS_CHANNEL: Final = "models"
"""PostgreSQL channel on which a changed status of a single model is announced."""

Loaded = TypeVar("Loaded")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadProblem:
    """A champion that could not be taken into service; what served before goes on."""

    stream: str
    detector: str
    version: int
    reason: str


Tell = Callable[[str, str, "LoadProblem | None"], None]
"""Takes stream, detector and what is wrong with its champion; None when nothing is any more."""


class ModelStore:
    """What serves each stream at the moment.

    Parameters
    ----------
    platform : Platform
        Streams, tables and lake.
    budget_bytes : int
        Most that models of single series may take, shared evenly by the metric streams.
    """

    def __init__(self, platform: Platform, *, budget_bytes: int) -> None:
        self._platform = platform
        self._budget_bytes = budget_bytes
        self._lookups_before: Counter[str] = Counter()
        self.problems: dict[str, LoadProblem] = {}
        self.swaps = 0
        self._metrics: dict[str, ServedMetrics] = {}
        self._scans: dict[str, ServedScans] = {}
        self._refreshing = asyncio.Lock()
        self._retry = False
        self.told: Tell | None = None

    @property
    def lookups(self) -> Counter[str]:
        """Hits, misses and evictions of models of single series so far."""
        return sum((one.lookups for one in self._metrics.values()), self._lookups_before)

    @property
    def bytes_held(self) -> int:
        """What the models of single series in memory take."""
        from anomaly_platform.ml.scoring.online import MODEL_BYTES

        return MODEL_BYTES * sum(len(one.held()) for one in self._metrics.values())

    def metrics(self, stream: str) -> ServedMetrics:
        """Return what serves a metric stream now.

        Raises
        ------
        KeyError
            When there is no metric stream of that name.
        """
        return self._metrics[stream]

    def scans(self, stream: str) -> ServedScans:
        """Return what serves a stream of scans now.

        Raises
        ------
        KeyError
            When there is no stream of scans of that name.
        """
        return self._scans[stream]

    def versions(self) -> dict[str, int | None]:
        """Return the version in service of every stream."""
        held: dict[str, ServedMetrics | ServedScans] = {**self._metrics, **self._scans}
        return {name: served.version for name, served in held.items()}

    async def announced(self, payload: str | None) -> None:
        """Read ``champions`` and load what changed: the listener of the channels about models."""
        # After a lost connection nobody knows what happened meanwhile: what could not be loaded
        # may be whole again.
        await self.refresh(retry=payload is None)

    async def refresh(self, *, retry: bool = False) -> None:
        """Bring what is in memory up to what the tables say.

        Parameters
        ----------
        retry : bool
            Try again what could not be loaded before.
        """
        async with self._refreshing:
            await asyncio.to_thread(self._refresh, retry=retry)

    def _refresh(self, *, retry: bool) -> None:
        self._retry = retry
        before = self.swaps
        streams = self._platform.streams
        for readings in metric_streams(streams).values():
            self._renew_metrics(readings)
        for scans in scan_streams(streams).values():
            self._renew_scans(scans)
        if self.swaps > before:
            give_back()

    def _champion(self, stream: Stream) -> int | None:
        champions = self._platform.warehouse.bundles.champions(stream.name)
        return champions.get(stream.scored_by)

    def _renew_metrics(self, stream: MetricStream) -> None:
        current = self._metrics.get(stream.name)
        if current is None:
            current = self._metrics[stream.name] = self._served(stream)
        version = self._champion(stream)
        if version is None:
            return
        bundles = self._platform.warehouse.bundles
        deleted = bundles.deleted_series(stream.name, stream.scored_by, version)
        serves = current.version == version and current.deleted == deleted
        loaded = self._renewed(
            stream, version, serves, lambda: self._warmed(stream, version, deleted, current)
        )
        if loaded is not None:
            self._metrics[stream.name] = loaded
            self._lookups_before += current.lookups
            current.replaced()
            self.swaps += 1

    def _renew_scans(self, stream: ScanStream) -> None:
        current = self._scans.setdefault(stream.name, ServedScans(stream))
        version = self._champion(stream)
        if version is None:
            return
        loaded = self._renewed(
            stream, version, current.version == version, lambda: self._load_scans(stream, version)
        )
        if loaded is not None:
            self._scans[stream.name] = loaded
            self.swaps += 1

    def _renewed(
        self, stream: Stream, version: int, serves: bool, load: Callable[[], Loaded]
    ) -> Loaded | None:
        """Load a champion; None where it serves already, or cannot: then what serves is kept."""
        loaded = None
        if not serves:
            problem = self.problems.get(stream.name)
            if problem is not None and problem.version == version and not self._retry:
                # Loading has failed before, and is not tried at every announcement.
                return None
            try:
                loaded = load()
            except Exception as error:  # whatever is in it: no champion stops another stream's
                self._report(LoadProblem(stream.name, stream.scored_by, version, str(error)))
                return None
        if self.problems.pop(stream.name, None) is not None and self.told is not None:
            self.told(stream.name, stream.scored_by, None)
        return loaded

    def _served(
        self,
        stream: MetricStream,
        version: int | None = None,
        bundle: Bundle | None = None,
        deleted: frozenset[Key] = frozenset(),
    ) -> ServedMetrics:
        from anomaly_platform.ml.scoring.online import MODEL_BYTES

        sharing = len(metric_streams(self._platform.streams))
        return ServedMetrics(
            stream,
            alpha=self._platform.alpha_of(stream),
            threshold=self._platform.threshold_of(stream),
            models_held=max(1, self._budget_bytes // (MODEL_BYTES * sharing)),
            version=version,
            bundle=bundle,
            deleted=deleted,
            on_damage=lambda what: self._report(
                LoadProblem(stream.name, stream.scored_by, version or 0, what)
            ),
        )

    def _warmed(
        self, stream: MetricStream, version: int, deleted: frozenset[Key], current: ServedMetrics
    ) -> ServedMetrics:
        """Return a version with the models in use now already read; at first, as many as fit."""
        from anomaly_platform.ml.bundles.bundle import open_bundle
        from anomaly_platform.ml.scoring.checking import check_models

        bundle = current.bundle
        if current.version != version or bundle is None:
            record = self._record(stream, stream.scored_by, version)
            bundle = open_bundle(self._folder(record), expected_digest=record.digest)
        fresh = self._served(stream, version, bundle, deleted)
        if bundle is not current.bundle:
            before = current.bundle
            known = set() if before is None else set(before.slot_digests.values())
            check_models(bundle, fresh.feature_set, known)
        in_use = [key for key in dict.fromkeys(current.held()) if key in fresh.series]
        fresh.warm(in_use or list(fresh.series))
        return fresh

    def _load_scans(self, stream: ScanStream, version: int) -> ServedScans:
        from anomaly_platform.ml.scans.bundles import read_set
        from anomaly_platform.ml.scans.warm_up import warm_up

        record = self._record(stream, stream.scored_by, version)
        available = tuple(dict.fromkeys((*_SCAN_COLUMNS, *stream.features.names)))

        def folder(detector: str, one: int) -> Path:
            return self._folder(self._record(stream, detector, one))

        models = read_set(folder, version, available=available)
        return ServedScans(stream, version, record.digest, warm_up(models, stream.features))

    def _report(self, problem: LoadProblem) -> None:
        _log.error(
            "%s %s %d cannot serve: %s",
            *(problem.stream, problem.detector, problem.version, problem.reason),
        )
        self.problems[problem.stream] = problem
        if self.told is not None:
            self.told(problem.stream, problem.detector, problem)

    def _record(self, stream: Stream, detector: str, version: int) -> BundleRecord:
        record = self._platform.warehouse.bundles.get(stream.name, detector, version)
        if record is None or record.path is None:
            raise LookupError(f"the index has no files of {stream.name} {detector} {version}")
        return record

    def _folder(self, record: BundleRecord) -> Path:
        return self._platform.lake.fetch_folder(record.path or "")
