"""Commands that need no database: parsing, simulating, importing, refusing."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import typer
from rich.console import Console

from anomaly_platform import __version__
from anomaly_platform.cli import doctor, main
from anomaly_platform.cli.arguments import days_of
from anomaly_platform.cli.streams import run as materialize
from anomaly_platform.ingest.layout.mapping import MappingError
from tests.builders.commands import invoke, too_long


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANOMALY_HOME", str(tmp_path / "home"))


def _every(command: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from _every(below, (*path, name))


EVERY = sorted(_every(typer.main.get_command(main.app)))


@pytest.mark.parametrize("command", EVERY, ids=" ".join)
def test_the_help_of_every_command_fits_into_80_columns(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Help needs no home.
    monkeypatch.setattr("sys.argv", ["anomaly", *command, "--help"])
    said = invoke(*command, "--help", columns=80)
    assert "Usage: " in said
    assert not too_long(said)


def test_the_version_is_told_and_needs_no_home(tmp_path: Path) -> None:
    assert invoke("--version") == f"anomaly_platform {__version__}\n"
    assert not list(tmp_path.iterdir())


def test_simulate_writes_a_file_a_day_and_the_anomalies(tmp_path: Path) -> None:
    out = tmp_path / "sim"
    said = invoke("simulate", "iiot", "--out", out, "--days", 2, "--entities", 1, "--seed", 5)
    names = sorted(path.name for path in out.iterdir())
    assert names == ["anomalies.csv", "iiot-2026-01-01.csv", "iiot-2026-01-02.csv"]
    frame = pl.read_csv(out / "iiot-2026-01-01.csv")
    assert frame.columns == ["device_id", "metric_name", "value", "timestamp", "is_anomaly"]
    assert f"{frame.height + pl.read_csv(out / 'iiot-2026-01-02.csv').height:,} readings" in said


def test_import_copies_with_its_mapping(tmp_path: Path) -> None:
    source = tmp_path / "mine.csv"
    source.write_text("when;what;how much\n2026-01-01;cpu;1,5\n")
    said = invoke(
        "import", "ems", source, "--map", "when=timestamp", "--map", "what=metric_name",
        "--map", "how much=value", "--set", "asset_id=host-1", "--decimal", ",",
    )  # fmt: skip
    folder = tmp_path / "home" / "landing" / "ems"
    assert sorted(path.name for path in folder.iterdir()) == ["mine.csv", "mine.csv.mapping.json"]
    mapping = json.loads((folder / "mine.csv.mapping.json").read_text())
    assert mapping["set"] == {"asset_id": "host-1"}
    assert "long" in said


def test_import_says_what_a_column_of_names_may_be(tmp_path: Path) -> None:
    source = tmp_path / "mine.csv"
    source.write_text("Zeit;Pumpe;Wärme\n31.01.2026 08:00;P-12;48,9\n31.01.2026 08:05;P-12;49,1\n")
    said = invoke("import", "iiot", source, "--dry-run", code=1)
    assert "Pumpe holds no number" in said
    assert '--map "Pumpe=entity"' in said
    assert "holds no number" not in invoke(
        "import", "iiot", source, "--dry-run", "--map", "Pumpe=entity"
    )


def test_import_names_the_options_for_a_long_file(tmp_path: Path) -> None:
    source = tmp_path / "mine.csv"
    pumps = [
        f"{who};{what};0{day}.01.2026;{day}" for who in "AB" for what in "CD" for day in (1, 2)
    ]
    source.write_text("\n".join(["Wer;Was;Zeit;Stand", *pumps]) + "\n")
    said = invoke("import", "iiot", source, "--dry-run", code=1)
    assert "Wer, Was hold no number" in said
    assert '--map "Wer=entity" --map "Was=metric" --map "Stand=value"' in said


def test_import_refuses_a_misread_long_file_and_takes_nothing(tmp_path: Path) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    times = [f"{start + timedelta(minutes=step):%Y-%m-%d %H:%M}" for step in range(11_000)]
    lines = [
        f"P{pump};{when};{pump + step}" for pump in range(3) for step, when in enumerate(times)
    ]
    source = tmp_path / "mine.csv"
    source.write_text("\n".join(["Wer;Zeit;Stand", *lines]) + "\n")
    with pytest.raises(MappingError, match=r'mine.csv: the file is misread: .*--map "Wer=entity"'):
        invoke("import", "iiot", source)
    assert not (tmp_path / "home").exists()
    assert "long" not in invoke("import", "iiot", source, "--map", "Wer=entity", "--dry-run")


def test_import_refuses_a_mapping_that_does_not_fit(tmp_path: Path) -> None:
    source = tmp_path / "mine.csv"
    source.write_text("timestamp,cpu\n2026-01-01,1\n")
    with pytest.raises(MappingError, match=r"no column 'whem'; its columns are timestamp, cpu"):
        invoke("import", "ems", source, "--map", "whem=timestamp")
    assert not (tmp_path / "home" / "landing" / "ems" / "mine.csv").exists()


def test_import_refuses_what_cannot_be_read_and_takes_none_of_its_neighbours(
    tmp_path: Path,
) -> None:
    good = tmp_path / "good.csv"
    good.write_text("timestamp,cpu\n2026-01-01,1\n")
    source = tmp_path / "broken.csv.gz"
    source.write_bytes(b"\x1f\x8b\x08 broken")
    with pytest.raises(MappingError, match=r"broken\.csv\.gz: the gzip data"):
        invoke("import", "ems", good, source)
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name,load\nx,1\ny,2\n", r"none of the first 2 .*: not a time.*--map COLUMN=timestamp"),
        ("timestamp,cpu\n2026-01-01,warm\n", r"can be used; .* not a number"),
        ("timestamp,cpu\n", "the file has no rows"),
    ],
)
def test_import_refuses_a_file_without_one_usable_row(
    text: str, complaint: str, tmp_path: Path
) -> None:
    source = tmp_path / "mine.csv"
    source.write_text(text)
    with pytest.raises(MappingError, match=rf"(?s)mine\.csv: .*{complaint}"):
        invoke("import", "ems", source)
    invoke("import", "ems", source, "--dry-run", code=1)
    assert not (tmp_path / "home").exists()


def test_import_names_the_parts_of_a_time_and_the_quality(tmp_path: Path) -> None:
    source = tmp_path / "log.csv"
    source.write_text("Date;Time;VarName;Value;Validity\n13.03.2026;06:00:00;T1;1.5;1\n")
    said = invoke("import", "ems", source, "--map", "VarName=metric_name", "--dry-run")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in said.splitlines()]
    roles = {row[0]: row[1] for row in rows if len(row) == 3}
    assert roles["Date"] == roles["Time"] == "a part of the time"
    assert roles["Validity"] == "the quality"


def test_import_shows_what_columns_became_and_how_the_first_rows_read(tmp_path: Path) -> None:
    source = tmp_path / "plclog.csv"
    source.write_text(
        "Site;weir\nTime;Level;Flow\n;[m];[m3/h]\n"
        "2026-01-01 06:00;1.5;17;\n2026-01-01 06:10;NaN;18;\n"
    )
    said = invoke("import", "ems", source, "--dry-run", code=1)
    assert max(map(len, said.splitlines())) <= 80
    assert "the header is line 2" in said
    assert "no rows of data: line 3" in said
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in said.splitlines()]
    assert ["Time", "the time", "2026-01-01 06:00, 2026-01-01 06:10"] in rows
    assert ["Level", "a metric", "1.5, NaN"] in rows
    assert ["plclog", "Flow", "2026-01-01 06:00:00+00:00", "17.0"] in rows
    assert "refused, 1 of the first 4 readings" in said
    assert not (tmp_path / "home").exists()


def test_a_dry_run_reads_to_the_end_says_what_would_be_refused_and_makes_no_home(
    tmp_path: Path,
) -> None:
    source = tmp_path / "mine.csv"
    good = "".join(f"2026-01-01 {n // 60:02}:{n % 60:02},1\n" for n in range(1_200))
    source.write_text(f"timestamp,cpu\n{good}2026-01-02,warm\n2026-01-03,2\n")
    said = invoke("import", "ems", source, "--dry-run", code=1)
    assert (
        "mine.csv as a whole: 1,202 readings\n  refused, 1 of 1,202: the value is not a number"
        in said
    )
    source.write_text(f"timestamp,cpu\n{good}")
    assert "refused" not in invoke("import", "ems", source, "--dry-run")
    assert not (tmp_path / "home").exists()


def test_a_layout_is_saved_listed_shown_and_used(tmp_path: Path) -> None:
    lines = "Tag,TIC\nMoment,Wert\n2026-01-01 06:00,1\n2026-01-01 06:10,2\n"
    first, second = tmp_path / "trend_1.csv", tmp_path / "trend_2.csv"
    first.write_text(lines)
    second.write_text(lines)
    options = ("--header-line", 2, "--set", "asset_id=host", "--save-layout", "trend")
    invoke("import", "ems", first, *options, "--dry-run")
    assert "No layout is saved" in invoke("layouts", "list", "ems")
    assert "called trend_*.csv are read so" in invoke("import", "ems", first, *options)
    assert "trend_*.csv" in invoke("layouts", "list")
    shown = invoke("layouts", "show", "ems", "trend")
    assert "header_line: 2" in shown
    assert "decimal" not in shown
    assert "has no layout 'other'; it has trend" in invoke(
        "layouts", "show", "ems", "other", code=2
    )
    assert "by the layout trend" in invoke("import", "ems", second)
    landed = tmp_path / "home" / "landing" / "ems"
    texts = [(landed / f"{name}.mapping.json").read_text() for name in (first.name, second.name)]
    assert texts[0] == texts[1]
    assert json.loads(texts[0])["header_line"] == 2


def test_a_layout_that_cannot_be_saved_takes_no_file(tmp_path: Path) -> None:
    source, other = tmp_path / "a.csv", tmp_path / "b.csv"
    for file in (source, other):
        file.write_text("timestamp,cpu\n2026-01-01,1\n")
    for arguments, complaint in (
        ((source, "--save-layout", "x"), "nothing to save"),
        ((source, "--save-layout", "../x", "--timezone", "UTC"), "cannot be called"),
        (
            (source, other, "--save-layout", "x", "--timezone", "UTC"),
            r"b\.csv is not called a\.csv",
        ),
    ):
        with pytest.raises(MappingError, match=complaint):
            invoke("import", "ems", *arguments)
    assert not (tmp_path / "home").exists()


def test_unknown_streams_and_days_are_named() -> None:
    assert "there is no stream 'emms'" in invoke("run", "emms", code=2)
    assert "write 2026-01-01:2026-01-31" in invoke("run", "ems", "--days", "soon", code=2)
    assert "lies after the last" in invoke("run", "ems", "--days", "2026-02-01:2026-01-01", code=2)


def test_days_are_one_or_a_span() -> None:
    assert days_of("2026-01-02") == (date(2026, 1, 2), date(2026, 1, 2))
    assert days_of("2026-01-02:2026-01-05") == (date(2026, 1, 2), date(2026, 1, 5))
    assert days_of(None) is None
    with pytest.raises(typer.BadParameter):
        days_of("2026-13-01")


def test_long_histories_are_cut_into_spans() -> None:
    days = [date.fromordinal(date(2026, 1, 1).toordinal() + n) for n in range(200)]
    spans = materialize._spans(days)
    assert spans[0][0] == days[0]
    assert spans[-1][1] == days[-1]
    assert all((last - first).days < materialize.SPAN_DAYS for first, last in spans)


def test_doctor_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from anomaly_platform.settings import Settings, get_settings

    blocked = tmp_path / "file"
    blocked.write_text("not a folder")

    def find(settings: Settings, subject: str) -> doctor.Finding:
        return next(one for one in doctor.examine(settings, 3000) if one.subject == subject)

    finding = find(get_settings(home=blocked / "home"), "Home")
    assert not finding.works
    assert "ANOMALY_HOME" in finding.fix
    wrong = get_settings(home=tmp_path, database_url="postgresql://me:secret@127.0.0.1:1/nothing")
    database = find(wrong, "PostgreSQL")
    assert not database.works
    assert "secret" not in database.detail


def test_doctor_looks_at_all_ports_and_knows_the_platform_of_its_own_home(tmp_path: Path) -> None:
    from anomaly_platform.cli.services.running import only_platform_of
    from anomaly_platform.settings import get_settings

    with ExitStack() as listening:
        taken = [listening.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        ui, api, mlflow = (one.getsockname()[1] for one in taken)
        settings = get_settings(home=tmp_path, api_port=api, mlflow_port=mlflow)

        def ports() -> dict[str, doctor.Finding]:
            found = doctor.examine(settings, ui)
            return {one.subject: one for one in found if one.subject.startswith("Port of")}

        others = ports()
        assert list(others) == ["Port of Dagster's UI", "Port of the API", "Port of MLflow"]
        assert not any(one.works for one in others.values())
        assert "ANOMALY_API_PORT" in others["Port of the API"].fix
        with only_platform_of(tmp_path, f"http://127.0.0.1:{ui}", [ui, api]):
            own = ports()
        assert own["Port of Dagster's UI"].works
        assert "`anomaly up` of this home" in own["Port of the API"].detail
        assert not own["Port of MLflow"].works


def test_what_only_looks_makes_no_home_and_says_that_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANOMALY_API_PORT", "1")
    monkeypatch.setenv("ANOMALY_MLFLOW_PORT", "1")
    said = invoke("home")
    assert f"{tmp_path / 'home'}\nIt does not exist yet: `anomaly init` makes one" in said
    assert "home, which does not exist yet" in invoke("doctor", "--port", 1)
    invoke("streams")
    invoke("layouts", "list")
    assert not list(tmp_path.iterdir())


def test_import_never_replaces_a_file_that_waits(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "data.csv").write_text("timestamp,cpu\n2026-01-01,1\n")
    invoke("import", "ems", tmp_path / "a" / "data.csv", "--set", "asset_id=a")
    with pytest.raises(FileExistsError, match=r"has a file data\.csv already"):
        invoke("import", "ems", tmp_path / "b" / "data.csv", "--set", "asset_id=b")


def test_simulate_keeps_apart_from_another_simulation(tmp_path: Path) -> None:
    out = tmp_path / "sim"
    arguments = ("simulate", "iiot", "--out", out, "--entities", 1)
    invoke(*arguments, "--days", 2)
    said = " ".join(invoke(*arguments, "--days", 1, code=2).replace("│", " ").split())
    assert "1 file of another simulation, such as iiot-2026-01-02.csv" in said
    assert "in 2 files, one a day" in invoke(*arguments, "--days", 2, "--seed", 1)


def test_simulate_says_on_which_days_nothing_happened(tmp_path: Path) -> None:
    arguments = ("simulate", "barcode", "--entities", 1, "--out")
    few = invoke(*arguments, tmp_path / "few", "--days", 30, "--seed", 1)
    files = len(list((tmp_path / "few" / "scans").iterdir()))
    assert files < 30
    assert f"in {files} files of the folder scans, one a day" in few
    assert f"({30 - files} of the 30 days have no scan)" in few
    assert "ask for more --entities" in invoke(*arguments, tmp_path / "no", "--days", 1, code=2)


def test_simulate_names_a_bad_day(tmp_path: Path) -> None:
    said = invoke("simulate", "ems", "--out", tmp_path / "x", "--start", "tomorrow", code=2)
    assert "is no day" in said


def test_simulate_barcode_writes_scans_reference_and_labels_that_import_takes(
    tmp_path: Path,
) -> None:
    out = tmp_path / "network"
    said = invoke("simulate", "barcode", "--out", out, "--days", 2, "--entities", 30, "--seed", 5)
    scans = [pl.read_csv(path) for path in sorted((out / "scans").iterdir())]
    assert f"{sum(frame.height for frame in scans):,} scans in 2 files" in said
    incidents = pl.read_csv(out / "labels.csv", infer_schema=False)
    flagged = pl.concat(frame.filter("is_anomaly")["event_id"] for frame in scans)
    assert set(incidents["event_id"]) == set(flagged.cast(pl.String))
    reference = sorted((out / "reference").glob("*.csv"))
    told = invoke("import", "barcode", *reference, *sorted((out / "scans").iterdir()))
    assert told.count("(reference)") == len(reference) == 5
    kept = tmp_path / "home" / "reference" / "barcode"
    assert sorted(path.name for path in kept.iterdir()) == [path.name for path in reference]
    assert (kept / "locations.csv").read_bytes() == (out / "reference/locations.csv").read_bytes()
    landed = tmp_path / "home" / "landing" / "barcode"
    assert len(list(landed.glob("barcode-*.csv"))) == 2


def test_import_refuses_reference_data_that_training_could_not_use(tmp_path: Path) -> None:
    file = tmp_path / "locations.csv"
    file.write_text("scan_location,location_type\nHere,WMS\n")
    with pytest.raises(MappingError, match="missing columns"):
        invoke("import", "barcode", file)
    assert not (tmp_path / "home" / "reference" / "barcode" / "locations.csv").exists()


def test_a_wrong_stream_file_is_listed_beside_the_good_ones_and_in_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "streams"
    folder.mkdir()
    monkeypatch.setenv("ANOMALY_STREAMS_DIR", str(folder))
    monkeypatch.setattr(main, "console", Console(width=200))
    (folder / "good.yaml").write_text("name: boilers\nfrequency: 5m\n")
    assert "boilers" in invoke("streams")
    (folder / "wrong.yaml").write_text("name: valves\nfrequncy: 5m\n")
    said = invoke("streams", code=1)
    assert "boilers" in said
    assert "did you mean 'frequency'?" in said
