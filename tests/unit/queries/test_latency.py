"""Quantiles of counted latencies, and which routes are called slow."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_platform.queries.latency import look_at_latency
from anomaly_platform.storage.tables.prediction_latency import Latency, class_of, together


def counted(seconds: list[float]) -> Latency:
    found = Latency()
    for one in seconds:
        end = class_of(one)
        found.counts[end] = found.counts.get(end, 0) + 1
    return found


def test_a_quantile_is_known_to_half_its_value() -> None:
    seconds = np.random.default_rng(1).lognormal(-5, 1, 20_000)
    found = counted(seconds.tolist())
    for share in (0.5, 0.95, 0.99):
        assert found.quantile(share) == pytest.approx(np.quantile(seconds, share), rel=0.5)


def test_quantiles_at_the_ends() -> None:
    assert Latency().quantile(0.95) is None
    assert counted([0.0001]).quantile(1.0) == 0.0001
    endless = counted([600.0]).quantile(0.99)
    assert endless == 10.0


def test_a_route_of_which_one_request_in_twenty_is_late_is_slow() -> None:
    found = {
        ("iiot", "/predict"): counted([0.003] * 2_000),
        ("iiot", "/predict/batch"): counted([0.003] * 185 + [0.4] * 15),
        ("ems", "/detect"): counted([0.9] * 99),  # too few to tell
        ("barcode", "/barcode/detect"): counted([0.98] * 200),
    }
    look = look_at_latency(found, {"iiot": 0.1, "ems": 0.1, "barcode": 1.0})
    (told,) = look.slow
    assert told.startswith("/predict/batch of iiot: p95 ")
    assert told.endswith("in 200 requests, 100 ms is the target")
    # All routes together are in time, and hide that one.
    all_of_iiot = together(latency for (stream, _), latency in found.items() if stream == "iiot")
    assert (all_of_iiot.quantile(0.95) or 1.0) < 0.1
    assert look.seen.endswith("in 2,499 requests")


def test_no_request_is_no_news() -> None:
    look = look_at_latency({}, {"iiot": 0.1})
    assert (look.slow, look.seen, look.p95) == ([], "no scoring request", None)
