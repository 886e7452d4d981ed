"""Numbers with digit groups and decimal commas: what a column shows of its signs, and its reading.

Here belongs what ``1.523,4`` says. A text is *certain* where it admits one reading only: ``12,5``,
``0,523``, ``1.523,4``, ``1,000,000``, ``1 523,400``. ``1,523`` and ``1.523`` are not: they are read
as the certain numbers of their column are. A single point alone is the decimal sign.
"""

import re
from typing import Final, Literal, NamedTuple

import polars as pl

Sign = Literal["", ".", ","]
"""The decimal sign of a column; '' where each number has to be certain by itself, a point's."""

_EXPONENT: Final = r"(?:[eE][+-]?[0-9]{1,3})?"


def _groups(mark: str) -> str:
    return rf"[1-9][0-9]{{0,2}}(?:{re.escape(mark)}[0-9]{{3}})+"


#: Blanks (also those that do not break a line) and apostrophes: never a decimal sign.
_GROUP_MARKS: Final = (" ", "\u00a0", "\u2009", "\u202f", "'", "\u2019")
_ANY_GROUPS: Final = "|".join(_groups(mark) for mark in _GROUP_MARKS)
_MINUS: Final = "\u2212"


def _certain(sign: str, other: str) -> str:
    """Return the pattern of numbers in which this sign can only be the decimal sign."""
    point, mark = re.escape(sign), re.escape(other)
    forms = (
        rf"(?:{_ANY_GROUPS}|{_groups(other)}){point}[0-9]+",
        rf"[1-9][0-9]{{0,2}}(?:{mark}[0-9]{{3}}){{2,}}",
        rf"(?:[0-9]{{4,}}|0[0-9]*|){point}[0-9]+",
        rf"[0-9]+{point}(?:[0-9]{{1,2}}|[0-9]{{4,}})",
    )
    with_exponent = rf"[0-9]+{point}[0-9]+[eE][+-]?[0-9]+"
    return rf"^[+-]?(?:(?:{'|'.join(forms)}){_EXPONENT}|{with_exponent})$"


def _pattern(sign: str, other: str) -> str:
    """Return the pattern of the numbers of a column with this decimal sign."""
    point = re.escape(sign)
    groups = f"{_ANY_GROUPS}|{_groups(other)}" if other else _ANY_GROUPS
    return rf"^[+-]?(?:(?:{groups}|[0-9]+)(?:{point}[0-9]*)?|{point}[0-9]+){_EXPONENT}$"


_CERTAIN: Final = {".": _certain(".", ","), ",": _certain(",", ".")}
_UNCERTAIN: Final = {
    ".": r"^[+-]?[1-9][0-9]{0,2}\.[0-9]{3}$",
    ",": r"^[+-]?[1-9][0-9]{0,2},[0-9]{3}$",
}
_READ: Final = {
    "": f"{_pattern('.', '')}|{_CERTAIN['.']}",
    ".": _pattern(".", ","),
    ",": _pattern(",", "."),
}
_WITH_COMMA: Final = r"^[+-]?[0-9., \u00a0\u2009\u202f'\u2019]*[0-9]*,[0-9,.]*" + _EXPONENT + "$"


class Evidence(NamedTuple):
    """How many numbers of a column show what of its signs.

    Parameters
    ----------
    points, commas
        Numbers in which the point, the comma can only be the decimal sign.
    uncertain_points, uncertain_commas
        Numbers like ``1.523`` and ``1,523``.
    example
        One of the numbers that have a comma or several points, '' without any.
    """

    points: int = 0
    commas: int = 0
    uncertain_points: int = 0
    uncertain_commas: int = 0
    example: str = ""

    def __add__(self, other: object) -> "Evidence":
        """Return the evidence of two parts of a column."""
        if not isinstance(other, Evidence):
            return NotImplemented
        return Evidence(
            self.points + other.points,
            self.commas + other.commas,
            self.uncertain_points + other.uncertain_points,
            self.uncertain_commas + other.uncertain_commas,
            self.example or other.example,
        )

    @property
    def plain(self) -> bool:
        """Whether no number has a comma or several points."""
        return not self.example

    @property
    def sign(self) -> Sign | None:
        """The decimal sign; None where the column admits two readings."""
        if self.plain:
            return ""
        if self.points and not self.commas:
            return "."
        if self.commas and not self.points:
            return ","
        # Where points are the rule, a stray comma refuses its row and no other.
        return "" if self.points > self.commas else None


def evidence_of(texts: pl.Series) -> Evidence:
    """Count what the numbers of a column show of its signs."""
    said = pl.col("said")
    marked = _normal(texts).alias("said").to_frame().filter(said.str.contains("[.,]"))
    if marked.is_empty():
        return Evidence()
    comma = said.str.contains(",", literal=True)
    two_points = said.str.contains(r"\..*\.")
    if not marked.select((comma | two_points).any()).item():
        points, uncertain = marked.select(
            certain=said.str.contains(_CERTAIN["."]).sum(),
            uncertain=said.str.contains(_UNCERTAIN["."]).sum(),
        ).row(0)
        return Evidence(points, 0, uncertain)
    counted = marked.select(
        *(said.str.contains(_CERTAIN[sign]).sum().alias(f"certain{sign}") for sign in ".,"),
        *(said.str.contains(_UNCERTAIN[sign]).sum().alias(f"uncertain{sign}") for sign in ".,"),
    ).row(0)
    matched = [*_CERTAIN.values(), _UNCERTAIN[","]]
    shown = marked.filter(
        (comma | two_points) & pl.any_horizontal(said.str.contains(one) for one in matched)
    ).head(1)
    points, commas, uncertain_points, uncertain_commas = counted
    example = shown.item() if shown.height else ""
    return Evidence(points, commas, uncertain_points, uncertain_commas, example)


class Rewritten(NamedTuple):
    """The numbers of a column in canonical notation.

    Parameters
    ----------
    texts
        Canonical where the text is a number in another notation, as they stood elsewhere.
    reasons
        Why a number does not fit the column's notation; null where nothing is wrong with it here.
    """

    texts: pl.Series
    reasons: pl.Series


def rewrite_numbers(texts: pl.Series, sign: Sign) -> Rewritten | None:
    """Return a column's numbers with a point as their decimal sign and without digit groups.

    What is no number in any notation stays as it is. None says that all of it is canonical.

    Parameters
    ----------
    texts
        Text, shape (n,).
    sign
        The column's decimal sign.
    """
    numbers = texts.cast(pl.Float64, strict=False)
    if sign != "," and numbers.null_count() == texts.null_count():
        return None
    odd = numbers.is_null() & texts.is_not_null()
    if sign == ",":
        odd |= texts.str.contains(".", literal=True).fill_null(value=False)
    places = odd.arg_true()
    said = pl.col("said")
    read = (
        _normal(texts.gather(places))
        .alias("said")
        .to_frame()
        .select(
            fits=said.str.contains(_READ[sign]),
            canonical=said.str.replace_all(
                f"[{re.escape(''.join(_GROUP_MARKS))}{'.' if sign == ',' else ','}]", ""
            ).str.replace(",", ".", literal=True),
            misfit=said.str.contains(_WITH_COMMA)
            | (pl.lit(sign == ",") & said.str.contains(r"^[+-]?[0-9.]*\.[0-9]+" + _EXPONENT + "$")),
        )
    )
    rewritten = texts.scatter(places.filter(read["fits"]), read["canonical"].filter(read["fits"]))
    reason = read.select(
        pl.when(~pl.col("fits") & pl.col("misfit")).then(pl.lit(_REASONS[sign]))
    ).to_series()
    nothing = pl.Series("reason", [None], dtype=pl.String).new_from_index(0, len(texts))
    return Rewritten(rewritten, nothing.scatter(places, reason.cast(pl.String)))


_REASONS: Final = {
    "": "the value has a comma; write 12.5, or say that the decimal sign is a comma",
    ".": "the value does not fit its column, whose decimal sign is a point: groups of three digits"
    " and one point, as 1,523.4",
    ",": "the value does not fit its column, whose decimal sign is a comma: groups of three digits"
    " and one comma, as 1.523,4",
}


def _normal(texts: pl.Series) -> pl.Series:
    """Return texts without blanks around them, with the minus of keyboards."""
    return texts.str.strip_chars().str.replace(_MINUS, "-", literal=True)
