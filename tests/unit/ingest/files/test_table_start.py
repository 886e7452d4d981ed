"""Tables with lines around them: rows come back as they were written, or the file is refused."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_platform.ingest.files.readers import TablePlace, UnreadableFile
from anomaly_platform.ingest.layout.mapping import ColumnMapping

TIMES = [f"2024-03-01 0{hour}:00:00" for hour in range(6)]


def readings(outcome) -> set[tuple[str, str, float | None]]:
    frame = outcome.frame
    texts = frame["event_time"].dt.strftime("%Y-%m-%d %H:%M:%S")
    return set(zip(frame["metric"], texts, frame["value"], strict=True))


def table(header: str = "Date;plc.height;plc.length", end: str = "") -> str:
    rows = "".join(f"{time};{n}.5;{n + 100}{end}\n" for n, time in enumerate(TIMES))
    return f"{header}\n{rows}"


def written(first: str = "plc.height", second: str = "plc.length"):
    return {(first, time, n + 0.5) for n, time in enumerate(TIMES)} | {
        (second, time, n + 100.0) for n, time in enumerate(TIMES)
    }


PREAMBLES = {
    "nothing": "",
    "comments": "# logger 7; firmware 2\n# site; weir\n",
    "keys and values": "Server;PI01\nStart;2024-03-01 00:00:00\nTags;2\n\n",
    "as many delimiters as the table": "Server;PI01;\nStart;2024-03-01 00:00:00;\n;;\n",
    "a title": "Report of plant 7, hall 3\n",
    "a spreadsheet's hint": "sep=;\n",
    "a text over several lines": '"Report\nof; plant\n7"\n"by ""x"""\n',
    "commas in a table of semicolons": "Export, plant 7, hall 3, line 2\nmade, by, hand\n",
    "sixty lines": "".join(f"Key {n};value of {n}\n" for n in range(60)),
}
UNITS = {
    "none": "",
    "brackets": ";[°C];[bar]\n",
    "words": "yyyy-mm-dd hh:mm:ss;Deg C;m/s\n",
    "unheard of": ";furlong;fortnight\n",
    "types": "datetime;float;float\n",
    "types of another client": "DateTime;Float64;UInt8\n",
    "a rule": "----;----;----\n",
    "a rule without delimiters": "-------------\n",
}
FOOTERS = [
    "",
    "\n(6 rows affected)\n",
    "-- end --\n",
    "Total\n",
    "-------;---;---\n6 rows in set\n",
]


@pytest.mark.parametrize("footer", FOOTERS)
@pytest.mark.parametrize("units", UNITS.values(), ids=UNITS)
@pytest.mark.parametrize("preamble", PREAMBLES.values(), ids=PREAMBLES)
def test_lines_around_a_table_are_no_rows(preamble, units, footer, ingest):
    header, _, rows = table().partition("\n")
    outcome = ingest(f"{preamble}{header}\n{units}{rows}{footer}".encode(), "plclog.csv")
    assert readings(outcome) == written()
    assert outcome.reasons == []


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_delimiters_line_ends_and_encodings(delimiter, end, encoding, ingest):
    text = f"Site;Höhe\nServer;PI01\n{table('Zeit;Höhe;Länge')}"
    content = text.replace(";", delimiter).replace("\n", end).encode(encoding)
    assert readings(ingest(content, "x.csv")) == written("Höhe", "Länge")


@pytest.mark.parametrize(
    ("header", "end"),
    [
        ("Date;plc.height;plc.length", ";"),
        ("Date;plc.height;plc.length;", ""),
        ("Date;plc.height;plc.length;", ";"),
        ("Date;plc.height;plc.length", ";;;"),
        ("Date;plc.height;plc.length", ";\r"),
    ],
)
def test_delimiters_at_the_end_of_lines_are_no_columns(header, end, ingest):
    outcome = ingest(table(header, end).encode(), "plclog.csv")
    assert readings(outcome) == written()
    assert outcome.reasons == []


def test_a_delimiter_at_the_end_of_some_rows_only(ingest):
    text = table().replace("\n", ";\n", 4).replace("length;\n", "length\n")
    assert readings(ingest(text.encode(), "x.csv")) == written()
    quoted = table(end=";").replace("100;", '"100";')
    assert readings(ingest(quoted.encode(), "x.csv")) == written()


def test_a_row_with_a_value_too_many_stays_refused(ingest):
    text = table(end=";") + "2024-03-01 07:00:00;1;2;3\n2024-03-01 08:00:00;1\n"
    outcome = ingest(text.encode(), "x.csv")
    assert readings(outcome) == written()
    assert [reason[:18] for reason in outcome.reasons] == [
        "the row has 4 fiel",
        "the row has 2 fiel",
    ]


def test_rows_are_counted_from_the_first_one(read):
    batches = read(f"# x\n{table()}# restarted\n2024-03-02;1;2\n".encode(), "x.csv")
    assert batches[0].row_numbers.to_list() == [1, 2, 3, 4, 5, 6, 7]
    assert "lines that begin with # are left out" in batches[0].notes


TOA5 = [
    '"TOA5","Weir_02","CR1000","41234","CR1000.Std.32.05","CPU:weir.CR1","20111","TenMin"',
    '"TIMESTAMP","RECORD","AirTC_Avg","RH"',
    '"TS","RN","Deg C","furlongs"',
    '"","","Avg","Smp"',
    '"2024-03-01 00:00:00",5000,7.92,71.6',
    '"2024-03-01 00:10:00",5001,"NAN",69.8',
]


@pytest.mark.parametrize("left_out", [(), (3,), (2, 3)])
def test_a_loggers_toa5(left_out, ingest):
    lines = [line for place, line in enumerate(TOA5) if place not in left_out]
    outcome = ingest("\r\n".join(lines).encode(), "CR1000.csv")
    assert {("AirTC_Avg", "2024-03-01 00:00:00", 7.92), ("RH", "2024-03-01 00:10:00", 69.8)} <= (
        readings(outcome)
    )
    assert set(outcome.frame["metric"]) == {"RECORD", "AirTC_Avg", "RH"}
    assert ("AirTC_Avg", "2024-03-01 00:10:00", None) in readings(outcome)
    assert outcome.reasons == []


def test_a_toa5_that_its_logger_began_again(ingest):
    again = [line.replace("03-01", "03-02") for line in TOA5]
    outcome = ingest("\n".join([*TOA5, *again]).encode(), "CR1000.csv")
    times = {time for _, time, _ in readings(outcome)}
    assert times == {f"2024-03-0{day} 00:{minute}0:00" for day in (1, 2) for minute in (0, 1)}


def test_a_toa5_without_rows(read):
    assert read("\n".join(TOA5[:4]).encode(), "CR1000.csv")[0].frame.is_empty()


def test_a_toa5_as_wide_as_its_table(ingest):
    lines = ['"TOA5","Weir_02","CR1000"', *(line.rpartition(",")[0] for line in TOA5[1:])]
    assert set(ingest("\n".join(lines).encode(), "x.dat").frame["metric"]) == {
        "RECORD",
        "AirTC_Avg",
    }


@pytest.mark.parametrize(
    "lines",
    [
        (
            "         ts          | temp | hum ",
            "---------------------+------+-----",
            " 2024-03-01 00:00:00 |  7.1 |  70",
            "(1 row)",
        ),
        (
            "+---------------------+------+-----+",
            "| ts                  | temp | hum |",
            "+---------------------+------+-----+",
            "| 2024-03-01 00:00:00 |  7.1 |  70 |",
            "+---------------------+------+-----+",
            "1 row in set (0.00 sec)",
        ),
        (
            "ts                     ,temp ,hum  ",
            "-----------------------,-----,-----",
            "2024-03-01 00:00:00.000,  7.1,   70",
            "",
            "(1 rows affected)",
        ),
        (
            '"#NAMES"',
            '"t_stamp","temp","hum"',
            '"#TYPES"',
            '"T","F","F"',
            '"#ROWS","1"',
            '"2024-03-01 00:00:00","7.1","70"',
        ),
    ],
    ids=["psql", "mysql", "sqlcmd", "ignition"],
)
def test_tables_as_clients_draw_them(lines, ingest):
    outcome = ingest("\n".join(lines).encode(), "x.csv")
    at = "2024-03-01 00:00:00"
    assert readings(outcome) == {("temp", at, 7.1), ("hum", at, 70.0)}
    assert outcome.reasons == []


@pytest.mark.parametrize(
    "text",
    [
        "Tag,TIC101\nServer,PI\nMoment,Wert\n" + "".join(f"{time},1\n" for time in TIMES),
        "Report;2024\n2024-03-01;created\n2024-03-02;sent\nTimestamp;Value\n"
        + "".join(f"{time};1\n" for time in TIMES),
        "Plant\n" + "".join(f"{time};1;2\n" for time in TIMES),
    ],
    ids=["two lines may be it", "rows above it", "none"],
)
def test_what_is_not_plain_is_refused_with_the_option(text, ingest):
    with pytest.raises(UnreadableFile, match=r"--header-line N, .* the file begins with line 1: '"):
        ingest(text.encode(), "x.csv")


@pytest.mark.parametrize(
    "above",
    [
        "a,T,V,bar\n2024-03-01 00:00:00,a,a,a\nTimestamp,a,T,7",
        "a,T,V,2024-03-01 00:00:00\n2024-03-01 00:00:00,a,a,a\nTimestamp,a,7,T",
        "Date,a,T,2024-03-01 00:00:00\n2024-03-01 00:00:00,a,a,a\nMoment,a,T,V",
        "a,T,V,2024-03-01 00:00:00\n2024-03-01 00:00:00,a,a,a\nMoment,a,T,7",
        "a,T,V,bar\nts,a,T,V",
    ],
)
def test_names_among_the_first_rows_are_not_passed_over(above, ingest):
    rows = "".join(f"{time},{n}.0,{n}.1,{n}.2\n" for n, time in enumerate(TIMES))
    with pytest.raises(UnreadableFile, match="--header-line N"):
        ingest(f"{above}\n{rows}".encode(), "x.csv")


def test_a_row_of_words_among_rows_of_numbers_is_refused_by_itself(ingest):
    outcome = ingest(f"{table()}logger;restarted;7\n".encode(), "x.csv")
    assert readings(outcome) == written()
    assert len(outcome.reasons) == 2


@pytest.mark.parametrize("rows", [6, 600])
def test_a_second_table_of_other_columns_is_no_rows_of_the_first(rows, ingest):
    first, second = (
        f"time,{name}\n"
        + "".join(f"2024-03-{day} {n // 60:02d}:{n % 60:02d}:00,{n}.{place}\n" for n in range(rows))
        for place, (name, day) in enumerate((("temp", "01"), ("hum", "02")))
    )
    with pytest.raises(UnreadableFile, match=r"another table begins .* 'time,hum'|--header-line"):
        ingest(f"{first}\n{second}".encode(), "x.csv")
    same = second.replace("hum", "temp")
    outcome = ingest(f"{first}{same}".encode(), "x.csv")
    assert outcome.frame.height == 2 * rows
    assert len(outcome.reasons) == 1


def test_a_column_that_counts_the_rows_is_no_comment(ingest):
    text = '"#","Date","temp"\n' + "".join(f"{n},{time},{n}.5\n" for n, time in enumerate(TIMES))
    outcome = ingest(text.encode(), "x.csv", ColumnMapping({"Date": "timestamp"}, ignore=("#",)))
    assert readings(outcome) == {("temp", time, n + 0.5) for n, time in enumerate(TIMES)}


@pytest.mark.parametrize(
    "text",
    [
        "ts                   temp\n------------------- ----\n2024-03-01 00:00:00  7.1\n",
        "ts \u2502 temp\n2024-03-01 00:00:00 \u2502 7.1\n",
        "ts^temp\n2024-03-01 00:00:00^7.1\n",
    ],
    ids=["blanks", "drawn", "another sign"],
)
def test_columns_that_nothing_known_parts_are_named(text, ingest):
    with pytest.raises(UnreadableFile, match=r"comma, a semicolon, a tab or '\|', and .* 'ts"):
        ingest(text.encode(), "x.csv")


def test_a_header_line_that_is_said(ingest):
    text = "Tag,TIC101\n\nMoment,Wert\n" + "".join(f"{time},1\n" for time in TIMES)
    outcome = ingest(text.encode(), "x.csv", ColumnMapping(header_line=3))
    assert readings(outcome) == {("Wert", time, 1.0) for time in TIMES}
    for line, complaint in ((2, "is blank"), (60, "behind the file's end"), (4, "holds values")):
        with pytest.raises(UnreadableFile, match=complaint):
            ingest(text.encode(), "x.csv", ColumnMapping(header_line=line))
    with pytest.raises(UnreadableFile, match="first line is 1"):
        ColumnMapping(header_line=0)


def test_comments_that_are_said(ingest):
    text = '% by "x\n' + table().replace("02:00", "02:00:00;9;9\n% pause\n2024-03-01 02:00") + "%\n"
    outcome = ingest(text.encode(), "x.csv", ColumnMapping(comment="%"))
    assert readings(outcome) >= written() - {
        ("plc.height", TIMES[2], 2.5),
        ("plc.length", TIMES[2], 102.0),
    }
    assert all("%" not in reason for reason in outcome.reasons)


def test_a_file_without_a_header_is_named(ingest):
    with pytest.raises(UnreadableFile, match="put a header line before it"):
        ingest("".join(f"{time},pump,7\n" for time in TIMES).encode(), "x.csv")


def test_only_tables_of_text_have_a_header_line(read, tmp_path):
    import polars as pl

    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(UnreadableFile, match="no header line"):
        read((tmp_path / "x.parquet").read_bytes(), "x.parquet", place=TablePlace(header_line=2))


WORD = st.sampled_from(
    [
        "a",
        "T",
        "V",
        "bar",
        "Temp",
        "Druck",
        "Tag 7",
        "7",
        "1,5",
        "°C",
        "on",
        "Date",
        "Monday",
        "",
        "x",
    ]
)
NAME = st.sampled_from(
    ["a", "T", "V", "temp", "Druck [bar]", "plc.1", "Flow (m3/h)", "Zähler", "7"]
)
UNDER = WORD.filter(lambda word: word != "Date")  # a second header would be another table's
TIME_NAME = st.sampled_from(["Timestamp", "Date/Time", "Zeit", "ts", "time (UTC)", "Moment", "T0"])
LINE = st.lists(st.one_of(WORD, st.sampled_from(TIMES)), max_size=4)


@st.composite
def tables(draw) -> tuple[str, set[tuple[str, str, float]]]:
    delimiter = draw(st.sampled_from([",", ";", "\t", "|"]))
    names = draw(st.lists(NAME, min_size=1, max_size=3, unique=True))
    # A line as wide as the table (one more with a trailing delimiter) that begins with a name of
    # times is a header, and what stands below it may be its units (`ts` is TOA5's of a time).
    line = LINE.filter(lambda cells: cells[:1] != ["Date"] or len(cells) <= len(names))
    above: Sequence[list[str]] = draw(st.lists(line, max_size=4))
    under = draw(
        st.lists(st.lists(UNDER, min_size=len(names) + 1, max_size=len(names) + 1), max_size=2)
    )
    trailing = draw(st.sampled_from(["", delimiter]))
    rows = [
        [time, *(f"{n}.{place}" for place in range(len(names)))] for n, time in enumerate(TIMES)
    ]
    lines = [*above, [draw(TIME_NAME), *names], *under]
    text = "\n".join(
        [
            *(
                delimiter.join(f'"{cell}"' if delimiter in cell else cell for cell in line)
                for line in lines
            ),
            *(delimiter.join(row) + trailing for row in rows),
        ]
    )
    right = {
        (name, time, float(f"{n}.{place}"))
        for n, time in enumerate(TIMES)
        for place, name in enumerate(names)
    }
    return text + "\n", right


@given(case=tables())
@settings(max_examples=400, deadline=None)
def test_what_was_written_comes_back_or_the_file_is_refused(case):
    from tests.unit.ingest.conftest import ingest_bytes

    text, right = case
    try:
        outcome = ingest_bytes(text.encode(), "x.csv")
    except UnreadableFile:
        return
    if outcome.frame.is_empty():
        return
    assert readings(outcome) <= right, text
