"""Known schemes of codes beside a stream's own, recognised by their form.

What belongs here: telling that a code is genuine in another scheme, and in which. Whether its check
digit is right, or its company exists, is for a stream of that scheme to judge.
"""

import re
from functools import lru_cache
from typing import Final

import polars as pl

from anomaly_platform.ml.features.scans.names import SIX_PARTS

SEPARATOR: Final = "\x1d"
"""GS, the character that ends a variable-length element where a scanner reads FNC1."""

_SPELLED: Final = re.compile(r"<(?:GS|FNC1)>|\{(?:GS|FNC1)\}|\[(?:GS|FNC1)\]|␝", re.IGNORECASE)
_SYMBOLOGY: Final = re.compile(rf"(?:\][A-Za-z][0-9])?{SEPARATOR}*")
_BLANKS: Final = re.compile(r" *([()]) *")

_COMPANY: Final = r"\d{6,12}"
_URN_TEXT: Final = r"[!-~]+"
_URNS: Final = {
    "sgtin|upui": rf"{_COMPANY}\.\d{{1,7}}\.{_URN_TEXT}",
    "sgln|grai|gdti": rf"{_COMPANY}\.\d{{0,6}}\.{_URN_TEXT}",
    "sscc|gsrn|gsrnp": rf"{_COMPANY}\.\d{{5,11}}",
    "giai|ginc": rf"{_COMPANY}\.{_URN_TEXT}",
    "gsin": rf"{_COMPANY}\.\d{{4,10}}",
    "pgln": rf"{_COMPANY}\.\d{{0,6}}",
    "sgcn": rf"{_COMPANY}\.\d{{0,6}}\.\d{{1,12}}",
    "cpi": rf"{_COMPANY}\.[^.]+\.\d{{1,12}}",
    "itip": rf"{_COMPANY}\.\d{{1,7}}\.\d{{2}}\.\d{{2}}\.{_URN_TEXT}",
    "gid": r"\d+\.\d+\.\d+",
    "usdod": r"[0-9A-Z]{5,6}\.\d+",
    "adi": rf"[0-9A-Z]{{5,6}}\.[^.]*\.{_URN_TEXT}",
    "bic": r"[A-Z]{3}[JUZ]\d{7}",
    "imovn": r"\d{7}",
}
_URN: Final = re.compile(
    r"urn:epc:(?:{ids}|{tags}|class:lgtin:{lot}|idpat:[a-z]+:(?:\*|{text})|raw:\d+(?:\.x[0-9A-F]+)+)".format(
        ids="|".join(f"id:(?:{names}):{body}" for names, body in _URNS.items()),
        tags="|".join(
            rf"tag:(?:{names})-(?:\d+|var):(?:\d\.)?{body}" for names, body in _URNS.items()
        ),
        lot=_URNS["sgtin|upui"],
        text=_URN_TEXT,
    ),
    re.ASCII | re.IGNORECASE,
)

_LINK_TEXT: Final = r"(?:[!\"'()*+,.:;<=>_A-Z0-9-]|%[0-9A-F]{2})"
_LINKS: Final = {
    "01|gtin": r"(?:\d{8}|\d{12,14})",
    "00|sscc|8006|itip|8017|gsrnp|8018|gsrn": r"\d{18}",
    "414|gln|417|party": r"\d{13}",
    "253|gdti": rf"\d{{13}}{_LINK_TEXT}{{0,51}}",
    "255|gcn": r"\d{13,25}",
    "402|gsin": r"\d{17}",
    "8003|grai": rf"\d{{14}}{_LINK_TEXT}{{0,48}}",
    "401|ginc|8004|giai|8010|cpid|8013|gmn": rf"{_LINK_TEXT}{{1,90}}",
}
_LINK: Final = re.compile(
    r"https?://[^/?#\s]+(?:/[^/?#\s]*)*?/(?:{keys})(?:/(?:\d{{2,4}}|[a-z]+)/{text}+)*"
    r"/?(?:\?[^#\s]*)?(?:#\S*)?".format(
        keys="|".join(f"(?:{names})/{value}" for names, value in _LINKS.items()), text=_LINK_TEXT
    ),
    re.ASCII | re.IGNORECASE,
)

_TEXT: Final = r"[!\"%-?A-Z_a-z]"
_DAY: Final = r"\d\d(?:0[1-9]|1[0-2])(?:[0-2]\d|3[01])"
#: Application identifiers whose length is fixed, each with its value: no separator follows.
_FIXED: Final = {
    "00": r"\d{18}",
    "0[1-3]": r"\d{14}",
    "1[1-35-7]": _DAY,
    "20": r"\d\d",
    r"3[1-6]\d\d": r"\d{6}",
    "41[0-7]": r"\d{13}",
}
_VARIABLE: Final = {
    "10|2[12]|42[0-7]": f"{_TEXT}{{1,20}}",
    "235|24[0-3]|25[0147]|40[013]|71[0-9]|8004|8010": f"{_TEXT}{{1,30}}",
    "253": rf"\d{{13}}{_TEXT}{{0,17}}",
    "255": r"\d{13,25}",
    "30|37": r"\d{1,8}",
    r"39\d\d": r"\d{1,18}",
    "402": r"\d{17}",
    "8003": rf"\d{{14}}{_TEXT}{{0,16}}",
    "8006|801[78]": r"\d{18}",
    r"43\d\d|7[02]\d\d|800[125789]|801[1-359]|8020|8026|81\d\d|82\d\d|9\d": f"{_TEXT}{{1,90}}",
}
_KEYS: Final = frozenset(
    {
        *("00", "01", "02", "253", "255", "401", "402", "414", "417"),
        *("8003", "8004", "8006", "8010", "8013", "8017", "8018"),
    }
)
"""Identifiers that say what is identified; the others say more of it."""
_PLAIN: Final = re.compile(
    "|".join(
        [
            *(
                rf"(?P<f{i}>{ai}){value}{SEPARATOR}?"
                for i, (ai, value) in enumerate(_FIXED.items())
            ),
            *(
                rf"(?P<v{i}>{ai}){value}(?:{SEPARATOR}|$)"
                for i, (ai, value) in enumerate(_VARIABLE.items())
            ),
        ]
    ),
    re.ASCII,
)
_BRACKETED: Final = re.compile(
    "|".join(
        rf"\((?P<b{i}>{ai})\){value}?{SEPARATOR}?(?=\(\d{{2,4}}\)|$)"
        for i, (ai, value) in enumerate({**_FIXED, **_VARIABLE}.items())
    ),
    re.ASCII,
)


def foreign_schemes(codes: pl.Series) -> pl.Series:
    """Return the known scheme that each code is genuine in; null where it is in none.

    Parameters
    ----------
    codes : polars.Series
        (n,) codes that do not fit their stream's own scheme.

    Examples
    --------
    >>> codes = ["urn:epc:id:sgtin:0614141.812345.6789", "(01)09506000134352(21)A", "(01)12"]
    >>> foreign_schemes(pl.Series(codes)).to_list()
    ['GS1 URN', 'GS1 element string', None]
    """
    return pl.Series("epc_scheme", [scheme_of(code) for code in codes], dtype=pl.String)


@lru_cache(maxsize=4_096)
def scheme_of(code: str) -> str | None:
    """Return the name of the known scheme that a code is genuine in, None for none."""
    if _SIX_PARTS.fullmatch(code):
        return "six-part code"
    if _URN.fullmatch(code):
        return "GS1 URN"
    if _LINK.fullmatch(code):
        return "GS1 Digital Link"
    return "GS1 element string" if _is_element_string(code) else None


_SIX_PARTS: Final = re.compile(SIX_PARTS, re.ASCII)


def _is_element_string(code: str) -> bool:
    """Whether a code is element strings that follow each other, and one of them is a key."""
    text = _SPELLED.sub(SEPARATOR, code)
    begin = _SYMBOLOGY.match(text)
    text = text[begin.end() if begin else 0 :]
    item = _PLAIN
    if text.lstrip(" ").startswith("("):
        text, item = _BLANKS.sub(r"\1", text), _BRACKETED
    found: list[str] = []
    at = 0
    while at < len(text):
        element = item.match(text, at)
        if element is None or element.lastgroup is None:
            return False
        found.append(element[element.lastgroup])
        at = element.end()
    # The same identifier twice is no element string: digits in a row can look like one.
    return len(found) == len(set(found)) and not _KEYS.isdisjoint(found)
