"""Computes scan features event by event, from a bounded state per EPC.

The state is the EPC's history in the sense of `definition`, no more: at most 64 scans, none further
back than 720 h from the newest. Features come from the same code as the batch's, over the state's
scans and the new ones, so they are the same bits. An event that arrives late gets the features of
its place as far as the state still knows it; the batch, which sees everything, is final.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from anomaly_platform.ml.features.scans.batch import compute
from anomaly_platform.ml.features.scans.definition import ScanFeatureSet
from anomaly_platform.ml.features.scans.names import LOOKBACK_HOURS, MAX_HISTORY
from anomaly_platform.ml.frames import IntoDataFrame, to_polars

_TEXTS = ("event_id", "location_id", "business_step", "event_type")
_REACH_US = LOOKBACK_HOURS * 3_600_000_000
HISTORY_SCHEMA = pl.Schema(
    {
        "entity": pl.String(),
        "event_time": pl.Datetime("us", "UTC"),
        **{name: pl.String() for name in _TEXTS},
    }
)


@dataclass(frozen=True)
class ScanState:
    """What is remembered of one EPC: its last scans, in order.

    Attributes
    ----------
    scans
        At most 64 tuples (microseconds since 1970, event_id, location_id, business_step,
        event_type), ascending.
    """

    scans: tuple[tuple[int, str, str | None, str | None, str | None], ...] = ()

    def with_scans(self, rows: pl.DataFrame) -> ScanState:
        """Add the scans of one EPC; a repeated event (same time and id) replaces the former."""
        new = zip(
            rows["event_time"].dt.epoch("us").to_list(),
            *(rows[name].to_list() for name in _TEXTS),
            strict=True,
        )
        known = {scan[:2]: scan for scan in (*self.scans, *new)}
        newest = sorted(known)[-MAX_HISTORY - 1 :]
        return ScanState(tuple(known[k] for k in newest if k[0] > newest[-1][0] - _REACH_US))


def history_frame(
    states: Mapping[str, ScanState], without: Collection[tuple[str, int, str]] = ()
) -> pl.DataFrame:
    """Lay out the scans of several states as look-back rows of the canonical columns.

    Scans whose code, microseconds and event id are in `without` are left out.
    """
    rows = [
        (epc, *scan)
        for epc, state in states.items()
        for scan in state.scans
        if (epc, *scan[:2]) not in without
    ]
    columns = zip(*rows, strict=True) if rows else [()] * len(HISTORY_SCHEMA)
    return pl.DataFrame(
        [
            pl.Series(name, values, dtype=dtype if dtype == pl.String else pl.Int64).cast(dtype)
            for (name, dtype), values in zip(HISTORY_SCHEMA.items(), columns, strict=True)
        ]
    )


def with_history(states: Mapping[str, ScanState], events: pl.DataFrame) -> pl.DataFrame:
    """Put the states' scans of the events' EPCs before the events.

    Returns
    -------
    polars.DataFrame
        The events' columns (null in look-back rows where a state does not know them) and
        `is_lookback`. Scans that come again are taken from the events.
    """
    codes, times = events["entity"].to_list(), events["event_time"].cast(pl.Int64)
    again = set(zip(codes, times.to_list(), events["event_id"].to_list(), strict=True))
    wanted = {epc: states[epc] for epc in sorted(set(codes)) if epc in states}
    history = history_frame(wanted, without=again)
    together = pl.concat([history, events], how="diagonal")
    earlier = np.arange(together.height) < history.height
    return together.hstack([pl.Series("is_lookback", earlier)])


def extend(
    feature_set: ScanFeatureSet, states: Mapping[str, ScanState], events: IntoDataFrame
) -> tuple[pl.DataFrame, dict[str, ScanState]]:
    """Compute the features of new events and the states after them.

    Parameters
    ----------
    feature_set
        What to compute.
    states
        State per EPC; an EPC without one begins.
    events
        Canonical scans, in any order, of any number of EPCs.

    Returns
    -------
    tuple of polars.DataFrame and dict
        The events with their features, by EPC, time and id; the new state of every EPC in it.
    """
    frame = to_polars(events)
    together = compute(
        feature_set.time_zone,
        with_history(states, frame),
        code_pattern=feature_set.code_pattern,
    )
    features = together.filter(~pl.col("is_lookback")).drop("is_lookback")
    after = {
        str(epc): states.get(str(epc), ScanState()).with_scans(rows)
        for (epc,), rows in features.group_by("entity", maintain_order=True)
    }
    return features.select(
        *frame.drop(*feature_set.names, strict=False).columns, *feature_set.names
    ), after


def step(
    feature_set: ScanFeatureSet, state: ScanState, event: Mapping[str, object]
) -> tuple[dict[str, object], ScanState]:
    """Compute the features of one event: a canonical row in, features and the new state out."""
    texts = {name: event.get(name) for name in ("entity", *_TEXTS)}
    row = pl.DataFrame([{**texts, "event_time": event["event_time"]}], schema=HISTORY_SCHEMA)
    features, after = extend(feature_set, {str(event["entity"]): state}, row)
    return features.select(feature_set.names).row(0, named=True), after[str(event["entity"])]
