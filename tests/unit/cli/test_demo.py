"""What the demo says of its pictures."""

from __future__ import annotations

import polars as pl

from anomaly_platform.cli.demo import _about_odd, events_found

SCANS = pl.DataFrame(
    {
        "epc_code": [
            f"001.8804823.0000003.00000{lot}.20241201.{n:09d}" for lot in "1223" for n in (1, 2)
        ],
        "label": [True] * 6 + [False] * 2,
        "anomaly_kind": ["epcFake"] * 2 + ["unused_route"] * 4 + [None] * 2,
    }
)


def test_the_picture_of_scans_says_of_how_many_lots_the_merely_odd_ones_are() -> None:
    said = _about_odd(SCANS)
    assert said.startswith("4 of the 6 labelled scans break no rule. Their lots (1) are only odd")
    assert _about_odd(SCANS.filter(anomaly_kind="epcFake")) == ""


def test_what_is_done_to_a_lot_is_one_event_and_what_is_done_to_codes_is_one_each() -> None:
    flagged = SCANS.with_columns(is_anomaly=pl.Series([True] + [False] * 7))
    assert sorted(events_found(flagged)) == [False] * 3 + [True]
    of_lots = flagged.with_columns(
        anomaly_kind=pl.col("anomaly_kind").replace("unused_route", "diverted_pallet")
    )
    assert sorted(events_found(of_lots)) == [False] * 2 + [True]
