"""What a backtest says of a time at which several metrics are flagged."""

import polars as pl

from anomaly_platform.ml.backtest.explained import reasons_of


def test_the_most_unusual_metric_has_its_reason_first() -> None:
    frame = pl.DataFrame(
        {
            "event_time": [1, 1, 1, 1, 2, 3, 4],
            "metric": ["cpu", "mem", "net", "requests", "cpu", "cpu", "cpu"],
            "score": [0.2, 0.3, None, 0.99, 0.1, 0.3, 0.3],
            "reason": ["apart", None, "silent", "beyond", None, "never so low", "never so low"],
            "is_anomaly": [True, True, True, True, False, False, False],
            "entity_is_anomaly": [True, True, True, True, False, False, False],
            "is_call": [False, False, False, False, False, True, True],
            # Of a host its own decision counts.
            "entity_is_call": [None, None, None, None, None, None, False],
        }
    )
    told = frame.group_by("event_time").agg(reason=reasons_of(4)).sort("event_time")
    assert told["reason"].to_list() == [
        "requests: beyond; cpu: apart; net: silent",
        None,
        "cpu: never so low",
        None,
    ]
    single = frame.group_by("event_time").agg(reason=reasons_of(1)).sort("event_time")
    assert single["reason"].to_list() == ["beyond; apart; silent", None, "never so low", None]
