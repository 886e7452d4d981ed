"""The champions in memory: loaded, verified, warmed, swapped in one step, and within a budget.

A request takes what serves once (:meth:`ModelStore.metrics`, :meth:`ModelStore.scans`) and keeps
it to its end, so that it sees one version however often the champion changes meanwhile. The table
``champions`` is the truth: an announcement only says when to read it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from anomaly_platform.resources.bundles import BundleRecord
from anomaly_platform.resources.platform import DETECTOR, Platform
from anomaly_platform.serving.model_cache import ModelCache
from anomaly_platform.serving.served import ServedMetrics, ServedScans
from anomaly_platform.streams import MetricStream, ScanStream, Stream

if TYPE_CHECKING:
    from anomaly_platform.ml.bundle import Bundle

#: Share of the budget that is filled before the first request: room is left for what is asked.
_WARM_SHARE: Final = 0.5
#: What every scan carries, whatever its features are.
_SCAN_COLUMNS: Final = (
    *("entity", "bucket", "epc_code", "event_time", "location_id", "business_step", "event_type"),
    *("event_id", "file_id", "scan_location", "operator_id", "device_id", "product_name"),
    *("label", "anomaly_kind"),
)

Loaded = TypeVar("Loaded")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadProblem:
    """A champion that could not be taken into service; what served before goes on."""

    stream: str
    detector: str
    version: int
    reason: str


class ModelStore:
    """What serves each stream at the moment.

    Parameters
    ----------
    platform : Platform
        Streams, tables and lake.
    budget_bytes : int
        Most that models of single series may take.
    """

    def __init__(self, platform: Platform, *, budget_bytes: int) -> None:
        self._platform = platform
        self.cache = ModelCache(budget_bytes)
        self.problems: dict[str, LoadProblem] = {}
        self.swaps = 0
        self._metrics: dict[str, ServedMetrics] = {}
        self._scans: dict[str, ServedScans] = {}
        self._refreshing = asyncio.Lock()
        self._on_problem: list[Callable[[LoadProblem], None]] = []

    @property
    def streams(self) -> dict[str, Stream]:
        """Every stream, by name."""
        return {stream.name: stream for stream in self._platform.streams}

    def on_problem(self, told: Callable[[LoadProblem], None]) -> None:
        """Have `told` called, in a thread, when a champion cannot be loaded."""
        self._on_problem.append(told)

    def metrics(self, stream: str) -> ServedMetrics:
        """Return what serves a metric stream now.

        Raises
        ------
        KeyError
            When there is no metric stream of that name.
        """
        return self._metrics[stream]

    def scans(self, stream: str = "barcode") -> ServedScans:
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

    async def announced(self, _payload: str | None) -> None:
        """Read ``champions`` and load what changed: the listener of their channel."""
        await self.refresh()

    async def refresh(self) -> None:
        """Bring what is in memory up to what ``champions`` says."""
        async with self._refreshing:
            await asyncio.to_thread(self._refresh)

    def _refresh(self) -> None:
        for stream in self._platform.streams:
            champion = self._platform.warehouse.bundles.champions(stream.name)
            version = champion.get(stream.scored_by)
            if isinstance(stream, MetricStream):
                self._renew_metrics(stream, version)
            elif isinstance(stream, ScanStream):
                self._renew_scans(stream, version)

    def _renew_metrics(self, stream: MetricStream, version: int | None) -> None:
        current = self._metrics.get(stream.name)
        if current is None:
            current = ServedMetrics.without_models(
                stream,
                alpha=self._platform.alpha_of(stream),
                threshold=self._platform.threshold_of(stream),
                cache=self.cache,
            )
            self._metrics[stream.name] = current
        if version is None or current.version == version:
            return
        loaded = self._guarded(stream, DETECTOR, version, lambda: self._load(stream, version))
        if loaded is None:
            return
        self._warm(loaded, current)
        self._metrics[stream.name] = loaded
        self.swaps += 1
        if current.version is not None:
            self.cache.drop(stream.name, current.version)

    def _load(self, stream: MetricStream, version: int) -> ServedMetrics:
        record = self._record(stream, DETECTOR, version)
        return ServedMetrics.of(
            stream,
            version,
            self._open(record),
            threshold=self._platform.threshold_of(stream),
            cache=self.cache,
        )

    def _warm(self, fresh: ServedMetrics, current: ServedMetrics) -> None:
        """Read the models that are in use now; at the start, as many as the warm share holds."""
        if fresh.version is None:
            return
        in_use = set()
        if current.version is not None:
            in_use = {slot for _, _, slot in self.cache.keys_of(fresh.stream.name, current.version)}
        wanted = [
            fresh.series[key]
            for key, entry in current.series.items()
            if entry.slot in in_use and key in fresh.series
        ] or list(fresh.series.values())
        room = self.cache.budget_bytes * _WARM_SHARE
        for entry in wanted:
            if not in_use and self.cache.bytes_held > room:
                return
            if entry.slot is None:
                continue
            key = (fresh.stream.name, fresh.version, entry.slot)
            if not self.cache.warm(key, lambda entry=entry: fresh.load(entry)):  # type: ignore[misc]
                return

    def _renew_scans(self, stream: ScanStream, version: int | None) -> None:
        current = self._scans.setdefault(stream.name, ServedScans(None, None, None))
        if version is None or current.version == version:
            return
        loaded = self._guarded(
            stream, stream.scored_by, version, lambda: self._load_scans(stream, version)
        )
        if loaded is not None:
            self._scans[stream.name] = loaded
            self.swaps += 1

    def _load_scans(self, stream: ScanStream, version: int) -> ServedScans:
        from anomaly_platform.ml.barcode_bundles import read_set

        record = self._record(stream, stream.scored_by, version)
        available = tuple(dict.fromkeys((*_SCAN_COLUMNS, *stream.features.names)))

        def folder(detector: str, one: int) -> Path:
            return self._folder(self._record(stream, detector, one))

        return ServedScans(version, record.digest, read_set(folder, version, available=available))

    def _guarded(
        self, stream: Stream, detector: str, version: int, load: Callable[[], Loaded]
    ) -> Loaded | None:
        """Load, or keep what serves and say why."""
        try:
            loaded = load()
        except (ValueError, OSError, LookupError) as error:
            problem = LoadProblem(stream.name, detector, version, str(error))
            _log.error("%s %s %d cannot serve: %s", stream.name, detector, version, error)
            self.problems[stream.name] = problem
            for told in self._on_problem:
                told(problem)
            return None
        self.problems.pop(stream.name, None)
        return loaded

    def _record(self, stream: Stream, detector: str, version: int) -> BundleRecord:
        record = self._platform.warehouse.bundles.get(stream.name, detector, version)
        if record is None or record.path is None:
            raise LookupError(f"the index has no files of {stream.name} {detector} {version}")
        return record

    def _open(self, record: BundleRecord) -> Bundle:
        from anomaly_platform.ml.bundle import open_bundle

        return open_bundle(self._folder(record), expected_digest=record.digest)

    def _folder(self, record: BundleRecord) -> Path:
        cache = self._platform.settings.home / "cache"
        return self._platform.lake.fetch_folder(record.path or "", cache)
