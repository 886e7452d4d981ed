"""Long files with names of their own: read as such, or refused as a whole."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from anomaly_platform.cli.backtest.files import read_metric_file
from anomaly_platform.ingest.files.sources import UnreadableFile
from anomaly_platform.ingest.layout.context import LayoutContext
from anomaly_platform.ingest.layout.contradictions import Contradictions
from anomaly_platform.ingest.layout.mapping import ColumnMapping, MappingError
from anomaly_platform.ingest.layout.metrics import METRIC_READER

NOW = datetime(2026, 5, 1, tzinfo=UTC)
START = datetime(2026, 3, 1, tzinfo=UTC)


def long_file(header: str, times: int, devices: int = 4, *, by_series: bool = True) -> str:
    """Return a file of two metrics of some devices, as long as it takes to hide it in the head."""
    rows = [
        (
            f"P-{device}",
            metric,
            START + timedelta(minutes=15 * step),
            device + (metric == "Druck") / 8 + step / 4,
        )
        for device in range(devices)
        for metric in ("Druck", "Temperatur")
        for step in range(times)
    ]
    if not by_series:
        rows.sort(key=lambda row: row[2])
    lines = [f"{who};{what};{when:%d.%m.%Y %H:%M:%S};{value}" for who, what, when, value in rows]
    return "\n".join([header, *lines]) + "\n"


def context(**mapping: object) -> LayoutContext:
    return LayoutContext("x.csv", NOW, ColumnMapping.parse(**mapping))  # type: ignore[arg-type]


def read(text: str, **mapping: object) -> pl.DataFrame:
    parts = list(METRIC_READER.read(io.BytesIO(text.encode()), context(**mapping)))
    return pl.concat([rows for rows, _ in parts])


@pytest.mark.parametrize(
    "header",
    [
        "Geraet;Messgroesse;Zeitpunkt;Wert",
        "Gerät;Messgröße;Zeit;Messwert",
        "Machine;Parameter;When;Value",
        "device;Variable;Timestamp;Reading",
    ],
)
def test_long_files_are_known_by_common_names(header):
    rows = read(long_file(header, 3))
    assert rows.select("entity", "metric").unique().height == 8
    assert set(rows["metric"]) == {"Druck", "Temperatur"}
    assert rows["event_time"].min() == START
    assert rows.height == 24


@pytest.mark.parametrize("columns", [["Wer", "Parameter", "Wann", "Druck"], ["Wert", "Zeit"]])
def test_common_names_alone_make_no_long_file(columns):
    cells = ";".join("2026-03-01" if name in {"Wann", "Zeit"} else "7" for name in columns)
    rows = read(";".join(columns) + f"\n{cells}\n")
    assert set(rows["metric"]) <= set(columns)


def test_of_two_columns_that_may_be_the_entity_none_is_taken():
    rows = read("Anlage;Maschine;Parameter;Zeit;Wert\nA;B;T;2026-03-01;1\nA;B;T;2026-03-02;2\n")
    assert set(rows["entity"]) == {"x"}
    assert set(rows["metric"]) == {"T"}


@pytest.mark.parametrize("by_series", [True, False])
def test_a_misread_long_file_is_refused_with_the_options_that_read_it(by_series):
    text = long_file("Wer;Was;Wann;Wieviel", 3_000, by_series=by_series)
    with pytest.raises(MappingError) as refused:
        read(text)
    options = '--map "Wer=entity" --map "Was=metric" --map "Wieviel=value"'
    assert options in str(refused.value)
    rows = read(text, columns=["Wer=entity", "Was=metric", "Wieviel=value"])
    assert rows.select("entity", "metric", "event_time").is_unique().all()
    assert rows.height == 24_000


def test_the_hint_names_what_is_missing_alone():
    with pytest.raises(MappingError, match=r'such as --map "Wer=entity", or name'):
        read(long_file("Wer;metric;Wann;value", 3_000))


def test_a_column_that_is_left_out_is_no_hint():
    with pytest.raises(MappingError) as refused:
        read(long_file("Wer;metric;Wann;value", 3_000), ignore=["Wer"])
    assert "Wer=" not in str(refused.value)


def test_a_long_file_without_dates_has_no_time():
    with pytest.raises(MappingError, match="no column for the time"):
        read("who;metric;value\na;T;1\nb;T;2\n")


def test_numbers_of_devices_refuse_the_file_too():
    steps = [START + timedelta(minutes=15 * step) for step in range(12_000)]
    lines = [
        f"{nr};{when:%Y-%m-%d %H:%M};{nr + step}"
        for nr in range(3)
        for step, when in enumerate(steps)
    ]
    with pytest.raises(MappingError, match="contradict another one of the same time"):
        read("Nr;Zeit;Wert\n" + "\n".join(lines) + "\n")


def test_the_backtest_refuses_the_file_too(tmp_path: Path):
    file = tmp_path / "x.csv"
    file.write_text(long_file("Wer;Was;Wann;Wieviel", 3_000))
    with pytest.raises(UnreadableFile, match=r'x.csv: .*--map "Was=metric"'):
        read_metric_file(file, ColumnMapping())


def rows_of(times: int, values: int) -> pl.DataFrame:
    """Return raw rows with some values at each time."""
    every = [START + timedelta(seconds=second) for second in range(times)]
    return pl.DataFrame(
        {
            "entity": "a",
            "metric": "m",
            "event_time": pl.Series([one for one in every for _ in range(values)]),
            "event_time_text": "now",
            "value_text": [str(value) for _ in every for value in range(values)],
        }
    )


@pytest.mark.parametrize(("values", "refused"), [(1, False), (2, False), (3, True)])
def test_a_sample_of_the_times_tells_the_same(values, refused):
    layout = METRIC_READER.layout(io.BytesIO(b"Zeit,a\n2026-03-01,1\n"), context())
    found = Contradictions()
    for _ in range(3):
        found.see(rows_of(150_000, 1))
    few = found.refusal(layout, "")
    rows = rows_of(400_000, values)
    found = Contradictions()
    for at in range(0, rows.height, 100_000):
        found.see(rows.slice(at, 100_000))
    assert few is None
    assert (found.refusal(layout, "") is not None) is refused


def test_the_time_is_found_behind_a_mapped_column():
    text = "Wer;Wann;Stand\na;01.03.2026 00:00;1\nb;02.03.2026 00:00;2\n"
    rows = read(text, columns=["Wer=entity"])
    assert rows.select("entity", "metric").rows() == [("a", "Stand"), ("b", "Stand")]
    with pytest.raises(MappingError, match="no column for the time"):
        read(text.replace(".2026", ""), columns=["Wer=entity"])
