"""Numbers are read in the notation of their file, or refused."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_platform.ingest.files.sources import UnreadableFile
from anomaly_platform.ingest.layout.mapping import MappingError
from tests.unit.ingest.layout.notation_files import column, raw, read, values


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1.523,4", "1.523", "950", "-0,5"], [1523.4, 1523.0, 950.0, -0.5]),
        (["12,5", "1.523"], [12.5, 1523.0]),
        (["1,000,000", "1,523"], [1_000_000.0, 1523.0]),
        (["950.25", "1,523"], [950.25, 1523.0]),
        (["1.000.000", "1.523"], [1_000_000.0, 1523.0]),
        (["1.523", "2.1"], [1.523, 2.1]),
        (["1.523", "1.999"], [1.523, 1.999]),
        (["1 523,4", "1\u00a0523", "1\u202f523"], [1523.4, 1523.0, 1523.0]),
        (["1'523.4", "1’523"], [1523.4, 1523.0]),
        (["−1.523,4", "+1.523,4e-2", "1,5E3"], [-1523.4, 15.234, 1500.0]),
        (["0,523", "1,523"], [0.523, 1.523]),
        (["#N/A", "Bad", "NULL", "3"], [None, None, None, 3.0]),
        (["Running", "stopped", "OPEN", "closed"], [1.0, 0.0, 1.0, 0.0]),
        (["Good", "Bad", "good"], [1.0, 0.0, 1.0]),
        (["ein", "aus", "auf", "zu"], [1.0, 0.0, 1.0, 0.0]),
    ],
)
def test_numbers_and_states(cells, expected):
    assert values(column(*cells)) == expected
    # All of it is far behind the rows that are looked at first.
    frame, rejects = read("timestamp;load;n\n" + _far_behind(cells))
    assert rejects.is_empty()
    late = frame.filter(pl.col("metric") == "load")["value"].to_list()[-len(cells) :]
    if "Good" not in cells:
        assert late == expected


def _far_behind(cells: list[str]) -> str:
    first = datetime(2026, 3, 1)  # noqa: DTZ001
    rows = ["" for _ in range(12_000)] + cells
    return "".join(f"{first + timedelta(seconds=n)};{cell};{n}\n" for n, cell in enumerate(rows))


@pytest.mark.parametrize("cells", [["1,523"], ["1,523", "2,100", "950"], ["1,523", "1.523"]])
def test_what_stays_ambiguous_refuses_the_file(cells):
    with pytest.raises(MappingError, match=r"'load' can be read in two ways.*--decimal ,"):
        read(column(*cells))
    assert values(column(cells[0]), decimal=",") == [1.523]
    assert values(column(cells[0]), decimal=".") == [1523.0]


def test_a_column_with_points_beside_one_with_commas_is_refused():
    text = "timestamp;load;level\n2026-03-01;12,5;1.523\n"
    with pytest.raises(MappingError, match="'level' can be read in two ways"):
        read(text)
    assert values(text, decimal=",") == [1523.0, 12.5]
    assert values("timestamp;load;level\n2026-03-01;12,5;1.5\n") == [1.5, 12.5]


def test_columns_in_contradicting_notations_are_refused():
    with pytest.raises(MappingError, match="1 numbers with a decimal point and 2 with a decimal"):
        read(column("12,5", "13,5", "1.5"))


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        *(("12.5 °C", "has a unit"), ("45 %", "has a unit"), ("3m³/h", "has a unit")),
        *(("1,00,000", "has a comma"), ("1.5.2", "not a number"), ("(5)", "not a number")),
    ],
)
def test_a_value_that_is_no_number_is_refused_by_itself(cell, reason):
    frame, rejects = read(column("1.5", cell, "2.5"))
    assert frame["value"].to_list() == [1.5, 2.5]
    assert reason in rejects["reason"][0]


def test_quarantine_shows_what_stood_in_the_file():
    text = column("1.523,4", "12.34") + "2026-03-01 00:00:00;2.000,5\n"
    frame, rejects = read(text, decimal=",")
    assert frame["value"].to_list() == [1523.4]
    conflict, misfit = sorted(rejects["reason"])
    assert conflict == "conflicts with an earlier event of the same key"
    assert misfit.startswith("the value does not fit its column, whose decimal sign is a comma")
    assert [('"2.000,5"' in shown) or ('"12.34"' in shown) for shown in rejects["raw"]] == [
        True
    ] * 2


NUMBERS = st.lists(
    st.tuples(st.integers(-(10**9), 10**9), st.sampled_from([0, 1, 2, 3, 4]), st.booleans()),
    min_size=1,
    max_size=8,
)


@given(
    numbers=NUMBERS,
    signs=st.sampled_from([(",", "."), (".", ","), (",", " "), (".", "’"), (",", "\u202f")]),
)
@settings(max_examples=150, deadline=None)
def test_a_number_comes_back_as_it_was_meant_or_is_refused(numbers, signs):
    decimal, group = signs
    cells, meant = [], []
    for digits, places, grouped in numbers:
        written = f"{digits / 10**places:{',' if grouped else ''}.{places}f}"
        cells.append(written.translate({ord("."): decimal, ord(","): group}))
        meant.append(round(digits / 10**places, places))
    try:
        frame, rejects = read(column(*cells))
    except MappingError:
        pass
    else:
        read_back = dict(zip(frame["event_time"].dt.second(), frame["value"], strict=True))
        # A single point alone is the decimal sign, as the docs say.
        alone = all("," not in cell for cell in cells) and decimal == ","
        alone = alone and not any(cell.count(".") > 1 for cell in cells)
        for place, value in read_back.items():
            if not (alone and "." in cells[place]):
                assert value == meant[place], cells
        assert frame.height + rejects.height == len(cells)
    sure = read(column(*cells), decimal=decimal)
    assert sure[1].is_empty()
    assert sure[0]["value"].to_list() == meant


@given(
    cells=st.lists(
        st.sampled_from(
            ["1.523", "1,523", "12,5", "12.5", "1.523,4", "950", "on", "x", "", "1 000"]
        ),
        min_size=1,
        max_size=30,
    )
)
@settings(max_examples=60, deadline=None)
def test_a_file_is_read_the_same_in_batches_of_any_size(cells):
    def outcome(batch_rows: int) -> object:
        try:
            rows, rejects = raw(column(*cells), batch_rows=batch_rows)
        except UnreadableFile as error:
            return error.reason
        return rows.rows(), rejects.sort("row_number").rows()

    assert outcome(1) == outcome(7) == outcome(250_000)


def test_a_state_among_numbers_is_refused_by_itself():
    frame, rejects = read(column("12.5", "Open", "0", "13.5"))
    assert frame["value"].to_list() == [12.5, 0.0, 13.5]
    assert rejects["reason"].to_list() == [
        "the value is a state among numbers: not a number, and not 0 or 1 here"
    ]
