"""Scans from files to scored rows: accounts, order of arrival, late data, damaged models."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from anomaly_platform.cli.runtime import RunFailedError, Runtime
from anomaly_platform.cli.streams.checking import run_checks
from anomaly_platform.cli.streams.run import run_stream
from anomaly_platform.ml.detectors.one_class_svm_scans import CalibratedSvm
from anomaly_platform.registry.promotion import ChampionMovedError
from anomaly_platform.sensors.upkeep import look_after
from anomaly_platform.settings import Settings, get_settings
from anomaly_platform.simulator.supply_network import SupplyNetworkData, simulate_supply_network
from tests.builders.platforms import drop_into, open_runtime
from tests.builders.readings import START
from tests.builders.scans import SMALL_SCANS, file_of

pytestmark = pytest.mark.integration

DAYS = 8
COLUMNS = (
    *("epc_code", "event_time", "location_id", "event_type", "place", "epc_dup_score"),
    *("jump_score", "lstm_score", "svm_score", "final_confidence", "is_anomaly", "explanation"),
)


@pytest.fixture(scope="module")
def network() -> SupplyNetworkData:
    return simulate_supply_network(events=2_500, days=DAYS, seed=5, start=START)


@pytest.fixture
def runtime(settings: Settings, network: SupplyNetworkData) -> Iterator[Runtime]:
    yield from opened(settings, network)


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, module_database_url: str, network: SupplyNetworkData
) -> Iterator[Runtime]:
    """Everything ingested in one go, trained and scored; whoever changes it puts it back."""
    home = tmp_path_factory.mktemp("trained")
    for runtime in opened(get_settings(home=home, database_url=module_database_url), network):
        drop(runtime, "whole.csv", network.scans)
        run(runtime)
        yield runtime


def opened(settings: Settings, network: SupplyNetworkData) -> Iterator[Runtime]:
    with open_runtime(settings, (SMALL_SCANS,)) as runtime:
        network.world.write_reference(runtime.platform.reference_folder(SMALL_SCANS))
        yield runtime


def drop(runtime: Runtime, name: str, scans: pl.DataFrame | str | bytes) -> None:
    content = file_of(scans) if isinstance(scans, pl.DataFrame) else scans
    drop_into(runtime.platform, SMALL_SCANS, name, content)


def run(runtime: Runtime, *, train: bool = True) -> None:
    account = run_stream(runtime, SMALL_SCANS, Console(quiet=True), train=train)
    assert account.missing == 0
    assert account.pending == 0


def scored(runtime: Runtime) -> pl.DataFrame:
    days = [state.day for state in runtime.platform.state_of(SMALL_SCANS).days]
    scores = runtime.platform.warehouse.scan_scores
    return pl.concat([scores.read_day("barcode", day, COLUMNS) for day in days])


def test_every_scan_is_scored_quarantined_or_a_counted_duplicate(
    runtime: Runtime, network: SupplyNetworkData
) -> None:
    scans = network.scans
    drop(runtime, "good.csv", scans)
    drop(runtime, "again.csv", scans.head(30))
    contradicting = scans.head(4).with_columns(product_name=pl.lit("something else"))
    drop(runtime, "contradicting.csv", contradicting)
    header = "epc_code,event_time,location_id,event_type\n"
    bad = ",2026-01-06 10:00:00,L001,Inbound\nx,never,L001,Inbound\n"
    drop(runtime, "bad.csv", f"{header}{bad}no.code,2026-01-06 10:00:00,,\n")
    drop(runtime, "broken.csv.gz", b"\x1f\x8b\x08\x00 this is no gzip")
    account = run_stream(runtime, SMALL_SCANS, Console(quiet=True))
    assert account.missing == account.pending == 0
    assert account.rows_in == scans.height + 30 + 4 + 2 + 1
    assert account.scored == scans.height + 1
    assert account.duplicates == 30
    assert account.quarantined == 4 + 2
    rows = scored(runtime)
    malformed = rows.filter(pl.col("epc_code") == "no.code").row(0, named=True)
    assert malformed["is_anomaly"]
    assert malformed["explanation"]
    assert rows["lstm_score"].null_count() == rows["svm_score"].null_count() == 0
    assert rows.filter(pl.col("is_anomaly"))["explanation"].null_count() == 0
    # One file could not be read; everything else is in order.
    assert run_checks(runtime, SMALL_SCANS, Console(quiet=True)) == 1
    with runtime.platform.warehouse.transactions.begin() as connection:
        counted = connection.execute(
            "SELECT sum(scans), sum(anomalies) FROM bi_barcode_daily"
        ).fetchone()
        flagged = connection.execute(
            "SELECT count(*), count(DISTINCT id), count(model_id) FROM anomaly_detections "
            "WHERE stream = 'barcode' AND metric_name = 'scans'"
        ).fetchone()
    assert counted is not None
    assert (int(counted[0]), int(counted[1])) == (account.scored, account.anomalies)
    assert flagged == (account.anomalies,) * 3


@pytest.mark.parametrize("manner", ["day by day", "shuffled"])
def test_scores_do_not_depend_on_how_the_scans_arrived(
    runtime: Runtime, trained: Runtime, network: SupplyNetworkData, manner: str
) -> None:
    day = pl.col("event_time").dt.date()
    frames = [frame for _, frame in network.scans.group_by(day, maintain_order=True)]
    if manner == "shuffled":
        mixed = network.scans.sample(fraction=1.0, shuffle=True, seed=3)
        frames = [mixed.slice(n, 800) for n in range(0, mixed.height, 800)]
        random.Random(4).shuffle(frames)
    for number, frame in enumerate(frames):
        drop(runtime, f"{number}.csv", frame)
        run(runtime, train=number == len(frames) - 1)
    assert scored(runtime).equals(scored(trained), null_equal=True)


def test_rules_speak_alone_before_anything_is_learned(
    runtime: Runtime, network: SupplyNetworkData
) -> None:
    drop(runtime, "a.csv", network.scans.head(600))
    run(runtime)
    rows = scored(runtime)
    assert rows["lstm_score"].null_count() == rows.height
    assert rows["is_anomaly"].any()
    assert runtime.platform.warehouse.bundles.champions("barcode") == {}


def test_late_scans_reach_their_day_and_the_days_that_look_back_on_it(
    runtime: Runtime, network: SupplyNetworkData
) -> None:
    late = network.scans["event_time"].dt.date() == date(2026, 1, 8)
    drop(runtime, "most.csv", network.scans.filter(~late))
    run(runtime, train=False)
    before = {day.day: day.scored for day in runtime.platform.state_of(SMALL_SCANS).days}
    drop(runtime, "late.csv", network.scans.filter(late))
    run(runtime, train=False)
    after = {day.day: day.scored for day in runtime.platform.state_of(SMALL_SCANS).days}
    touched = [day for day in after if after[day] != before.get(day)]
    assert touched == [date(2026, 1, 8) + timedelta(days=n) for n in range(5)]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("truncated", "cut short or changed"),
        ("changed", "not what was published"),
        ("another", "has the digest"),
        ("older", "was trained without weather; train anew"),
    ],
)
def test_a_damaged_model_is_refused_and_scores_stay_as_they_were(
    trained: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str, told: str
) -> None:
    before = scored(trained)
    folder = Path(trained.platform.settings.lake_url) / "models" / "barcode" / "svm" / "000001"
    shutil.copytree(folder, tmp_path / "sound")
    arrays = folder / "arrays.safetensors"
    content = arrays.read_bytes()
    if damage == "truncated":
        arrays.write_bytes(content[:-100])
    elif damage == "changed":
        arrays.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "older":
        grown = (*CalibratedSvm.feature_schema, "weather")
        monkeypatch.setattr(CalibratedSvm, "feature_schema", grown)
    else:
        shutil.copy(folder.parents[1] / "rules" / "000001" / "manifest.json", folder)
    day = (date(2026, 1, 6),) * 2
    try:
        with pytest.raises(RunFailedError, match=told):
            run_stream(trained, SMALL_SCANS, Console(quiet=True), days=day, train=False)
        assert scored(trained).equals(before, null_equal=True)
        assert run_checks(trained, SMALL_SCANS, Console(quiet=True)) == 1
    finally:
        shutil.copytree(tmp_path / "sound", folder, dirs_exist_ok=True)


def test_a_set_is_judged_by_gates_and_comes_back_with_its_scores(trained: Runtime) -> None:
    platform, bundles = trained.platform, trained.platform.warehouse.bundles
    serving, before = bundles.champions("barcode"), scored(trained)
    config = {"window_days": 5, "cause": "age", "reason": "a shorter window"}
    trained.materialize(
        [SMALL_SCANS.key("rules_model")], {}, {"ops": {"barcode__rules_model": {"config": config}}}
    )
    rules = bundles.all("barcode", "rules")[0]
    assert (rules.parameters["cause"], rules.parameters["reason"]) == ("age", "a shorter window")
    assert rules.window_start is not None
    assert rules.window_end is not None
    assert rules.window_end - rules.window_start == timedelta(days=5)
    result = trained.materialize([SMALL_SCANS.key("champion")], {})
    (event,) = result.get_asset_materialization_events()
    gates = event.step_materialization_data.materialization.metadata["gates"].records
    assert [gate.data["gate"] for gate in gates] == [
        "feature schema",
        "minimum quality",
        "no worse than the champion",
    ]
    judged = bundles.all("barcode", "fusion")[0]
    assert len(judged.gates) == 3
    assert judged.trained_because_of == "age: a shorter window"
    with platform.warehouse.transactions.begin() as connection:
        told = connection.execute(
            "SELECT subject FROM notifications WHERE kind = 'model_retrained' ORDER BY subject"
        ).fetchall()
    # What serves already was not trained, and is not told of again.
    assert told == [("barcode/fusion",), ("barcode/rules",)]
    platform.model_sets.put_into_service(SMALL_SCANS, judged.version, "a test", overrule=True)
    assert bundles.champions("barcode")["rules"] == rules.version
    run(trained, train=False)
    assert platform.model_sets.roll_back(SMALL_SCANS, "a test", to=serving["fusion"]) == serving
    run(trained, train=False)
    assert scored(trained).equals(before)


def test_models_of_scans_know_when_they_were_last_used(trained: Runtime) -> None:
    with trained.platform.warehouse.transactions.begin() as connection:
        used = connection.execute(
            "SELECT model_type FROM ml_models WHERE stream = 'barcode' AND status = 'active' "
            "AND last_used_at IS NOT NULL ORDER BY model_type"
        ).fetchall()
    assert used == [("fusion",), ("lstm",), ("rules",), ("svm",)]


def test_a_set_that_was_compared_with_another_one_is_not_promoted(trained: Runtime) -> None:
    bundles = trained.platform.warehouse.bundles
    serving = bundles.champions("barcode")
    version = bundles.reserve_version("barcode", "fusion")
    with pytest.raises(ChampionMovedError, match="serves by now"):
        bundles.promote_set(
            "barcode",
            {**serving, "fusion": version},
            "a test",
            compared_with={"fusion": serving["fusion"] + 1},
        )
    assert bundles.champions("barcode") == serving
    bundles.fail("barcode", "fusion", version, "a test")


def test_a_set_that_cannot_be_loaded_gives_way_to_the_one_before(trained: Runtime) -> None:
    platform, bundles = trained.platform, trained.platform.warehouse.bundles
    before = bundles.champions("barcode")
    trained.materialize([SMALL_SCANS.key("rules_model"), SMALL_SCANS.key("champion")], {})
    broken = bundles.all("barcode", "fusion")[0].version
    platform.model_sets.put_into_service(SMALL_SCANS, broken, "a test", overrule=True)
    assert bundles.champions("barcode") != before
    record = bundles.get("barcode", "rules", bundles.champions("barcode")["rules"])
    assert record is not None
    arrays = Path(platform.settings.lake_url) / str(record.path) / "arrays.safetensors"
    arrays.write_bytes(arrays.read_bytes()[:-10])
    (told,) = [one for one in look_after(platform, SMALL_SCANS) if one["subject"] == "bundle"]
    assert "cannot be loaded" in told["finding"]
    assert f"version {before['fusion']} serves instead" in told["finding"]
    assert bundles.champions("barcode") == before


def test_single_series_of_scans_cannot_be_trained(trained: Runtime) -> None:
    with pytest.raises(RunFailedError, match="leave `series` empty"):
        trained.materialize(
            [SMALL_SCANS.key("rules_model")],
            {},
            {"ops": {"barcode__rules_model": {"config": {"series": [["code", "scan"]]}}}},
        )
