"""Challengers are judged: good ones serve, bad ones are told of and change nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from anomaly_platform.cli.runtime import RunFailedError, Runtime
from anomaly_platform.cli.streams.run import run_stream
from anomaly_platform.kinds.metric import training as training_module
from anomaly_platform.platform import DETECTOR
from anomaly_platform.streams import EMS
from tests.builders.platforms import Drop, Keep, Kept
from tests.builders.readings import PER_DAY, daily_cycle, file_of, readings
from tests.builders.tables import rows_of
from tests.integration.metric_models import train

pytestmark = pytest.mark.integration

CHAMPION = EMS.key("champion")


def poisoned(entity: str, share: float, *, label: bool = False) -> pl.DataFrame:
    """Return days 4 to 7 of a host, a share of whose readings is anything at all."""
    rng = np.random.default_rng([4, len(entity)])
    values = daily_cycle(4 * PER_DAY, rng)
    hit = rng.random(values.size) < share
    values[hit] = rng.uniform(-200, 300, hit.sum())
    frame = file_of(EMS, entity, "cpu", values, first=4 * PER_DAY)
    return frame.with_columns(is_anomaly=pl.Series(hit)) if label else frame


@pytest.fixture(scope="module")
def trained(keep: Keep) -> Kept:
    def fill(runtime: Runtime, drop: Drop) -> None:
        hosts = (readings(EMS, host, days=4) for host in ("host-1", "host-02"))
        drop(EMS, "a.csv", pl.concat(hosts))
        run_stream(runtime, EMS, Console(quiet=True))

    return keep(fill)


def materialize_champion(runtime: Runtime) -> dict[str, Any]:
    result = runtime.materialize([CHAMPION], {})
    (event,) = [
        e for e in result.get_asset_materialization_events() if e.asset_key.path == CHAMPION
    ]
    return dict(event.step_materialization_data.materialization.metadata)


def test_poisoned_data_does_not_replace_the_champion_and_somebody_is_told(
    served: Runtime, drop: Drop
) -> None:
    warehouse = served.platform.warehouse
    bundles = warehouse.bundles
    for entity in ("host-1", "host-02"):
        drop(EMS, f"{entity}.csv", poisoned(entity, 0.3))
    run_stream(served, EMS, Console(quiet=True), train=False)
    before = rows_of(warehouse, "SELECT score FROM scored_ems ORDER BY event_id")
    train(served.platform, EMS, window_days=4)
    metadata = materialize_champion(served)
    assert metadata["promoted"].value is False
    verdicts = {r["gate"]: r["verdict"] for r in (x.data for x in metadata["gates"].records)}
    assert verdicts["minimum quality"] == "failed"
    assert verdicts["feature schema"] == verdicts["trained share"] == "passed"
    rejected = bundles.get("ems", DETECTOR, 2)
    assert rejected is not None
    assert rejected.status == "rejected"
    assert "minimum quality: median balanced accuracy" in (rejected.reason or "")
    assert {gate["gate"] for gate in rejected.gates} == set(verdicts)
    champion = bundles.champion("ems", DETECTOR)
    assert champion is not None
    assert champion.version == 1
    (alert,) = rows_of(
        warehouse,
        "SELECT subject, severity, state, details FROM alerts WHERE kind = 'gate_failed'",
    )
    assert alert[:3] == ("ems/isolation_forest", "warning", "open")
    assert alert[3]["version"] == 2
    first, second = rows_of(
        warehouse,
        "SELECT title FROM notifications WHERE kind LIKE 'model_%' ORDER BY title",
    )
    assert first == ("ems: version 1 of isolation_forest was trained and is in service",)
    assert second[0].startswith(
        "ems: version 2 of isolation_forest was trained and was rejected: minimum quality: median"
    )
    run_stream(served, EMS, Console(quiet=True), train=False)
    after = rows_of(warehouse, "SELECT score FROM scored_ems ORDER BY event_id")
    assert after == before


def test_a_good_challenger_serves_and_ends_the_alert(served: Runtime, drop: Drop) -> None:
    warehouse = served.platform.warehouse
    drop(EMS, "bad.csv", poisoned("host-1", 0.5))
    run_stream(served, EMS, Console(quiet=True), train=False)
    train(served.platform, EMS, series=[("host-1", "cpu")], window_days=4)
    assert materialize_champion(served)["promoted"].value is False
    drop(EMS, "good.csv", readings(EMS, "host-1", days=4, first=8))
    run_stream(served, EMS, Console(quiet=True), train=False)
    train(served.platform, EMS, series=[("host-1", "cpu")], window_days=4)
    metadata = materialize_champion(served)
    assert metadata["promoted"].value is True
    assert "the others as in version 1; balanced accuracy" in metadata["reason"].value
    assert rows_of(warehouse, "SELECT state FROM alerts WHERE kind = 'gate_failed'") == [
        ("resolved",)
    ]
    assert warehouse.bundles.champions("ems") == {DETECTOR: 3}


def test_known_anomalies_count(served: Runtime, drop: Drop) -> None:
    drop(EMS, "labelled.csv", poisoned("host-1", 0.05, label=True))
    run_stream(served, EMS, Console(quiet=True), train=False)
    train(served.platform, EMS)
    gates = {r["gate"]: r for r in (x.data for x in materialize_champion(served)["gates"].records)}
    found = gates["known anomalies found"]
    assert found["verdict"] == "passed"
    assert int(found["value"].split(" of ")[1]) > 30


def test_challengers_that_waited_are_settled_in_order(served: Runtime) -> None:
    warehouse = served.platform.warehouse
    platform, bundles = served.platform, warehouse.bundles
    train(platform, EMS, series=[("host-1", "cpu")])
    whole, _ = train(platform, EMS, window_days=3)
    partial, _ = train(platform, EMS, series=[("host-02", "cpu")], window_days=2)
    verdicts = list(platform.kind(EMS).judge())
    assert [v.version for v in verdicts] == [whole, partial + 1]
    told = rows_of(
        warehouse,
        "SELECT details->'version', details->'serves' FROM notifications, "
        "jsonb_extract_path(body, 'details') AS details "
        "WHERE kind LIKE 'model_%' ORDER BY details->'version'",
    )
    assert told == [(1, True), (2, False), (whole, True), (partial + 1, True)]
    assert all(v.decision.promote for v in verdicts)
    assert {b.version: b.status for b in bundles.all("ems", DETECTOR)} == {
        1: "retired",
        2: "rejected",
        whole: "retired",
        partial: "rejected",
        partial + 1: "champion",
    }
    assert list(platform.kind(EMS).judge()) == []
    history = [h.version for h in bundles.history("ems", DETECTOR)]
    assert history == [partial + 1, whole, 1]


def test_a_training_that_fails_is_told_of_and_the_next_one_ends_it(
    served: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse = served.platform.warehouse

    def broken(*_: object) -> None:
        raise OSError("the disk is full")

    model = EMS.key(f"{DETECTOR}_model")
    with monkeypatch.context() as patched:
        patched.setattr(training_module, "training_frames", broken)
        with pytest.raises(RunFailedError, match="the disk is full"):
            served.materialize([model], {})
    failed = warehouse.bundles.get("ems", DETECTOR, 2)
    assert failed is not None
    assert (failed.status, failed.reason) == ("failed", "OSError: the disk is full")
    state = "SELECT severity, state FROM alerts WHERE kind = 'model_disabled'"
    assert rows_of(warehouse, state) == [("critical", "open")]
    assert warehouse.bundles.champions("ems") == {DETECTOR: 1}
    served.materialize([model], {})
    assert rows_of(warehouse, state) == [("critical", "resolved")]
    assert {row[1] for row in rows_of(warehouse, "SELECT version, status FROM bundles")} == {
        "champion", "failed", "challenger"
    }  # fmt: skip
    told = "SELECT kind FROM notifications WHERE severity = 'info' AND kind LIKE 'model_%'"
    assert rows_of(warehouse, told) == [("model_trained",)], (
        "the other one is not decided about yet"
    )
    materialize_champion(served)
    assert {"model_trained", "model_retrained"} <= {row[0] for row in rows_of(warehouse, told)}
