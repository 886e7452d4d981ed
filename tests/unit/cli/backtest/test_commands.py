"""Backtests from files to files."""

from __future__ import annotations

import gzip
import json
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from anomaly_platform.cli.backtest.files import TIME, read_metric_file
from anomaly_platform.cli.backtest.metrics import plan_tasks
from anomaly_platform.ingest.layout.mapping import ColumnMapping
from anomaly_platform.ml.scoring.explaining.numbers import COLUMNS
from tests.unit.cli.backtest.runs import START, refused, run, wide


def test_train_and_test_give_a_row_per_test_row_and_find_the_spike(
    files: Path, tmp_path: Path
) -> None:
    out, report, plot = tmp_path / "s.csv", tmp_path / "r.json", tmp_path / "p.png"
    said = run(
        "--train", files / "train.csv", "--test", files / "test.csv.gz", "--out", out,
        "--report", report, "--plot", plot,
    )  # fmt: skip
    scores = pl.read_csv(out)
    said_of = ["score", "is_anomaly", "is_call", "causes", "score_cpu", "score_memory", "reason"]
    said_of += COLUMNS
    assert scores.columns == ["when", *said_of]
    assert scores[200, "reason"].startswith("cpu: ")
    assert scores[200, "is_call"] == 1
    is_told = (scores["is_anomaly"] == 1) | (scores["is_call"] == 1)
    assert (scores["reason"].is_not_null() == is_told).all()
    told = json.loads(scores[200, "explanation"])
    assert sum(told["cpu"]["parts"].values()) == pytest.approx(1.0)
    assert scores[200, "expected_low"] < scores[200, "expected_high"]
    assert json.loads(scores[200, "causes"])[0] == "cpu"
    assert (scores["causes"].is_not_null() == is_told).all()
    assert scores.height == 400
    assert scores["score"].is_between(0, 1).all()
    assert scores[200, "is_anomaly"] == 1
    assert scores[200, "score_cpu"] > scores[200, "score_memory"]
    content = json.loads(report.read_text())
    assert content["event_recall"] == 1.0
    assert {"vus_pr", "auc_pr", "auc_roc", "f1", "rows_per_second"} <= set(content)
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "VUS-PR" in said


def test_labels_change_nothing_but_the_report(files: Path, tmp_path: Path) -> None:
    with gzip.open(files / "test.csv.gz") as packed:
        labelled = pl.read_csv(packed.read())
    labelled.drop("is_anomaly").write_csv(tmp_path / "unlabelled.csv")
    arguments = ["--train", files / "train.csv"]
    run(*arguments, "--test", files / "test.csv.gz", "--out", tmp_path / "a.csv")
    run(*arguments, "--test", tmp_path / "unlabelled.csv", "--out", tmp_path / "b.csv")
    assert pl.read_csv(tmp_path / "a.csv").equals(pl.read_csv(tmp_path / "b.csv"))


def test_streaming_never_uses_what_comes_later(files: Path, tmp_path: Path) -> None:
    whole = pl.read_parquet(files / "series.parquet")
    whole.head(600).write_parquet(tmp_path / "part.parquet")
    run("--series", files / "series.parquet", "--out", tmp_path / "whole.csv")
    run(
        "--series",
        tmp_path / "part.parquet",
        "--probation",
        "0.225",
        "--out",
        tmp_path / "part.csv",
    )
    full, part = pl.read_csv(tmp_path / "whole.csv"), pl.read_csv(tmp_path / "part.csv")
    assert full["score"].head(135).null_count() == 135
    assert full.head(600).equals(part)


def test_several_files_give_several_scores_and_a_mean(files: Path, tmp_path: Path) -> None:
    report = tmp_path / "r.json"
    said = run(
        "--train", files / "train.csv", "--test", files / "test.csv.gz",
        "--train", files / "train.csv", "--test", files / "series.parquet",
        "--out", tmp_path / "out", "--report", report,
    )  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["series.csv", "test.csv"]
    content = json.loads(report.read_text())
    assert set(content["files"]) == {"test.csv.gz", "series.parquet"}
    assert content["mean"]["vus_pr"] is not None
    (row,) = [line.split() for line in said.splitlines() if line.strip().startswith("test.csv.gz")]
    one = content["files"]["test.csv.gz"]
    shown = [
        *("vus_pr", "auc_pr", "auc_roc", "precision", "recall", "f1"),
        *("event_recall", "false_positive_rate"),
    ]
    assert row[1:-1] == [str(one["flagged_rows"]), *(f"{one[name]:.3f}" for name in shown)]
    assert row[-1] == f"{one['rows_per_second']:,.0f}"
    slowest, _, fastest = sorted(
        part["rows_per_second"] for part in (*content["files"].values(), content["mean"])
    )
    assert slowest <= content["mean"]["rows_per_second"] <= fastest
    assert "mean" in said


def test_a_bad_file_among_several_is_told_of_and_the_others_are_scored(
    files: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.csv").write_text("timestamp,a\nyesterday,1\n")
    named = ("--series", tmp_path / "bad.csv", "--series", files / "series.parquet")
    report, plot = tmp_path / "r.json", tmp_path / "p.png"
    said = run(
        *named, "--out", tmp_path / "out", "--report", report, "--plot", plot, code=1
    )  # fmt: skip
    assert "bad.csv, row 1: 'yesterday' is no time" in said
    assert "1 of 2 files not scored: bad.csv" in said
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["series.csv"]
    content = json.loads(report.read_text())
    assert set(content["files"]) == {"series.parquet"}
    assert set(content["failed"]) == {"bad.csv"}
    assert plot.exists()


def test_a_column_to_ignore_may_be_in_some_of_the_files(files: Path, tmp_path: Path) -> None:
    extra = tmp_path / "extra.csv"
    pl.read_csv(files / "train.csv").with_columns(note=pl.lit(1.0)).write_csv(extra)
    named = ("--train", extra, "--test", files / "test.csv.gz", "--out", tmp_path / "s.csv")
    run(*named, "--ignore", "note")
    (tmp_path / "s.csv").unlink()
    assert "no file has a column 'noet'; their columns are when, cpu" in refused(
        *named, "--ignore", "note", "--ignore", "noet"
    )
    assert not (tmp_path / "s.csv").exists()


def test_scores_are_written_as_parquet_where_the_name_says_so(files: Path, tmp_path: Path) -> None:
    for name in ("s.csv", "s.parquet"):
        run(
            "--train",
            files / "train.csv",
            "--test",
            files / "test.csv.gz",
            "--out",
            tmp_path / name,
        )
    written = pl.read_parquet(tmp_path / "s.parquet")
    assert written.schema["when"] == pl.Datetime("us", "UTC")
    times = pl.col("when").dt.strftime("%Y-%m-%d %H:%M:%S")
    assert written.with_columns(times).equals(
        pl.read_csv(tmp_path / "s.csv", infer_schema_length=None)
    )


def test_rows_of_a_repeated_time_get_no_score_and_are_not_judged(tmp_path: Path) -> None:
    frame = wide(900, seed=6, spike=700)
    # The row that is there twice has another value and another label the second time.
    again = frame.slice(850, 1).with_columns(cpu=pl.lit(500.0), is_anomaly=pl.lit(1, pl.Int64))
    pl.concat([frame.head(851), again, frame.tail(-851)]).write_csv(tmp_path / "twice.csv")
    frame.write_csv(tmp_path / "once.csv")
    content = {}
    for name in ("once", "twice"):
        out, report = tmp_path / f"{name}-scores.csv", tmp_path / f"{name}.json"
        said = run("--series", tmp_path / f"{name}.csv", "--out", out, "--report", report)
        content[name] = json.loads(report.read_text())
    assert "1 rows have the time of an earlier row, such as row 852" in " ".join(said.split())
    once = pl.read_csv(tmp_path / "once-scores.csv", infer_schema_length=None)
    twice = pl.read_csv(tmp_path / "twice-scores.csv", infer_schema_length=None)
    assert twice.height == 901
    assert twice[851, "score"] is None
    assert twice[851, "is_anomaly"] == 0
    assert pl.concat([twice.head(851), twice.tail(-852)]).equals(once)
    for measure in ("rows", "anomalies", "vus_pr", "precision"):
        assert content["twice"][measure] == content["once"][measure]


def test_a_wide_file_of_several_entities_keeps_them_apart(tmp_path: Path) -> None:
    parts = [wide(50, seed=n).with_columns(host=pl.lit(f"h{n}")) for n in (1, 2)]
    pl.concat(parts).write_csv(tmp_path / "hosts.csv")
    read = read_metric_file(tmp_path / "hosts.csv", ColumnMapping())
    assert read.metrics == ["h1:cpu", "h2:cpu", "h1:memory", "h2:memory"]
    assert read.frame.height == 50
    assert read.frame["h2:cpu"].to_list() == parts[1]["cpu"].to_list()
    assert read.notes == ()


def test_readings_that_a_long_file_has_twice_are_told_of(tmp_path: Path) -> None:
    rows = "2026-01-01,a,1\n2026-01-01,b,2\n2026-01-01,a,3\n"
    (tmp_path / "long.csv").write_text("timestamp,metric,value\n" + rows)
    read = read_metric_file(tmp_path / "long.csv", ColumnMapping())
    assert read.frame.drop(TIME).rows() == [(1.0, 2.0)]
    (note,) = read.notes
    assert note.startswith("1 readings have metric and time of an earlier one, such as a in row 3")


def test_columns_that_are_not_used_are_told_of(tmp_path: Path) -> None:
    (tmp_path / "wide.csv").write_text("timestamp,time,cpu\n2026-01-01,7,1\n2026-01-02,8,2\n")
    read = read_metric_file(tmp_path / "wide.csv", ColumnMapping())
    assert read.notes == (
        "column time is left out, as timestamp is the time; rename it if it is a metric",
    )
    quiet = read_metric_file(tmp_path / "wide.csv", ColumnMapping.parse(ignore=["time"]))
    assert quiet.notes == ()
    (tmp_path / "long.csv").write_text("timestamp,metric,value,unit\n2026-01-01,a,1,bar\n")
    assert read_metric_file(tmp_path / "long.csv", ColumnMapping()).notes == ("left out: unit",)


def test_readings_near_the_largest_float_are_scored_and_drawn(tmp_path: Path) -> None:
    huge = pl.when(pl.int_range(pl.len()) == 300).then(1e308)
    huge = huge.when(pl.int_range(pl.len()) == 301).then(-1e308)
    frame = wide(500, seed=7).select("when", cpu=huge.otherwise("cpu"))
    frame.write_csv(tmp_path / "huge.csv")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(
            *("--series", tmp_path / "huge.csv", "--out", tmp_path / "s.csv"),
            *("--plot", tmp_path / "p.png"),
        )
    assert [str(one.message) for one in caught if one.category is RuntimeWarning] == []
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_long_files_are_read_by_metric(files: Path, tmp_path: Path) -> None:
    frame = wide(50, seed=1)
    long = frame.unpivot(
        on=["cpu", "memory"], index="when", variable_name="metric", value_name="value"
    ).rename({"when": "timestamp"})
    long.write_csv(tmp_path / "long.csv")
    read = read_metric_file(tmp_path / "long.csv", ColumnMapping())
    assert read.metrics == ["cpu", "memory"]
    assert read.frame["cpu"].to_list() == frame["cpu"].to_list()


def test_empty_cells_are_missing_readings(tmp_path: Path) -> None:
    (tmp_path / "gaps.csv").write_text("timestamp,a,b\n2026-01-01,1,\n2026-01-02,,2\n")
    read = read_metric_file(tmp_path / "gaps.csv", ColumnMapping())
    assert read.frame.drop(TIME).rows() == [(1.0, None), (None, 2.0)]


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet", "jsonl", "JSON"])
def test_scores_are_called_like_their_file_whatever_dots_it_has(ending: str) -> None:
    names = [Path(f"in/10.0.0.{n}.{ending}") for n in (1, 2)]
    tasks = plan_tasks((), (), names, Path("dots"))
    assert [task.out for task in tasks] == [Path("dots/10.0.0.1.csv"), Path("dots/10.0.0.2.csv")]


def test_cells_that_are_no_numbers_are_told_of(tmp_path: Path) -> None:
    path = tmp_path / "mixed.csv"
    frame = wide(900, seed=4).drop("is_anomaly").with_columns(pl.col("cpu").cast(pl.String))
    odd = pl.when(pl.int_range(pl.len()) == 7).then(pl.lit("12,5")).otherwise("cpu")
    frame.with_columns(cpu=odd).write_csv(path)
    said = run("--series", path, "--out", tmp_path / "s.csv").replace("\n", " ")
    assert "column cpu: 1 of 900 cells are left out, such as '12,5' in row 8" in said
    assert "memory" not in said
    frame.select("when", cpu=pl.lit("50 %")).write_csv(path)
    assert "mixed.csv has no readings; column cpu" in refused(
        "--series", path, "--out", tmp_path / "s.csv"
    )


@pytest.mark.parametrize(
    "content",
    [
        "Zeit;T\n13.03.2026 06:00;1.523,5\n14.03.2026 06:00;1.523\n",
        "Datum;Uhrzeit;T\n13.03.2026;06:00;1.523,5\n14.03.2026;06:00;1.523\n",
        "timestamp;T;Quality\n2026-03-13 06:00;1523,5;Good\n2026-03-14 06:00;1523,00;Good\n",
    ],
)
def test_files_are_read_in_the_notations_of_an_import(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.csv").write_text(content)
    read = read_metric_file(tmp_path / "a.csv", ColumnMapping())
    assert read.metrics == ["T"]
    assert read.frame["T"].to_list() == [1523.5, 1523.0]
    six = datetime(2026, 3, 13, 6, tzinfo=UTC)
    assert read.frame[TIME].to_list() == [six, six + timedelta(days=1)]


def test_nothing_learned_does_not_look_like_nothing_unusual(tmp_path: Path) -> None:
    path = tmp_path / "twenty.csv"
    wide(20, seed=5).write_csv(path)
    said = run("--series", path, "--out", tmp_path / "s.csv").replace("\n", " ")
    assert "nothing was scored" in said


def test_a_fallback_that_judges_alone_is_told_of(tmp_path: Path) -> None:
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    wide(59, seed=5).write_csv(train)
    wide(100, seed=6).write_csv(test)
    said = run("--train", train, "--test", test, "--out", tmp_path / "s.csv").replace("\n", " ")
    assert "no model was learned from 59 rows, which takes 100" in said


def test_a_probation_shorter_than_asked_for_is_told_of(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.csv"
    said = run("--series", files / "series.parquet", "--probation", "0.9", "--out", out)
    assert "the first 750 rows are its probation" in said.replace("\n", " ")


def test_a_course_that_comes_an_hour_earlier_than_learned_is_told(tmp_path: Path) -> None:
    day, rng = np.arange(20 * 96) / 96, np.random.default_rng(4)
    later = day + (day >= 14) / 24
    load = 50 + 5 * np.sin(2 * np.pi * later) + rng.normal(0, 0.3, day.size)
    times = [f"{START + timedelta(minutes=15 * n):%Y-%m-%d %H:%M:%S}" for n in range(day.size)]
    frame = pl.DataFrame({"when": times, "load": load.round(4)})
    train, test, report = (tmp_path / name for name in ("train.csv", "test.csv", "r.json"))
    frame[: 14 * 96].write_csv(train)
    frame[14 * 96 :].write_csv(test)
    said = run(
        "--train", train, "--test", test, "--out", tmp_path / "s.csv", "--report", report
    )  # fmt: skip
    (told,) = json.loads(report.read_text())["changed"]["load"]
    assert told.startswith("its daily course comes 60 minutes earlier than in training")
    assert "test.csv: load: its daily course comes 60 minutes earlier" in " ".join(said.split())
