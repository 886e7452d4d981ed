"""Rows to learn from and rows to be judged on, with injected anomalies among these.

A unit of judgement is a stretch of time of one entity: what happens to its metrics at once is one
piece of evidence, not many. The last fifth of each series is judged, as everywhere on the platform.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import polars as pl

from anomaly_platform.ml.detectors.base import derive_seed
from anomaly_platform.ml.evaluation.injection import inject, robust_scale
from anomaly_platform.ml.features.metrics.batch import series_spans
from anomaly_platform.ml.series_model.model import calibration_start

#: Rows of a series that are judged, at least.
FEWEST_JUDGED = 40
#: Stretches of time per entity at least, and of all entities together.
_SEGMENTS = 4
FEWEST_UNITS = 16
#: Rows of a stretch at least, so that an anomaly fits in.
_SEGMENT_ROWS = 10
#: Share of judged rows that injected anomalies take.
_INJECTED_SHARE = 0.1
#: Sizes of the anomalies of each round in turn: settings that only find what is glaring are not to
#: win. Short series have more rounds, until so many rows were judged.
_SIZES = (1.0, 0.5)
_ENOUGH_ROWS = 1500
_MOST_ROUNDS = 4

SERIES = ("entity", "metric")


class TooLittleDataError(ValueError):
    """There is too little to search on; the text says how much there is and is needed."""


@dataclass(frozen=True)
class HeldOut:
    """Series, the newest rows of which are judged.

    Attributes
    ----------
    rows
        ``entity``, ``metric``, ``event_time``, ``value``, ``known`` (a known anomaly), ``judged``,
        ``unit``; sorted by series and time.
    rounds
        The values and truths of the judged rows with anomalies in them, one frame a round, with
        the columns ``value`` and ``truth`` and a row per row of `rows`.
    units
        How many stretches of time are told apart; ``unit`` counts them.
    entities
        In the order in which a search takes them.
    """

    rows: pl.DataFrame
    rounds: tuple[pl.DataFrame, ...]
    units: int
    entities: tuple[str, ...]

    @classmethod
    def of(cls, rows: pl.DataFrame, *, seed: int, min_samples: int) -> Self:
        """Split series and inject anomalies into what is judged.

        Parameters
        ----------
        rows
            ``entity``, ``metric``, ``event_time``, ``value`` (null = missing), ``known``.
        seed
            Of the injected anomalies and of the entities' order.
        min_samples
            Rows that a series needs to be learned from; those with fewer are left out, as
            are those too short for an anomaly to fit into each of their stretches of time.

        Raises
        ------
        TooLittleDataError
            When there is nothing left, or too little for a comparison to mean anything.
        """
        rows = rows.sort(*SERIES, "event_time")
        judged = np.zeros(rows.height, dtype=np.bool_)
        stretch = np.zeros(rows.height, dtype=np.int64)
        kept = np.zeros(rows.height, dtype=np.bool_)
        ordinary = (rows["value"].is_not_null() & ~rows["known"]).to_numpy()
        fits = {
            (begin, end): begin + calibration_start(end - begin)
            for _, begin, end in series_spans(rows)
            if end - begin >= 2
        }
        usable = {
            span: start
            for span, start in fits.items()
            if ordinary[span[0] : start].sum() >= min_samples and span[1] - start >= FEWEST_JUDGED
        }
        if not usable:
            longest = max((end - begin for begin, end in fits), default=0)
            needed = max(round(min_samples / 0.8), FEWEST_JUDGED * 5)
            raise TooLittleDataError(
                f"too little data: the longest series has {longest:,} rows to search on or to "
                f"compare with, and {needed:,} are needed"
            )
        usable, segments = _long_enough(rows, usable)
        for (begin, end), start in usable.items():
            kept[begin:end] = True
            judged[start:end] = True
            stretch[start:end] = np.arange(end - start) * segments // (end - start)
        whole = rows.with_columns(judged=judged, unit=stretch).filter(pl.Series(kept))
        order = whole["entity"].unique().sort().shuffle(seed).to_list()
        place = pl.DataFrame({"entity": order, "place": range(len(order))})
        whole = whole.join(place, on="entity", maintain_order="left").with_columns(
            unit=pl.col("place") * segments + pl.col("unit")
        )
        return cls(whole.drop("place"), _rounds(whole, seed), len(order) * segments, tuple(order))

    def only(self, entities: Collection[str]) -> Self:
        """Return the rows of some entities; units keep their numbers."""
        chosen = self.rows["entity"].is_in(list(entities))
        rounds = tuple(one.filter(chosen) for one in self.rounds)
        return replace(self, rows=self.rows.filter(chosen), rounds=rounds)


def _long_enough(
    rows: pl.DataFrame, usable: dict[tuple[int, int], int]
) -> tuple[dict[tuple[int, int], int], int]:
    """Return the spans that all stretches of time fit in, and how many an entity has.

    What is left out leaves fewer entities, each of which then has more stretches.
    """
    longest = max(end - start for (_, end), start in usable.items())
    while usable:
        number = rows[[begin for begin, _ in usable]]["entity"].n_unique()
        segments = max(_SEGMENTS, -(-FEWEST_UNITS // number))
        least = segments * _SEGMENT_ROWS
        fit = {span: start for span, start in usable.items() if span[1] - start >= least}
        if len(fit) == len(usable):
            return usable, segments
        usable = fit
    raise TooLittleDataError(
        f"too little data: with {number} entities, {least:,} rows of each series have to be "
        f"judged, and the longest has {longest:,}"
    )


def before_judged(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of each series before those that are judged when all rows are split."""
    ordered = rows.sort(*SERIES, "event_time")
    kept = np.zeros(ordered.height, dtype=np.bool_)
    for _, begin, end in series_spans(ordered):
        kept[begin : begin + calibration_start(end - begin)] = True
    return ordered.filter(pl.Series(kept))


def _rounds(rows: pl.DataFrame, seed: int) -> tuple[pl.DataFrame, ...]:
    """Return values and truths of several rounds; known anomalies are true in all of them."""
    values = rows["value"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    judged, known = rows["judged"].to_numpy(), rows["known"].to_numpy()
    spans = list(series_spans(rows))
    typical = int(np.median([judged[begin:end].sum() for _, begin, end in spans]))
    found = []
    for number in range(min(_MOST_ROUNDS, max(len(_SIZES), _ENOUGH_ROWS // typical))):
        changed, truth = values.copy(), known & judged
        for key, begin, end in spans:
            start = begin + int(np.argmax(judged[begin:end]))
            injection = inject(
                values[start:end],
                seed=derive_seed(seed, *key, str(number)),
                rate=_INJECTED_SHARE,
                scale=robust_scale(values[begin:start]) * _SIZES[number % len(_SIZES)],
            )
            changed[start:end] = injection.values
            truth[start:end] |= injection.labels
        reading = pl.Series("value", changed).fill_nan(None)
        found.append(pl.DataFrame({"value": reading, "truth": truth}))
    return tuple(found)
