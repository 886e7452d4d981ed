"""Challengers are judged: good ones serve, bad ones are told of and change nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from anomaly_platform.cli.runtime import RunFailedError, Runtime
from anomaly_platform.cli.streams.run import run_stream
from anomaly_platform.kinds.metric import training as training_module
from anomaly_platform.platform import DETECTOR
from anomaly_platform.streams import EMS, MetricStream
from tests.integration.metric_models import train

if TYPE_CHECKING:
    from conftest import Keep, Kept, Restore

    from anomaly_platform.settings import Settings

pytestmark = pytest.mark.integration

Drop = Callable[[MetricStream, str, pl.DataFrame | str | bytes], None]

START = datetime(2026, 1, 5, tzinfo=UTC)
CHAMPION = EMS.key("champion")


def readings(
    first: int, days: int, entity: str, *, poison: float = 0.0, label: bool = False
) -> pl.DataFrame:
    clock = np.arange(first * 288, (first + days) * 288)
    rng = np.random.default_rng([first, len(entity)])
    value = 50 + 10 * np.sin(clock / 288 * 2 * np.pi) + rng.normal(0, 1, clock.size)
    hit = rng.random(clock.size) < poison
    value[hit] = rng.uniform(-200, 300, hit.sum())
    frame = pl.DataFrame(
        {
            "asset_id": entity,
            "metric_name": "cpu",
            "timestamp": [START + timedelta(minutes=5 * int(n)) for n in clock],
            "value": value.round(3),
        }
    )
    return frame.with_columns(is_anomaly=pl.Series(hit)) if label else frame


def rows_of(runtime: Runtime, query: str) -> list[tuple[Any, ...]]:
    with runtime.platform.warehouse.transactions.begin() as connection:
        return connection.execute(query.encode()).fetchall()


@pytest.fixture(scope="module")
def trained(keep: Keep) -> Kept:
    def fill(runtime: Runtime, drop: Drop) -> None:
        hosts = [readings(0, 4, entity) for entity in ("host-1", "host-02")]
        drop(EMS, "a.csv", pl.concat(hosts))
        run_stream(runtime, EMS, Console(quiet=True))

    return keep(fill)


@pytest.fixture
def served(runtime: Runtime, settings: Settings, restore: Restore, trained: Kept) -> Runtime:
    restore(settings, trained)
    return runtime


def materialize_champion(runtime: Runtime) -> dict[str, Any]:
    result = runtime.materialize([CHAMPION], {})
    (event,) = [
        e for e in result.get_asset_materialization_events() if e.asset_key.path == CHAMPION
    ]
    return dict(event.step_materialization_data.materialization.metadata)


def test_poisoned_data_does_not_replace_the_champion_and_somebody_is_told(
    served: Runtime, drop: Drop
) -> None:
    bundles = served.platform.warehouse.bundles
    for entity in ("host-1", "host-02"):
        drop(EMS, f"{entity}.csv", readings(4, 4, entity, poison=0.3))
    run_stream(served, EMS, Console(quiet=True), train=False)
    before = rows_of(served, "SELECT score FROM scored_ems ORDER BY event_id")
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
        served, "SELECT subject, severity, state, details FROM alerts WHERE kind = 'gate_failed'"
    )
    assert alert[:3] == ("ems/isolation_forest", "warning", "open")
    assert alert[3]["version"] == 2
    first, second = rows_of(
        served, "SELECT title FROM notifications WHERE kind LIKE 'model_%' ORDER BY title"
    )
    assert first == ("ems: version 1 of isolation_forest was trained and is in service",)
    assert second[0].startswith(
        "ems: version 2 of isolation_forest was trained and was rejected: minimum quality: median"
    )
    run_stream(served, EMS, Console(quiet=True), train=False)
    after = rows_of(served, "SELECT score FROM scored_ems ORDER BY event_id")
    assert after == before


def test_a_good_challenger_serves_and_ends_the_alert(served: Runtime, drop: Drop) -> None:
    drop(EMS, "bad.csv", readings(4, 4, "host-1", poison=0.5))
    run_stream(served, EMS, Console(quiet=True), train=False)
    train(served.platform, EMS, series=[("host-1", "cpu")], window_days=4)
    assert materialize_champion(served)["promoted"].value is False
    drop(EMS, "good.csv", readings(8, 4, "host-1"))
    run_stream(served, EMS, Console(quiet=True), train=False)
    train(served.platform, EMS, series=[("host-1", "cpu")], window_days=4)
    metadata = materialize_champion(served)
    assert metadata["promoted"].value is True
    assert "the others as in version 1; balanced accuracy" in metadata["reason"].value
    assert rows_of(served, "SELECT state FROM alerts WHERE kind = 'gate_failed'") == [("resolved",)]
    assert served.platform.warehouse.bundles.champions("ems") == {DETECTOR: 3}


def test_known_anomalies_count(served: Runtime, drop: Drop) -> None:
    drop(EMS, "labelled.csv", readings(4, 4, "host-1", poison=0.05, label=True))
    run_stream(served, EMS, Console(quiet=True), train=False)
    train(served.platform, EMS)
    gates = {r["gate"]: r for r in (x.data for x in materialize_champion(served)["gates"].records)}
    found = gates["known anomalies found"]
    assert found["verdict"] == "passed"
    assert int(found["value"].split(" of ")[1]) > 30


def test_challengers_that_waited_are_settled_in_order(served: Runtime) -> None:
    platform, bundles = served.platform, served.platform.warehouse.bundles
    train(platform, EMS, series=[("host-1", "cpu")])
    whole, _ = train(platform, EMS, window_days=3)
    partial, _ = train(platform, EMS, series=[("host-02", "cpu")], window_days=2)
    verdicts = list(platform.kind(EMS).judge())
    assert [v.version for v in verdicts] == [whole, partial + 1]
    told = rows_of(
        served,
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
    def broken(*_: object) -> None:
        raise OSError("the disk is full")

    model = EMS.key(f"{DETECTOR}_model")
    with monkeypatch.context() as patched:
        patched.setattr(training_module, "training_frames", broken)
        with pytest.raises(RunFailedError, match="the disk is full"):
            served.materialize([model], {})
    failed = served.platform.warehouse.bundles.get("ems", DETECTOR, 2)
    assert failed is not None
    assert (failed.status, failed.reason) == ("failed", "OSError: the disk is full")
    state = "SELECT severity, state FROM alerts WHERE kind = 'model_disabled'"
    assert rows_of(served, state) == [("critical", "open")]
    assert served.platform.warehouse.bundles.champions("ems") == {DETECTOR: 1}
    served.materialize([model], {})
    assert rows_of(served, state) == [("critical", "resolved")]
    assert {row[1] for row in rows_of(served, "SELECT version, status FROM bundles")} == {
        "champion", "failed", "challenger"
    }  # fmt: skip
    told = "SELECT kind FROM notifications WHERE severity = 'info' AND kind LIKE 'model_%'"
    assert rows_of(served, told) == [("model_trained",)], "the other one is not decided about yet"
    materialize_champion(served)
    assert {"model_trained", "model_retrained"} <= {row[0] for row in rows_of(served, told)}
