"""What a single cell may say: numbers, names, labels, ids, metadata.

Here belongs the reading of one column of text, with the reason where a text is refused. Every
function returns the values and the reasons; a reason is null where the value is good. What rows
mean to each other (duplicates) is not decided here.
"""

import json
from collections.abc import Callable, Collection, Mapping
from typing import Final, NamedTuple

import polars as pl

from anomaly_platform.ingest.identity import NOT_A_UUID, is_uuid

MAX_NAME: Final = 256
"""The longest name of an entity, a metric, a place, …, in characters."""
MAX_METADATA: Final = 65_536
"""The longest metadata, in bytes of JSON."""

_MISSING: Final = ["", "null", "none", "na", "n/a", "\\n"]
_CONTROL: Final = r"\p{Cc}"
#: So many names are judged one by one sooner than their distinct ones are found.
FEW: Final = 1_000
_LABELS: Final = {
    **dict.fromkeys(("1", "true", "yes", "t", "y", "1.0"), True),
    **dict.fromkeys(("0", "false", "no", "f", "n", "0.0"), False),
}


class Cells(NamedTuple):
    """A column that was read: values, and reasons (text, null where the value is good)."""

    values: pl.Series
    reasons: pl.Series


def read_numbers(texts: pl.Series) -> Cells:
    r"""Read finite numbers.

    Accepted is decimal notation with a point and perhaps an exponent; ``true`` and ``false`` are 1
    and 0, as devices report switches. An empty cell, ``null``, ``none``, ``na``, ``n/a`` and
    ``\N`` are a missing reading: a null without a reason. NaN, infinities and numbers beyond double
    precision are refused, and so are decimal commas, hexadecimal numbers and digit groups, which
    can be read in more than one way. A number too small for double precision is 0; −0 is 0.

    Parameters
    ----------
    texts
        Text, shape (n,).

    Returns
    -------
    Cells
        Values ``Float64``, finite or null.
    """
    stripped = texts.str.strip_chars().alias("text")
    values = stripped.cast(pl.Float64, strict=False)
    good = values.is_finite().fill_null(value=False)
    reasons = pl.Series("reason", [None], dtype=pl.String).new_from_index(0, len(texts))
    if good.all():
        return Cells(_without_sign_of_zero(values), reasons)
    places = (~good).arg_true()
    lowered = pl.col("text").str.to_lowercase()
    is_word = lowered.is_in(["true", "false"])
    odd = pl.DataFrame([stripped.gather(places), values.gather(places).alias("value")]).select(
        value=pl.when(is_word).then((lowered == "true").cast(pl.Float64)),
        reason=pl.when(is_word | pl.col("text").is_null() | lowered.is_in(_MISSING))
        .then(None)
        .when(pl.col("value").is_nan())
        .then(pl.lit("the value is NaN"))
        .when(lowered.str.contains("inf", literal=True) & pl.col("value").is_not_null())
        .then(pl.lit("the value is infinite"))
        .when(pl.col("value").is_not_null())
        .then(pl.lit("the value is too large for a double-precision number"))
        .when(pl.col("text").str.contains(r"^[+-]?\d+,\d+$"))
        .then(pl.lit("the value has a comma; write 12.5, or say that the decimal sign is a comma"))
        .otherwise(pl.lit("the value is not a number")),
    )
    return Cells(
        _without_sign_of_zero(values.scatter(places, odd["value"])),
        reasons.scatter(places, odd["reason"].cast(pl.String)),
    )


def read_names(texts: pl.Series, what: str, *, required: bool = True) -> Cells:
    """Read names: not blank, at most `MAX_NAME` characters, none of them a control character.

    Parameters
    ----------
    texts
        Text, shape (n,).
    what
        What the name is called in a reason.
    required
        Whether a missing name is refused, or is null.

    Returns
    -------
    Cells
        Values without blanks at the ends, in Unicode's normal form C.
    """
    if len(texts) <= FEW:
        needed = {texts.name} if required else set()
        return read_few_names({texts.name: texts}, {texts.name: what}, needed)[texts.name]
    read = pl.DataFrame({"name": texts}).select(_stripped("name"))
    judged = read.unique().select("name", **_judged("name", what, required=required))
    names = read["name"].alias(texts.name)
    if judged["reason"].null_count() == judged.height and not (judged["name"] == "").any():
        reasons = pl.Series("reason", [None], dtype=pl.String).new_from_index(0, len(texts))
        return Cells(names, reasons)
    return _looked_up(names, judged)


def read_few_names(
    columns: Mapping[str, pl.Series], what: Mapping[str, str], required: Collection[str]
) -> dict[str, Cells]:
    """Do what `read_names` does for several columns, in one query; for at most `FEW` rows.

    Parameters
    ----------
    columns, what
        By name: texts, and what the name is called in a reason.
    required
        Columns in which a missing name is refused.
    """
    read = pl.DataFrame(dict(columns)).select(_stripped(name) for name in columns)
    judged = read.select(
        expression.alias(f"{part} {name}")
        for name in columns
        for part, expression in _judged(name, what[name], required=name in required).items()
    )
    return {
        name: Cells(judged[f"value {name}"].alias(name), judged[f"reason {name}"].alias("reason"))
        for name in columns
    }


def _stripped(name: str) -> pl.Expr:
    return pl.col(name).str.strip_chars().str.normalize("NFC")


def _judged(name: str, what: str, *, required: bool) -> dict[str, pl.Expr]:
    """Return what a stripped name says, and what is wrong with it."""
    return {
        "reason": pl.when(pl.col(name).is_null() | (pl.col(name) == ""))
        .then(pl.lit(f"{what} is missing") if required else None)
        .when(pl.col(name).str.len_chars() > MAX_NAME)
        .then(pl.lit(f"{what} is longer than {MAX_NAME} characters"))
        .when(pl.col(name).str.contains(_CONTROL))
        .then(pl.lit(f"{what} has control characters"))
        .otherwise(None)
        .cast(pl.String),
        "value": pl.when(pl.col(name) != "").then(pl.col(name)),
    }


def read_labels(texts: pl.Series) -> Cells:
    """Read labels: 0, 1, true, false, yes, no in any case; an empty one is null."""
    return _by_distinct(texts, pl.Boolean(), _label)


def read_uuids(texts: pl.Series) -> Cells:
    """Read ids that must be UUIDs; an empty one is null. Values are lower case with hyphens."""
    lowered = texts.str.strip_chars().str.to_lowercase()
    plain = lowered.str.contains(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
    if (plain | lowered.is_null()).all():
        reasons = pl.Series("reason", [None], dtype=pl.String).new_from_index(0, len(texts))
        return Cells(lowered, reasons)
    return _by_distinct(texts, pl.String(), _uuid)


def read_metadata(texts: pl.Series) -> Cells:
    """Read metadata: JSON objects of at most `MAX_METADATA` bytes; values are canonical JSON."""
    return _by_distinct(texts, pl.String(), _metadata)


def _by_distinct(
    texts: pl.Series, kind: pl.DataType, read: Callable[[str], tuple[object, str | None]]
) -> Cells:
    """Read a column by reading each of its different texts once."""
    if texts.null_count() == len(texts):
        return Cells(texts.cast(kind), texts.cast(pl.String).alias("reason"))
    distinct = texts.drop_nulls().unique()
    answers = [read(text) for text in distinct]
    judged = pl.DataFrame(
        {
            "name": distinct,
            "value": pl.Series([value for value, _ in answers], dtype=kind),
            "reason": pl.Series([reason for _, reason in answers], dtype=pl.String),
        }
    )
    return _looked_up(texts, judged)


def _looked_up(texts: pl.Series, judged: pl.DataFrame) -> Cells:
    found = pl.DataFrame({"name": texts}).join(
        judged, on="name", how="left", nulls_equal=True, maintain_order="left"
    )
    return Cells(found["value"].alias(texts.name), found["reason"])


def _without_sign_of_zero(values: pl.Series) -> pl.Series:
    return values.set((values == 0.0).fill_null(value=False), 0.0)


def _label(text: str) -> tuple[bool | None, str | None]:
    word = text.strip().lower()
    if word in _MISSING:
        return None, None
    if word in _LABELS:
        return _LABELS[word], None
    return None, "the label is none of 0, 1, true, false, yes, no"


def _uuid(text: str) -> tuple[str | None, str | None]:
    word = text.strip().lower()
    if not word:
        return None, None
    if not is_uuid(word):
        return None, NOT_A_UUID
    digits = word.replace("-", "")
    parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    return "-".join(parts), None


def _metadata(text: str) -> tuple[str | None, str | None]:
    if len(text.encode("utf-8")) > MAX_METADATA:
        return None, f"the metadata is longer than {MAX_METADATA:,} bytes"
    try:
        said = json.loads(text.strip() or "null", parse_constant=_no_constant)
        canonical = json.dumps(
            said, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
        )
        canonical.encode("utf-8")
    except (ValueError, RecursionError):
        return None, "the metadata is not valid JSON"
    if not isinstance(said, dict):
        return None, None if said is None else "the metadata is not a JSON object"
    if "\\u0000" in canonical:
        return None, "the metadata has a NUL character"
    return canonical, None


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")
