"""Codes of other known schemes are recognised by their form, and nothing else is."""

from __future__ import annotations

import polars as pl
import pytest

from anomaly_platform.ml.features.scans.codes import parts_of
from anomaly_platform.ml.features.scans.schemes import foreign_schemes, scheme_of

URNS = [
    "urn:epc:id:sgtin:0614141.812345.6789",
    "urn:epc:id:sgtin:0614141.812345.32a%2Fb",
    "URN:EPC:ID:SGTIN:0614141.812345.6789",
    "urn:epc:id:sscc:0614141.1234567890",
    "urn:epc:id:sgln:0614141.12345.400",
    "urn:epc:id:sgln:061414112345..0",
    "urn:epc:id:grai:0614141.12345.400",
    "urn:epc:id:giai:0614141.12345400",
    "urn:epc:id:gsrn:0614141.1234567890",
    "urn:epc:id:gdti:0614141.12345.006847",
    "urn:epc:id:cpi:0614141.123ABC.123456789",
    "urn:epc:id:itip:4012345.012345.01.02.987",
    "urn:epc:tag:sgtin-96:3.0614141.812345.6789",
    "urn:epc:tag:gid-96:95100000.12345.400",
    "urn:epc:class:lgtin:4012345.012345.998877",
    "urn:epc:idpat:sgtin:0614141.812345.*",
    "urn:epc:raw:96.x3034257BF7194E4000001A85",
]
LINKS = [
    "https://id.gs1.org/01/09506000134352/21/12345",
    "https://id.gs1.org/01/9506000134352",
    "https://example.com/some/path/01/09506000134352/10/ABC/21/1?17=251231",
    "http://brand.example/gtin/614141123452/lot/ABC/ser/12",
    "HTTPS://ID.GS1.ORG/01/09506000134352/21/12%2F45?linkType=all#top",
    "https://user.example:8443/a/b/00/106141412345678908/",
    "https://id.gs1.org/414/9521321000010/254/12",
    "https://id.gs1.org/8003/09521321000010AB",
    "https://id.gs1.org/8004/0614141AB",
]
ELEMENTS = [
    "(01)09506000134352(21)12345",
    "(21)12345(01)09506000134352(10)LOT(17)251231",
    "(01)09506000134352(10)ABC\x1d(21)123",
    "(01) 09506000134352 (21) 1(2)",
    "(00)106141412345678908",
    "(414)9521321000010(254)12",
    "(8003)09521321000010AB",
    "0109506000134352211234\x1d10LOT\x1d17251231",
    "\x1d010950600013435210AB\x1d21XYZ",
    "]C1010950600013435210AB\x1d21XYZ",
    "]d2010950600013435210AB\x1d21XYZ",
    "10LOT\x1d0109506000134352\x1d21A",
    "17251231010950600013435221A",
    "00106141412345678908",
    "4149521321000010254A12",
    "{FNC1}0109506000134352{FNC1}21AB",
    "01095060001343523103000125",
]
NOTHING = [
    *("", " ", "(", "()", "hello", "999.nonsense", "10ABC", "21xyz", "(99)abc", "8801234567893"),
    "urn:epc:id:sgtin:abc",
    "urn:epc:id:sgtin:0614141.812345",
    "urn:epc:id:sgtin:0614141.812345.",
    "urn:epc:id:nothing:1.2.3",
    "https://example.com/hello",
    "https://example.com/01/123",
    "https://example.com/01/09506000134352/reviews",
    "(01)123",
    "(01)0950600013435X",
    "(01)09506000134352(21)",
    "(17)259931(01)09506000134352",
    "(01)09506000134352(01)09506000134353",
    "0109506000134352\x1d\x1d",
    "001.8804823.0000003.000001.20241201.00000001",
    "001-8804823-0000003-000001-20241201-000000001",
    # Without its dots, a six-part code is two shipment numbers in a row.
    "0018804823000000300000120241201000000001",
    # Digits of another script.
    "(01)09506000134٣52(21)12345",
]


@pytest.mark.parametrize(
    ("scheme", "codes"),
    [("GS1 URN", URNS), ("GS1 Digital Link", LINKS), ("GS1 element string", ELEMENTS)],
)
def test_genuine_codes_are_known_by_their_form(scheme: str, codes: list[str]) -> None:
    assert [code for code in codes if scheme_of(code) != scheme] == []


@pytest.mark.parametrize("code", NOTHING)
def test_everything_else_is_of_no_known_scheme(code: str) -> None:
    assert scheme_of(code) is None


def test_a_code_of_another_scheme_is_not_malformed_and_has_no_parts() -> None:
    codes = pl.Series([LINKS[0], "hello.there", "001.8804823.0000003.000001.20241201.000000001"])
    parts = parts_of(codes)
    assert parts["epc_malformed"].to_list() == [False, True, False]
    assert parts["epc_scheme"].to_list() == ["GS1 Digital Link", None, None]
    assert parts["epc_header"].to_list() == [None, "hello", "001"]
    own = parts_of(codes, r"^(?P<serial>hello\..*)$")
    assert own["epc_scheme"].to_list() == ["GS1 Digital Link", None, "six-part code"]
    assert own["epc_malformed"].to_list() == [False, False, False]


def test_digits_of_another_script_are_no_digits_of_a_code() -> None:
    parts = parts_of(pl.Series(["001.8804823.0000003.000001.20241201.00000000١"]))
    assert parts["epc_malformed"].to_list() == [True]


def test_no_codes_have_no_schemes() -> None:
    assert foreign_schemes(pl.Series([], dtype=pl.String)).is_empty()
