"""Training a few series: the others, and what is said of them, stay as they were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from anomaly_platform.cli.runtime import RunFailedError, Runtime
from anomaly_platform.cli.streams.run import run_stream
from anomaly_platform.kinds.metric.bundles import open_version
from anomaly_platform.kinds.metric.training import rebase
from anomaly_platform.ml.series_model.model import has_shapes_of_today
from anomaly_platform.ml.training import extending
from anomaly_platform.platform import DETECTOR
from anomaly_platform.streams import EMS
from tests.builders.platforms import Drop, Keep, Kept
from tests.builders.readings import readings
from tests.integration.metric_models import train

pytestmark = pytest.mark.integration

MODEL = EMS.key(f"{DETECTOR}_model")
COLUMNS = ("entity", "metric", "event_time", "score", "is_anomaly")


def retrain(runtime: Runtime, *series: tuple[str, str], **config: Any) -> None:
    asked = {"series": [list(key) for key in series], **config}
    runtime.materialize([MODEL], {}, {"ops": {"__".join(MODEL): {"config": asked}}})


@pytest.fixture(scope="module")
def trained(keep: Keep) -> Kept:
    def fill(runtime: Runtime, drop: Drop) -> None:
        drop(EMS, "a.csv", pl.concat([readings(EMS, "host-1", m, days=4) for m in ("cpu", "disk")]))
        drop(EMS, "b.csv", readings(EMS, "host-02", days=4))
        run_stream(runtime, EMS, Console(quiet=True))

    return keep(fill)


def test_only_the_asked_series_are_trained_and_the_record_says_so(
    served: Runtime, drop: Drop
) -> None:
    bundles = served.platform.warehouse.bundles
    drop(EMS, "later.csv", readings(EMS, "host-1", days=1, first=4, spread=3.0))
    run_stream(served, EMS, Console(quiet=True), train=False)
    retrain(served, ("host-1", "cpu"), cause="drift", reason="PSI 0.4", window_days=2)
    parts = served.platform.kind(EMS).parts
    first, second = (open_version(parts, version) for version in (1, 2))
    changed = first.series.join(second.series, on=["entity", "metric"]).filter(
        pl.col("digest") != pl.col("digest_right")
    )
    assert changed.select("entity", "metric").rows() == [("host-1", "cpu")]
    assert changed["rows_right"].item() == 2 * 288 + 1
    record = bundles.get("ems", DETECTOR, 2)
    assert record is not None
    assert (record.status, record.parent) == ("challenger", 1)
    assert record.parameters["cause"] == "drift"
    assert record.parameters["reason"] == "PSI 0.4"
    assert record.parameters["run_id"]
    with served.platform.warehouse.transactions.begin() as connection:
        ages = connection.execute(
            "SELECT device_id, metric_name FROM ml_models WHERE bundle_version = 2 "
            "AND trained_at = (SELECT trained_at FROM bundles WHERE stream = 'ems' "
            "AND version = 2)"
        ).fetchall()
    assert ages == [("host-1", "cpu")]


def test_an_unknown_series_is_named_and_nothing_is_trained(served: Runtime) -> None:
    with pytest.raises(RunFailedError, match="never seen the series host-9/cpu"):
        retrain(served, ("host-9", "cpu"), ("host-1", "cpu"))
    with pytest.raises(RunFailedError, match="no pair"):
        served.materialize(
            [MODEL], {}, {"ops": {"__".join(MODEL): {"config": {"series": [["host-1"]]}}}}
        )
    assert len(served.platform.warehouse.bundles.all("ems", DETECTOR)) == 1


def test_without_a_champion_every_series_is_trained(runtime: Runtime, drop: Drop) -> None:
    drop(EMS, "a.csv", pl.concat([readings(EMS, "host-1", m, days=3) for m in ("cpu", "disk")]))
    run_stream(runtime, EMS, Console(quiet=True), train=False)
    version, bundle = train(runtime.platform, EMS, series=[("host-1", "cpu")])
    assert bundle.series["metric"].to_list() == ["cpu", "disk"]
    record = runtime.platform.warehouse.bundles.get("ems", DETECTOR, version)
    assert record is not None
    assert record.parent is None


def test_beside_a_parent_of_before_only_who_was_asked_for_has_the_short_window(
    served: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its arrays lack what models have today, so that every series is trained."""

    def of_before(shapes: Mapping[str, tuple[int, ...]]) -> bool:
        return has_shapes_of_today({n: s for n, s in shapes.items() if n != "inputs/quiet_units"})

    monkeypatch.setattr(extending, "has_shapes_of_today", of_before)
    served.platform.warehouse.series.begin_anew(
        "ems", timedelta(days=2), [("host-02", "cpu")], trained_until=None
    )
    version, bundle = train(served.platform, EMS, series=[("host-1", "cpu")], window_days=3)
    record = served.platform.warehouse.bundles.get("ems", DETECTOR, version)
    assert record is not None
    assert record.parent is None
    assert {(one["entity"], one["metric"]): one["rows"] for one in bundle.series.to_dicts()} == {
        ("host-1", "cpu"): 3 * 288 + 1,
        ("host-1", "disk"): 4 * 288,
        ("host-02", "cpu"): 2 * 288 + 1,
    }


def test_a_rebased_challenger_gives_way_to_what_replaces_it(served: Runtime) -> None:
    platform, bundles = served.platform, served.platform.warehouse.bundles
    challenger, _ = train(platform, EMS, series=[("host-1", "cpu")], window_days=2)
    meanwhile, _ = train(platform, EMS, window_days=3)
    bundles.promote_set("ems", {DETECTOR: meanwhile}, "trained in full")
    version, bundle = rebase(platform.kind(EMS).parts, challenger, meanwhile)
    old, new = bundles.get("ems", DETECTOR, challenger), bundles.get("ems", DETECTOR, version)
    assert old is not None
    assert new is not None
    assert (old.status, new.status, new.parent) == ("rejected", "challenger", meanwhile)
    # The stream was tuned since: what is made of a parent has the parent's settings.
    tuned = replace(EMS, alpha=0.2, contamination=0.3, tuning=7)
    partial, _ = train(platform, tuned, series=[("host-1", "cpu")])
    child = bundles.get("ems", DETECTOR, partial)
    assert child is not None
    assert child.parent == meanwhile
    assert "tuning" not in child.parameters
    assert child.parameters["contamination"] != 0.3
    assert old.reason == f"set on a newer champion as version {version}"
    parts = platform.kind(EMS).parts
    donor, parent = (open_version(parts, v) for v in (challenger, meanwhile))
    for key, origin in ((("host-1", "cpu"), donor), (("host-02", "cpu"), parent)):
        there, here = (b.arrays(b.slot(*key) or 0) for b in (origin, bundle))
        assert all(there[name].tobytes() == here[name].tobytes() for name in there)
