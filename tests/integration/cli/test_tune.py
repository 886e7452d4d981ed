"""`anomaly tune`: what it searches on and never on, what it proposes, and what is put into use."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import asdict, replace
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from anomaly_platform.ingest.bucketing import bucket_of
from anomaly_platform.kinds.metric.scoring import current_scorer
from anomaly_platform.kinds.metric.tuning import Tuning, TuningOrder, prepare
from anomaly_platform.kinds.training import StageError
from anomaly_platform.ml.tuning.judging import Judge
from anomaly_platform.ml.tuning.space import DetectorSettings
from anomaly_platform.platform import DETECTOR, Platform
from anomaly_platform.registry.tuned_settings import Tuned
from anomaly_platform.registry.tunings import TuningRecord
from anomaly_platform.settings import Settings
from anomaly_platform.streams import EMS, MetricStream
from tests.builders.commands import invoke, run_command
from tests.builders.readings import PER_DAY, STEP, daily_cycle, series
from tests.integration.metric_models import train

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("own_platform")]

HOSTS = ("db", "mail", "proxy", "web")


def fill(platform: Platform, stream: MetricStream, days: int = 6) -> None:
    """Give a stream the features of a few days, as its stages leave them."""
    rows = days * PER_DAY
    events = pl.concat(
        series(host, "cpu", daily_cycle(rows, seed)) for seed, host in enumerate(HOSTS)
    ).with_columns(
        event_id=pl.lit(""), label=pl.lit(None, pl.Boolean), metadata=pl.lit(None, pl.String)
    )
    features = stream.features.compute(events)
    features = features.with_columns(bucket_of(features["entity"])).sort(
        "bucket", "entity", "metric", "event_time"
    )
    schema = platform.kind(stream).feature_schema
    for (day,), part in features.group_by(pl.col("event_time").dt.date(), maintain_order=True):
        frame = part.select(pl.col(name).cast(kind) for name, kind in schema.items())
        file = platform.lake.write("features", stream.name, f"{day}", [frame], schema=schema)
        platform.warehouse.partitions.publish(
            stream.name, "features", f"{day}", path=file.path, rows=file.rows, watermark=1
        )
        extents = part.group_by("entity", "metric", maintain_order=True).agg(
            rows=pl.len().cast(pl.Int64),
            first_event=pl.col("event_time").min(),
            last_event=pl.col("event_time").max(),
        )
        platform.warehouse.series.replace_day(stream.name, day, extents)


def said(*arguments: object, code: int = 0) -> str:
    return " ".join(invoke("tune", *arguments, code=code).replace("│", " ").split())


def settings_of(settings: Settings) -> tuple[float, tuple[int, ...], int | None]:
    """Return what a process that starts now trains the stream with."""
    platform = Platform(settings)
    stream = platform.stream("ems")
    assert isinstance(stream, MetricStream)
    return platform.alpha_of(stream), stream.features.windows, stream.tuning


def test_a_gain_is_found_recorded_put_into_use_and_taken_back(
    platform: Platform, settings: Settings
) -> None:
    fill(platform, EMS)
    today = settings_of(settings)
    assert "4 candidates" in said("ems", "--trials", 4, "--dry-run")
    plan = json.loads(run_command("tune", "ems", "--trials", 4, "--dry-run", "--json").stdout)
    assert plan["data"]["candidates"] == 4
    assert platform.warehouse.tunings.of("ems") is None

    asked = ("tune", "ems", "--trials", 4, "--seed", 3, "--no-windows", "--json")
    record = json.loads(run_command(*asked).stdout)
    assert record["status"] == "gained"
    compared = record["comparison"]
    assert compared["low"] > 0
    assert compared["proposed"]["objective"] > compared["present"]["objective"]
    assert record["data"]["search"]["judged_until"] < record["data"]["comparison"]["judged_from"]
    assert [one["is_present"] for one in record["trials"][:2]] == [True, False]
    assert settings_of(settings) == today

    number = record["id"]
    again = platform.warehouse.tunings.enter(
        *("ems", "nothing_gained", datetime.now(UTC), "a test", 3),
        **{name: record[name] for name in ("data", "present", "proposed", "trials", "comparison")},
    )
    shown = said("ems", "--show", "--number", number)
    assert "Earlier tunings" not in shown
    assert "the best of 4 candidates and today's settings" in shown
    assert "on some of these rows: 1;" in said("ems", "--show", "--number", again.id)
    platform.tuned.write("ems", Tuned(99, 0.3, today[1], 0.1, 10))
    assert "no longer those" in said("ems", "--apply", "--number", number, code=2)
    platform.tuned.remove("ems")
    told = run_command("tune", "ems", "--apply", "--number", number).output
    assert "anomaly run ems --train" in told
    assert settings_of(settings) == (record["proposed"]["alpha"], today[1], number)
    tuned = Platform(settings, (EMS,))
    version, bundle = train(tuned, tuned.streams[0])  # type: ignore[arg-type]
    assert bundle.manifest["hyper_parameters"]["alpha"] == record["proposed"]["alpha"]
    assert bundle.manifest["hyper_parameters"]["trees"] == record["proposed"]["trees"]
    known = platform.warehouse.bundles.get("ems", DETECTOR, version)
    assert known is not None
    assert known.parameters["tuning"] == number
    tuned.close()
    assert "In use since" in said("ems", "--show", "--number", number)

    assert "own settings again" in run_command("tune", "ems", "--undo").output
    assert settings_of(settings) == today
    # Killed between the table and the file, either way round.
    platform.tuned.write("ems", Tuned(number, 0.5, today[1], 0.1, 10))
    assert "own settings again" in run_command("tune", "ems", "--undo").output
    run_command("tune", "ems", "--apply", "--number", number)
    platform.tuned.remove("ems")
    assert "own settings again" in run_command("tune", "ems", "--undo").output
    assert settings_of(settings) == today
    assert "It was in use until" in said("ems", "--show", "--number", number)
    second = said("ems", "--undo", code=2)
    assert f"when tuning {number} was taken back" in second
    assert f"anomaly tune ems --apply --number {number}" in second
    actions = platform.warehouse.transactions.tuples("SELECT action FROM audit_log ORDER BY id")
    assert [action for (action,) in actions] == ["tuning.apply", "tuning.undo"] * 2


def test_what_was_searched_already_is_applied_as_long_as_nothing_has_changed(
    platform: Platform, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(platform, EMS)
    asked = ("ems", "--trials", 2, "--no-windows")
    order = TuningOrder(trials=2, windows=False)
    first = _entered(platform, prepare(platform.kind(EMS).parts, order))

    class SearchedError(Exception):
        pass

    def search(_: Tuning, __: object) -> None:
        raise SearchedError

    monkeypatch.setattr(Tuning, "search", search)
    told = " ".join(run_command("tune", *asked, "--apply").output.split())
    assert f"Nothing has changed since tuning {first.id}, so it is not searched anew" in told
    assert settings_of(settings)[2] == first.id
    run_command("tune", "ems", "--undo")

    def anew(*arguments: object) -> str:
        """Return what is said of the newest tuning before it searches."""
        result = run_command("tune", *arguments, "--apply")
        assert isinstance(result.exception, SearchedError)
        return " ".join(result.output.split())

    for other in (("--seed", 9), ("--false-positives", 0.2), ("--trials", 3), ("--windows",)):
        assert "was asked for with other options" in anew(*asked, *other)
        platform.warehouse.transactions.execute("DELETE FROM tunings WHERE id > %s", (first.id,))
    for part, value, reason in (
        ("features,lags", [1, 2], "had other features"),
        ("features,frequency_seconds", 1.0, "had other features"),
        ("policy,threshold", 0.71, "trained with other settings of the platform"),
        ("policy,min_samples", 99, "trained with other settings of the platform"),
        ("policy,seed", 43, "trained with other settings of the platform"),
        ("version", "0.0.9", "was by another version of the software"),
    ):
        other = f"jsonb_set(data, '{{judged_by,{part}}}', %s::jsonb, false)"
        platform.warehouse.transactions.execute(
            f"UPDATE tunings SET data = {other}",
            (json.dumps(value),),
        )
        assert reason in anew(*asked)
        platform.warehouse.transactions.execute("DELETE FROM tunings WHERE id > %s", (first.id,))
        platform.warehouse.transactions.execute(
            "UPDATE tunings SET data = %s::jsonb", (json.dumps(first.data),)
        )
    # What is in use allows as many false positives as before it was.
    for _ in range(2):
        again = run_command("tune", *asked, "--apply")
        assert again.exit_code == 0
        assert f"Nothing has changed since tuning {first.id}" in " ".join(again.output.split())
    assert settings_of(settings)[2] == first.id
    assert "was asked for with other options" in anew(*asked, "--seed", 9)
    assert "was interrupted" in anew(*asked, "--seed", 9)
    run_command("tune", "ems", "--undo")
    platform.warehouse.transactions.execute("DELETE FROM tunings WHERE id > %s", (first.id,))
    fill(platform, EMS, days=7)
    assert "had other rows" in anew(*asked)
    platform.warehouse.transactions.execute(
        "UPDATE tunings SET present = %s::jsonb, proposed = %s::jsonb, status = 'gained'",
        (json.dumps({**first.present, "alpha": 0.2}),) * 2,
    )
    assert "began from other settings of the stream" in anew(*asked)


def _entered(platform: Platform, tuning: Tuning) -> TuningRecord:
    """Enter a tuning that has found something, as if it had searched."""
    today = asdict(tuning.present)
    measured = ("objective", "event_f1", "event_recall", "alarm_precision", "false_positive_rate")
    figures = dict.fromkeys(measured, 0.5)
    return platform.warehouse.tunings.enter(
        *("ems", "gained", datetime.now(UTC), "a test", tuning.order.seed),
        data=tuning.described,
        present=today,
        proposed={**today, "alpha": 0.3},
        trials=[],
        comparison={
            "gain": 0.2,
            "low": 0.1,
            "high": 0.3,
            "present": figures,
            "proposed": figures,
            "present_vus_pr": None,
            "proposed_vus_pr": None,
        },
    )


def test_what_is_reported_is_never_searched_on(platform: Platform) -> None:
    fill(platform, EMS, days=4)
    version, bundle = train(platform, EMS)
    platform.model_sets.put_into_service(EMS, version, "a test", overrule=True)
    # What the version in service was measured on is no longer the newest then.
    fill(platform, EMS, days=6)
    tuning = prepare(platform.kind(EMS).parts, TuningOrder(trials=2))
    trained = bundle.series.select("entity", "last_time", "calibration_rows").rows()
    assert len(trained) == len(HOSTS)
    for entity, last, rows in trained:
        searched = tuning.searched.rows.filter(pl.col("entity") == entity)["event_time"]
        measured = searched.is_between(last - (rows - 1) * STEP, last)
        assert not measured.any()
        assert searched.min() < last < searched.max()
        compared = tuning.compared.rows.filter(pl.col("entity") == entity, "judged")
        assert searched.max() < compared["event_time"].min()  # type: ignore[operator]


@pytest.mark.parametrize("ended_by", [KeyboardInterrupt, OSError])
def test_what_was_tried_is_kept_whatever_ends_it(
    platform: Platform,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    ended_by: type[BaseException],
) -> None:
    fill(platform, EMS)
    calls = 0

    def counts(self: Judge, _: DetectorSettings, __: Collection[str]) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise ended_by
        return np.ones((self.held_out.units, 6))

    monkeypatch.setattr(Judge, "counts", counts)
    result = run_command("tune", "ems", "--apply")
    assert result.exit_code == (130 if ended_by is KeyboardInterrupt else 1)
    assert "Interrupted after 2 trials" in said("ems", "--show")
    record = platform.warehouse.tunings.of("ems")
    assert record is not None
    assert (record.status, len(record.trials), record.comparison) == ("interrupted", 2, None)
    assert settings_of(settings)[2] is None


def test_what_cannot_be_is_refused_with_a_reason(platform: Platform, settings: Settings) -> None:
    fill(platform, EMS)
    for arguments, reason in (
        (("iiot",), "iiot has no features"),
        (("barcode",), "barcode has scans"),
        (("nowhere",), "nowhere"),
        (("ems", "--show"), "ems has not been tuned yet"),
        (("ems", "--apply", "--undo"), "choose one of"),
        (("ems", "--number", 1), "--number goes with"),
        (("ems", "--undo"), "nothing is left to undo: ems has its own settings, and it was never"),
        (("emms", "--undo"), "no stream 'emms'"),
        (("barcode", "--undo"), "nothing of them is tuned here"),
        (("../ems", "--undo"), "no name of a stream"),
        (("ems", "--minutes", 0.001), "over before anything could be compared"),
    ):
        result = run_command("tune", *arguments)
        text = " ".join(f"{result.output} {result.exception}".replace("│", " ").split())
        assert result.exit_code != 0, arguments
        assert reason in text, arguments
    bad = settings.home / "tuned" / "ems.json"
    bad.parent.mkdir()
    bad.write_text('{"alpha": 1}')
    listed = run_command("streams")
    assert listed.exit_code == 1
    assert "anomaly tune ems --undo" in " ".join(listed.output.replace("│", " ").split())
    invoke("tune", "ems", "--undo")
    assert not bad.exists()


def test_days_of_other_windows_are_refused_with_the_reason_and_the_way_out(
    platform: Platform,
) -> None:
    fill(platform, EMS, days=1)
    (day,) = platform.warehouse.partitions.between("ems", "features", "2000-01-01", "2100-01-01")
    other = replace(EMS, features=replace(EMS.features, windows=(7, 49, 300)))
    with pytest.raises(StageError, match=r"windows 7/49/300.*anomaly run ems.*anomaly tune ems"):
        list(current_scorer(platform.kind(other).parts).score(day))


def test_a_training_on_days_of_other_windows_is_refused_and_disables_no_model(
    platform: Platform,
) -> None:
    fill(platform, EMS, days=2)
    other = replace(EMS, features=replace(EMS.features, windows=(7, 49, 300)))
    way_out = r"windows 7/49/300.*anomaly run ems --days (\S+):(\S+) --train"
    with pytest.raises(StageError, match=way_out) as refused:
        train(platform, other)
    days = platform.warehouse.partitions.between("ems", "features", "2000-01-01", "2100-01-01")
    found = re.search(way_out, str(refused.value))
    assert found is not None
    assert found.groups() == (days[0].partition, days[-1].partition)
    assert platform.warehouse.bundles.all("ems", DETECTOR) == []
    assert platform.warehouse.transactions.tuples("SELECT kind FROM alerts") == []
    train(platform, EMS)
