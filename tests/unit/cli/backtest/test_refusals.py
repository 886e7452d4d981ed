"""What a backtest refuses, and how it says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from anomaly_platform.cli.backtest.files import read_metric_file
from anomaly_platform.cli.backtest.metrics import plan_tasks
from anomaly_platform.ingest.files.sources import UnreadableFile
from anomaly_platform.ingest.layout.mapping import ColumnMapping
from tests.unit.cli.backtest.runs import refused, run


@pytest.mark.parametrize("out", ["s.json", "s", "s.csv.gz"])
def test_other_formats_are_refused(files: Path, tmp_path: Path, out: str) -> None:
    said = run("--series", files / "series.parquet", "--out", tmp_path / out, code=2)
    assert "has to end in .csv or .parquet" in " ".join(said.split())
    assert not (tmp_path / out).exists()


def test_several_files_need_a_folder(files: Path, tmp_path: Path) -> None:
    two = ("--series", files / "series.parquet", "--series", files / "train.csv")
    said = run(*two, "--out", tmp_path / "s.csv", code=2)
    assert "need a folder" in " ".join(said.split())


def test_a_file_without_a_time_says_so(tmp_path: Path) -> None:
    (tmp_path / "notime.csv").write_text("cpu,memory\n50.3,1\n50.4,2\n")
    with pytest.raises(UnreadableFile) as error:
        read_metric_file(tmp_path / "notime.csv", ColumnMapping())
    assert str(error.value) == (
        "notime.csv: no column has the time: none is called timestamp or time, and the first one, "
        "cpu, has '50.3' in row 1; name the column of the time with --map column=timestamp"
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("timestamp,a\nyesterday,1\n", "row 1: 'yesterday' is no time"),
        ("timestamp,a,is_anomaly\n2026-01-01,1,perhaps\n", "row 1: 'perhaps' in is_anomaly"),
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


def test_files_that_differ_in_their_endings_only_are_refused() -> None:
    with pytest.raises(ValueError, match="the same name"):
        plan_tasks((), (), [Path("10.0.0.1.csv"), Path("10.0.0.1.parquet")], Path("dots"))


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


@pytest.mark.parametrize(
    ("content", "option"),
    [
        ("timestamp;T\n03/04/2026 06:00;1\n", "several ways"),
        ('timestamp,T\n2026-03-13,"1,523"\n', "two ways"),
    ],
)
def test_what_admits_two_readings_is_refused(tmp_path: Path, content: str, option: str) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(UnreadableFile, match=option):
        read_metric_file(tmp_path / "a.csv", ColumnMapping())
