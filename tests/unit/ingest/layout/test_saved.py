"""Saved layouts: what was saved is read again, and fits the files that it is for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.ingest.layout.mapping import ColumnMapping, MappingError
from anomaly_platform.ingest.layout.saved import (
    SavedLayout,
    fitting,
    mapping_of,
    pattern_of,
    read_layout,
)

NAMES = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), min_size=1).map(
    str.strip
)
MAPPINGS = st.builds(
    ColumnMapping,
    columns=st.dictionaries(NAMES.filter(bool), st.just("timestamp"), max_size=2),
    constants=st.dictionaries(st.just("device_id"), NAMES.filter(bool), max_size=1),
    timezone=st.sampled_from([None, "Europe/Berlin"]),
    decimal=st.sampled_from([".", ","]),
    header_line=st.sampled_from([None, 3]),
    comment=st.sampled_from([None, "%", "# "]),
)


@given(mapping=MAPPINGS)
def test_what_was_saved_is_read_again(mapping: ColumnMapping) -> None:
    saved = SavedLayout("plclog_*.csv", mapping)
    assert read_layout("x", saved.to_yaml()) == saved


@pytest.mark.parametrize(
    ("name", "pattern", "other"),
    [
        ("plclog_2026-03-01.csv", "plclog_*.csv", "plclog_2026-03-02.csv"),
        ("CR1000_TenMin.dat", "CR*_TenMin.dat", "CR6_TenMin.dat"),
        ("a[1].csv.gz", "a?*].csv.gz", "a[2].csv.gz"),
        ("trend.csv", "trend.csv", "trend.csv"),
    ],
)
def test_the_pattern_of_a_name_leaves_its_numbers_open(name: str, pattern: str, other: str) -> None:
    assert pattern_of(name) == pattern
    layout = SavedLayout(pattern, ColumnMapping())
    assert layout.fits(f"folder/{name}")
    assert layout.fits(other)
    assert not layout.fits(f"x{name}")


def test_one_layout_fits_a_name_or_none() -> None:
    texts = {"a": "files: 'a*.csv'\ndecimal: ','\n", "ab": "files: 'ab*.csv'\n"}
    assert fitting("x.csv", texts) is None
    assert mapping_of("a1.csv", texts) == ColumnMapping(decimal=",")
    assert mapping_of("x.csv", texts) == ColumnMapping()
    with pytest.raises(MappingError, match=r"'a' and 'ab' both fit the name 'ab1\.csv'"):
        fitting("ab1.csv", texts)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("decimal: ','\n", "no pattern of names"),
        ("files: x\ncolour: red\n", "layout 'mine': the mapping is not"),
        ("files: x\nheader_line: soon\n", "not the number of a line"),
        ("files: [\n", "layout 'mine', line"),
        ("files: ' '\n", "needs the pattern"),
    ],
)
def test_a_layout_that_says_something_else_is_named(text: str, complaint: str) -> None:
    with pytest.raises(MappingError, match=complaint):
        read_layout("mine", text)


def test_a_pattern_fits_a_packed_file_too() -> None:
    plain, packed = (SavedLayout(f"edge_*.{end}", ColumnMapping()) for end in ("csv", "csv.gz"))
    assert plain.fits("edge_again.csv.gz")
    assert not packed.fits("edge_again.csv")
    texts = {"plain": plain.to_yaml(), "packed": packed.to_yaml()}
    assert fitting("edge_again.csv.gz", texts) == "packed"
    assert fitting("edge_again.csv", texts) == "plain"
    assert fitting("edge_again.csv.gz", {"plain": texts["plain"]}) == "plain"
