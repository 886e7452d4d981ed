"""Backtests from files to files."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from anomaly_platform.cli.backtest_files import TIME, read_metric_file
from anomaly_platform.cli.backtest_metrics import plan_tasks
from anomaly_platform.cli.main import app
from anomaly_platform.ingest.mapping import ColumnMapping
from anomaly_platform.ingest.sources import UnreadableFile

START = datetime(2026, 1, 5, tzinfo=UTC)


def wide(
    rows: int, *, seed: int, start: datetime = START, spike: int | None = None
) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    cpu = 50 + rng.normal(0, 1, rows)
    if spike is not None:
        cpu[spike : spike + 3] += 40
    labels = np.zeros(rows, dtype=int)
    if spike is not None:
        labels[spike : spike + 3] = 1
    times = [start + timedelta(minutes=5 * n) for n in range(rows)]
    return pl.DataFrame(
        {
            "when": [f"{time:%Y-%m-%d %H:%M:%S}" for time in times],
            "cpu": cpu.round(4),
            "memory": (30 + rng.normal(0, 2, rows)).round(4),
            "is_anomaly": labels,
        }
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    wide(900, seed=1).drop("is_anomaly").write_csv(folder / "train.csv")
    test = wide(400, seed=2, start=START + timedelta(minutes=5 * 900), spike=200)
    with gzip.open(folder / "test.csv.gz", "wb") as packed:
        packed.write(test.write_csv().encode())
    wide(900, seed=3, spike=700).write_parquet(folder / "series.parquet")
    return folder


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, ["backtest", "metrics", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_train_and_test_give_a_row_per_test_row_and_find_the_spike(
    files: Path, tmp_path: Path
) -> None:
    out, report, plot = tmp_path / "s.csv", tmp_path / "r.json", tmp_path / "p.png"
    said = run(
        "--train", files / "train.csv", "--test", files / "test.csv.gz", "--out", out,
        "--report", report, "--plot", plot,
    )  # fmt: skip
    scores = pl.read_csv(out)
    assert scores.columns == ["when", "score", "is_anomaly", "causes", "score_cpu", "score_memory"]
    assert json.loads(scores[200, "causes"])[0] == "cpu"
    assert (
        scores.filter(pl.col("is_anomaly") == 0)["causes"].null_count()
        == 400 - scores["is_anomaly"].sum()
    )
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
    assert "mean" in said


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


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("timestamp,a\nyesterday,1\n", "row 1: 'yesterday' is no time"),
        ("timestamp,a,is_anomaly\n2026-01-01,1,perhaps\n", "row 1"),
        ("timestamp,a\n", "no rows"),
        ("timestamp\n2026-01-01\n", "no column with values"),
    ],
)
def test_a_bad_file_is_named_with_its_row(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "bad.csv").write_text(content)
    with pytest.raises(UnreadableFile, match=reason):
        read_metric_file(tmp_path / "bad.csv", ColumnMapping())


def test_files_with_other_metrics_are_refused(files: Path, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("timestamp,disk\n2026-01-01,1\n")
    with pytest.raises(UnreadableFile, match=r"do not have the same metrics: .*disk"):
        run("--train", files / "train.csv", "--test", tmp_path / "other.csv", "--out", "x.csv")


@pytest.mark.parametrize(
    ("train", "test", "series"), [((), (), ()), (("a",), (), ()), (("a",), ("b",), ("c",))]
)
def test_options_that_do_not_fit_together_are_refused(
    train: tuple[str, ...], test: tuple[str, ...], series: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match=r"--train|--series"):
        plan_tasks(
            [Path(p) for p in train], [Path(p) for p in test], [Path(p) for p in series], Path("o")
        )


def refused(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, ["backtest", "metrics", *map(str, arguments)])
    assert isinstance(result.exception, (UnreadableFile, OSError))
    return str(result.exception)


def test_all_missing_files_are_named(files: Path, tmp_path: Path) -> None:
    said = refused(
        *("--train", tmp_path / "a.csv", "--test", files / "test.csv.gz"),
        *("--train", files / "train.csv", "--test", tmp_path / "b.csv"),
        *("--out", tmp_path / "scores"),
    )
    assert str(tmp_path / "a.csv") in said
    assert str(tmp_path / "b.csv") in said
    assert "train.csv" not in said


@pytest.mark.parametrize("option", ["--out", "--report", "--plot"])
def test_what_cannot_be_written_is_said_before_any_work(
    files: Path, tmp_path: Path, option: str
) -> None:
    (tmp_path / "file").touch()
    named = {"--out": tmp_path / "s.csv", option: tmp_path / "file" / "x.csv"}
    arguments = [part for pair in named.items() for part in pair]
    said = refused("--series", files / "series.parquet", *arguments)
    assert said.startswith(f"{option}: {tmp_path / 'file' / 'x.csv'} cannot be written (")
    assert "Errno" not in said
    assert not (tmp_path / "s.csv").exists()
    assert "is a folder" in refused("--series", files / "series.parquet", "--out", tmp_path)


def test_what_is_read_is_not_written_over(files: Path, tmp_path: Path) -> None:
    source = tmp_path / "mine.csv"
    source.write_bytes((files / "train.csv").read_bytes())
    before = source.read_bytes()
    for option in ("--out", "--report", "--plot"):
        others = () if option == "--out" else ("--out", tmp_path / "s.csv")
        assert f"{option}: {source} is read as well" in refused(
            "--series", source, option, source, *others
        )
    assert source.read_bytes() == before


def test_cells_that_are_no_numbers_are_told_of(tmp_path: Path) -> None:
    path = tmp_path / "mixed.csv"
    frame = wide(900, seed=4).drop("is_anomaly").with_columns(pl.col("cpu").cast(pl.String))
    odd = pl.when(pl.int_range(pl.len()) == 7).then(pl.lit("12,5")).otherwise("cpu")
    frame.with_columns(cpu=odd).write_csv(path)
    said = run("--series", path, "--out", tmp_path / "s.csv").replace("\n", " ")
    assert "column cpu: 1 of 900 cells are left out, such as '12,5' in row 8" in said
    assert "memory" not in said
    frame.select("when", cpu=pl.lit("50,6")).write_csv(path)
    assert "mixed.csv has no readings; column cpu" in refused(
        "--series", path, "--out", tmp_path / "s.csv"
    )


def test_nothing_learned_does_not_look_like_nothing_unusual(tmp_path: Path) -> None:
    path = tmp_path / "twenty.csv"
    wide(20, seed=5).write_csv(path)
    said = run("--series", path, "--out", tmp_path / "s.csv").replace("\n", " ")
    assert "nothing was scored" in said


def test_a_probation_shorter_than_asked_for_is_told_of(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.csv"
    said = run("--series", files / "series.parquet", "--probation", "0.9", "--out", out)
    assert "the first 750 rows are its probation" in said.replace("\n", " ")
