"""Scoring feature frames with a bundle: per series, and per entity over its series.

What a row says (`status`):

`trained`
    A model scored it: `raw_score`, `p_value`, `score` and `is_anomaly` are there.
`missing_value`
    The reading has no value, so it is neither normal nor anomalous.
`insufficient_history`
    No model, since the series is too short or new; or a model, but too few rows before the
    reading for it to speak (`ml.series_model.model.required_history`), as in a series' first hours
    and after a long gap. From 30 readings of history on, the statistical fallback gives a score,
    where there is a model the lower of both; below that a model judges by the reading's place
    alone. A large score is an anomaly, a small one is *not* "normal": `is_anomaly` is then null,
    as it is without any score.
`failed`
    Training failed; the fallback stands in the same way.

`z_score`, `iqr_score` and `mad_score` stand beside every reading with history enough.

The entity's score at a time (`entities`) is the same on every row of that entity and time, and
covers the trained series that have a reading then. An entity of one trained series has nothing to
fuse: its score is that series' own. Where the bundle knows how an entity's metrics move together
(`host_model`), that ranks its rows on either side of the standard threshold.

`is_call` is the decision to tell somebody of a reading, `entity_is_call` that of the entity at its
time (`calls`). `reason` says why a row is flagged, a call, or a cause of its entity's score.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from queue import LifoQueue
from typing import NamedTuple

import numpy as np
import polars as pl
from polars import thread_pool_size

from anomaly_platform.ml.bundles.bundle import Bundle
from anomaly_platform.ml.calibration.conformal import score_of_p
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.frames import IntoDataFrame, to_polars
from anomaly_platform.ml.host_model.bundled import Hosts
from anomaly_platform.ml.host_model.model import HostModel
from anomaly_platform.ml.scoring.apart import Apart, heard, name_causes
from anomaly_platform.ml.scoring.call_states import VISITED, CallStates
from anomaly_platform.ml.scoring.calls import FIRST, calls_of, rate_of, take
from anomaly_platform.ml.scoring.checking import feature_set_of, read_series
from anomaly_platform.ml.scoring.entities import EntityEvidence
from anomaly_platform.ml.scoring.explaining.told import by_innovation
from anomaly_platform.ml.scoring.explaining.words import Role
from anomaly_platform.ml.scoring.online import Key, OnlineScorer
from anomaly_platform.ml.scoring.reasons import novelty_reason
from anomaly_platform.ml.scoring.scored_columns import (
    INSUFFICIENT,
    MISSING,
    STATUSES,
    FeatureTable,
    ScoredColumns,
    status_code,
)
from anomaly_platform.ml.scoring.shared_calibrations import SharedCalibrations
from anomaly_platform.ml.series_model.model import SeriesModel
from anomaly_platform.ml.series_model.visited import SINCE
from anomaly_platform.ml.series_runs.run_states import RunStates
from anomaly_platform.ml.threads import in_order
from anomaly_platform.ml.times import microseconds_of

_OF_SERIES = [
    *("entity", "metric", "status", "slot", "pool_index", "entity_index", "threshold", "last_time")
]
#: Models held ready by a scorer, least recently used out first (about 240 KB each).
DEFAULT_MODELS_HELD = 512
#: Threads at most: about half of the work is Python's and holds its lock.
_THREADS = 4


class _Work(NamedTuple):
    """What a thread works on: a scorer, the frame, and where it writes what it finds."""

    scorer: OnlineScorer
    table: FeatureTable
    result: ScoredColumns
    runs: RunStates | None
    past: RunStates
    calls: CallStates


class FleetScorer:
    """Scores feature frames with one bundle.

    Parameters
    ----------
    bundle
        The models; it stays open as long as the scorer is used.
    threshold
        Overrides the bundle's threshold, in (0, 1).
    thresholds
        Thresholds in [0, 1] of single series by (entity, metric), which override all others.
    models_held
        Models held in memory at most.
    deleted
        Series whose models were taken out of service: they are unknown, as without a model.

    Raises
    ------
    ValueError
        When the bundle was trained on features that this code no longer computes.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        threshold: float | None = None,
        thresholds: Mapping[tuple[str, str], float] | None = None,
        models_held: int = DEFAULT_MODELS_HELD,
        deleted: Collection[tuple[str, str]] = (),
    ) -> None:
        manifest = bundle.manifest
        self.bundle = bundle
        self.feature_set = feature_set_of(bundle)
        self.alpha = float(manifest["hyper_parameters"]["alpha"])
        self.threshold = threshold
        self.thresholds = dict(thresholds or {})
        self._default_threshold = float(manifest["hyper_parameters"]["threshold"])
        self._series = {
            (row["entity"], row["metric"]): row
            for row in bundle.series.select(_OF_SERIES).iter_rows(named=True)
        }
        # Before any is left out: what the calibration of an entity was fitted to.
        self._trained_series = Counter(
            entity for (entity, _), row in self._series.items() if row["slot"] is not None
        )
        for key in deleted:
            self._series.pop(key, None)
        self._pools = SharedCalibrations(bundle, "pool")
        self._entities = SharedCalibrations(bundle, "entity")
        self._hosts = Hosts(bundle)
        self._value = self.feature_set.names.index("value")
        self._free = self._scorers(models_held)

    @classmethod
    def without_models(
        cls,
        feature_set: MetricFeatureSet,
        *,
        alpha: float,
        threshold: float,
        thresholds: Mapping[tuple[str, str], float] | None = None,
    ) -> FleetScorer:
        """Return a scorer for a stream in which nothing serves yet: every series is unknown to it.

        Parameters
        ----------
        feature_set
            What the frames' columns are.
        alpha
            Share of normal readings in (0, 1) that may lie above the standard threshold.
        threshold
            Score from which a reading is an anomaly, in (0, 1).
        thresholds
            Those of single series, by (entity, metric).
        """
        scorer = cls.__new__(cls)
        scorer.feature_set = feature_set
        scorer.alpha = alpha
        scorer.threshold = threshold
        scorer.thresholds = dict(thresholds or {})
        scorer._default_threshold = threshold
        scorer._series = {}
        scorer._trained_series = Counter()
        scorer._value = feature_set.names.index("value")
        scorer._free = scorer._scorers(DEFAULT_MODELS_HELD)
        return scorer

    def _scorers(self, models_held: int) -> LifoQueue[OnlineScorer]:
        """Return what judges readings, one for each thread: none is for two at the same time."""
        threads = min(thread_pool_size(), _THREADS)
        held = max(1, models_held // threads)
        if self._trained_series.total() > models_held:
            # Frames come in the order of their series: none is in memory when it comes again.
            held = min(held, max(self._trained_series.values()))
        scorers = LifoQueue[OnlineScorer]()
        for _ in range(threads):
            scorers.put(OnlineScorer(self, models_held=held))
        return scorers

    def status(self, entity: str, metric: str) -> str:
        """Return what the bundle says of a series: `trained`, `insufficient_history`, `failed`."""
        return STATUSES[status_code(self._series.get((entity, metric)))]

    def load_model(self, entity: str, metric: str) -> SeriesModel | None:
        """Read a series' model, None where the bundle has none for it."""
        row = self._series.get((entity, metric))
        if row is None or row["slot"] is None:
            return None
        model = read_series(self.bundle, self.feature_set, row["slot"], f"{entity} {metric}")
        if row["pool_index"] is not None:
            model = replace(model, calibration=self._pools.at(int(row["pool_index"])))
        return model

    def trained_until(self, entity: str, metric: str) -> int | None:
        """Return when a series' newest training reading was, microseconds since 1970.

        None of a series that is not known.
        """
        known = self._series.get((entity, metric))
        last: datetime | None = None if known is None else known["last_time"]
        return None if last is None else microseconds_of(last)

    def score(
        self,
        features: IntoDataFrame,
        runs: RunStates | None = None,
        calls: CallStates | None = None,
    ) -> pl.DataFrame:
        """Return the rows with the columns that scoring adds; features and all others are kept.

        Parameters
        ----------
        features
            A feature frame (`MetricFeatureSet.compute`), sorted by series and time. For the
            entity's scores it must hold all series of an entity for the times in it.
        runs
            States of the series' runs before the first row; the rows are folded into them. None
            judges no runs.
        calls
            States of calls of this scorer; as `runs`, by default without a past.

        Raises
        ------
        ValueError
            When a column is missing or a series is not contiguous.
        """
        frame = to_polars(features)
        table = FeatureTable.of(frame, self.feature_set)
        result = ScoredColumns.empty(frame.height)
        blocks: dict[str, list[tuple[str, slice]]] = {}
        past = RunStates() if runs is None else runs.copy()
        calls = CallStates() if calls is None else calls
        for (entity, metric), rows in table.series():
            blocks.setdefault(entity, []).append((metric, rows))

        def all_of(entity: str) -> None:
            # Before the next one, so that models are read once, however many are held.
            scorer = self._free.get()
            try:
                work = _Work(scorer, table, result, runs, past, calls)
                for metric, rows in blocks[entity]:
                    self._score_series((entity, metric), rows, work)
                self._score_entity(entity, blocks[entity], work)
                self._give_reasons(entity, blocks[entity], work)
            finally:
                self._free.put(scorer)

        for _ in in_order(all_of, blocks, most=_THREADS):
            pass
        return frame.with_columns(result.columns())

    def _score_series(self, key: tuple[str, str], rows: slice, work: _Work) -> None:
        scorer, table, result, runs, _, calls = work
        present = table.present[rows]
        known = self._series.get(key)
        threshold = self.thresholds.get(key, self._threshold_of(known))
        result.threshold[rows] = threshold
        result.status[rows] = np.where(present, status_code(known), MISSING)
        # A part of an array costs much less than as many of its places.
        places = rows if present.all() else np.flatnonzero(present) + rows.start
        times = table.times[places]
        if times.size == 0:
            return
        features = np.array([column[places] for column in table.columns])
        if runs is not None:
            columns = runs.take(key, times, features[self._value])
            result.runs[:, places] = columns
            features = np.concatenate((features, columns))
        said = scorer.judge_series(key, times, features, threshold)
        result.z[places], result.iqr[places], result.mad[places] = said.rules
        result.raw[places], result.p[places] = said.raw, said.p_value
        result.alone[places] = said.alone
        result.score[places] = said.score
        result.trained[places] = said.modelled
        result.kinds[places] = said.kinds
        result.decided[places], result.anomaly[places] = said.decided, said.is_anomaly
        rows_of = (times, features[self._value], said.p_value)
        result.call[places], result.novel[places], result.bounds[:, places] = take(
            calls, key, scorer.first_calls, *rows_of, rate_of(threshold, self.alpha)
        )
        if known is not None and known["slot"] is not None:
            result.status[places] = np.where(said.modelled, result.status[places], INSUFFICIENT)
            result.moves[places] = scorer.moves(key)
            result.deepest[key] = scorer.deepest(key)

    def _score_entity(self, entity: str, series: list[tuple[str, slice]], work: _Work) -> None:
        """Write what an entity's series say together, and fold its calls."""
        table, result, calls = work.table, work.result, work.calls
        members = [
            (metric, np.flatnonzero(result.trained[rows]) + rows.start) for metric, rows in series
        ]
        members = [(metric, places) for metric, places in members if places.size]
        if not members:
            return
        row = self._series[entity, members[0][0]]
        evidence = EntityEvidence.align(
            [table.times[places] for _, places in members],
            [result.p[places] for _, places in members],
            [bool(result.moves[places[0]]) for _, places in members],
            self._trained_series[entity],
        ).with_runs(
            [result.alone[places] for _, places in members],
            [result.deepest[entity, metric] for metric, _ in members],
        )
        apart, fused = None, evidence.fused()
        threshold = self.threshold or self._default_threshold
        if self._trained_series[entity] == 1:
            p = result.p[members[0][1]]
            scores = score_of_p(p, self.alpha)
        else:
            calibration = self._entities.at(int(row["entity_index"]))
            p = calibration.p_value(fused)
            scores = score_of_p(p, self.alpha)
            host = self._hosts.of(entity)
            if host is not None:
                apart = self._apart(entity, host.model, series, work)
                p, scores = heard(host, p, fused, apart.at(evidence.times), self.alpha)
        flagged = scores >= threshold
        novel = np.zeros(p.size, dtype=np.bool_)
        for (_, places), clock in zip(members, evidence.places, strict=True):
            novel[clock] |= result.novel[places]
        level, rate = calls.hosts.get(entity, FIRST), rate_of(threshold, self.alpha)
        called, calls.hosts[entity] = calls_of(p, rate, level, novel, metrics=len(members))
        for (_, places), clock in zip(members, evidence.places, strict=True):
            result.entity[places] = scores[clock]
            result.entity_anomaly[places] = flagged[clock]
            result.entity_call[places] = called[clock]
        name_causes(members, evidence, apart, flagged | novel | called, result)

    def _apart(
        self, entity: str, model: HostModel, series: list[tuple[str, slice]], work: _Work
    ) -> Apart:
        """Return which metrics of an entity move apart, from what was before the rows on."""
        found, table = dict(series), work.table
        times, values = [], []
        for metric in model.metrics:
            before = work.past.recent((entity, metric))
            rows = found.get(metric, slice(0, 0))
            present = np.flatnonzero(table.present[rows]) + rows.start
            times.append(np.concatenate((before[0].astype(np.int64), table.times[present])))
            values.append(np.concatenate((before[1], table.columns[self._value][present])))
        known = [metric for metric in model.metrics if (entity, metric) in self._series]
        return Apart.of(model, known, times, values)

    def _give_reasons(self, entity: str, series: list[tuple[str, slice]], work: _Work) -> None:
        """Say why each row is unusual that is told of, or that caused its entity's score."""
        table, result = work.table, work.result
        self._explain(entity, series, work)
        for metric, rows in series:
            for row in (np.flatnonzero(result.novel[rows]) + rows.start).tolist():
                since = work.calls.series[entity, metric].item(VISITED + SINCE)
                reason = result.reasons.get(row, "") if result.anomaly[row] else ""
                result.reasons[row] = novelty_reason(
                    table.columns[self._value].item(row),
                    table.times.item(row),
                    since,
                    result.bounds[:, row],
                    reason,
                    trained_until=self.trained_until(entity, metric),
                )

    def _explain(self, entity: str, series: list[tuple[str, slice]], work: _Work) -> None:
        """Explain the rows of an entity that are flagged, calls, or that caused its score.

        What is only novel is left out: its range is the reason.
        """
        table, result = work.table, work.result
        keys: list[Key] = []
        places = []
        for metric, rows in series:
            told = result.anomaly[rows] | (
                (result.call[rows] | result.caused[rows]) & ~result.novel[rows]
            )
            places.append(np.flatnonzero(told) + rows.start)
            keys += [(entity, metric)] * places[-1].size
        if not keys:
            return
        wanted = np.concatenate(places)
        features = np.array([column[wanted] for column in table.columns])
        features = np.concatenate((features, result.runs[:, wanted]))
        below = np.where(result.call[wanted], Role.CALL, Role.CAUSE)
        roles = np.where(result.anomaly[wanted], Role.ANOMALY, below)
        explained = work.scorer.explain(
            *(keys, table.times[wanted], features, result.kinds[wanted]),
            *(result.threshold[wanted], roles),
        )
        for row, role, one in zip(wanted.tolist(), roles.tolist(), explained, strict=True):
            if row in result.reasons and role == Role.CAUSE:
                result.explanations[row] = by_innovation(one)
            else:
                result.explanations[row], result.reasons[row] = one.explanation, one.reason

    def _threshold_of(self, known: dict[str, object] | None) -> float:
        if self.threshold is not None:
            return self.threshold
        if known is None:
            return self._default_threshold
        return float(known["threshold"])  # type: ignore[arg-type]
