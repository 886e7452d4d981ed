"""What a single cell may say: numbers, names, labels, ids, metadata.

Here belongs the reading of one column of text, with the reason where a text is refused. Every
function returns the values and the reasons; a reason is null where the value is good. What rows
mean to each other (duplicates) is not decided here.
"""

import json
from collections.abc import Callable, Collection, Mapping
from typing import Final, NamedTuple
from uuid import UUID

import polars as pl

from anomaly_platform.ingest.identity import NOT_A_UUID, is_uuid

MAX_NAME: Final = 256
"""The longest name of an entity, a metric, a place, …, in characters."""
MAX_METADATA: Final = 65_536
"""The longest metadata, in bytes of JSON."""

_MISSING: Final = ["", "null", "none", "na", "n/a", "\\n"]
#: What historians, spreadsheets and smart homes write where a reading is missing.
_NO_READING: Final = ["unavailable", "unknown", "bad", "#n/a", "#n/v", "schlecht"]
STATES: Final = {
    **dict.fromkeys(("true", "on", "open", "running", "good"), 1.0),
    **dict.fromkeys(("false", "off", "closed", "stopped"), 0.0),
    **dict.fromkeys(("wahr", "ein", "an", "offen", "auf", "läuft", "gut"), 1.0),
    **dict.fromkeys(("active", "enabled", "opened", "run", "aktiv"), 1.0),
    **dict.fromkeys(("inactive", "disabled", "close", "stop", "inaktiv"), 0.0),
    **dict.fromkeys(("falsch", "aus", "geschlossen", "zu", "steht", "gestoppt"), 0.0),
}
"""Words for the two states of a switch, a valve, a machine. Good has no bad: that is missing."""
_WITH_UNIT: Final = r"^[+-]?[0-9][0-9.,]*\s*[%‰°\p{L}][%‰°\p{L}/²³·]*$"
_CONTROL: Final = r"\p{Cc}"
#: The group separator, 0x1D, parts the elements of a GS1 code.
_CONTROL_IN_CODES: Final = r"[\p{Cc}--\x1D]"
_GOOD, _ABSENT, _TOO_LONG, _HAS_CONTROL = range(4)
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

    Accepted is decimal notation with a point and perhaps an exponent; words for states (`STATES`)
    are 1 and 0. An empty cell, ``null``, ``none``, ``na``, ``n/a``, ``\N``, ``#N/A``,
    ``unavailable``, ``unknown`` and ``bad`` are a missing reading: a null without a reason. NaN,
    infinities and numbers beyond double precision are refused, and so are hexadecimal numbers,
    numbers with a unit, decimal commas and digit groups: what these mean depends on their column,
    and was settled before where they are in a file. A number too small for double precision is 0;
    −0 is 0.

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
    reasons = _no_reasons(len(texts))
    if good.all():
        return Cells(_without_sign_of_zero(values), reasons)
    places = (~good).arg_true()
    lowered = pl.col("text").str.to_lowercase()
    is_word = lowered.is_in(list(STATES))
    odd = pl.DataFrame([stripped.gather(places), values.gather(places).alias("value")]).select(
        value=lowered.replace_strict(STATES, default=None, return_dtype=pl.Float64),
        reason=pl.when(
            is_word | pl.col("text").is_null() | lowered.is_in([*_MISSING, *_NO_READING])
        )
        .then(None)
        .when(pl.col("value").is_nan())
        .then(pl.lit("the value is NaN"))
        .when(lowered.str.contains("inf", literal=True) & pl.col("value").is_not_null())
        .then(pl.lit("the value is infinite"))
        .when(pl.col("value").is_not_null())
        .then(pl.lit("the value is too large for a double-precision number"))
        .when(pl.col("text").str.contains(r"^[+-]?\d+,\d+$"))
        .then(pl.lit("the value has a comma; write 12.5, or say that the decimal sign is a comma"))
        .when(pl.col("text").str.contains(_WITH_UNIT))
        .then(pl.lit("the value is not a number but has a unit; write the number alone"))
        .otherwise(pl.lit("the value is not a number")),
    )
    return Cells(
        _without_sign_of_zero(values.scatter(places, odd["value"])),
        reasons.scatter(places, odd["reason"].cast(pl.String)),
    )


def read_names(texts: pl.Series, what: str, *, required: bool = True, coded: bool = False) -> Cells:
    """Read names: not blank, at most `MAX_NAME` characters, none of them a control character.

    Parameters
    ----------
    texts
        Text, shape (n,).
    what
        What the name is called in a reason.
    required
        Whether a missing name is refused, or is null.
    coded
        Whether the names are codes, which may hold the separator GS.

    Returns
    -------
    Cells
        Values without blanks at the ends, in Unicode's normal form C.
    """
    chosen = {texts.name}
    return read_several_names(
        {texts.name: texts},
        {texts.name: what},
        chosen if required else set(),
        chosen if coded else set(),
    )[texts.name]


def read_several_names(
    columns: Mapping[str, pl.Series],
    what: Mapping[str, str],
    required: Collection[str],
    coded: Collection[str] = (),
) -> dict[str, Cells]:
    """Do what `read_names` does for several columns of one length; few rows in one query.

    Parameters
    ----------
    columns, what
        By name: texts, and what the name is called in a reason.
    required
        Columns in which a missing name is refused.
    coded
        Columns of codes, which may hold the separator GS.
    """
    if len(next(iter(columns.values()))) > FEW:
        return {
            name: _many_names(texts, what[name], required=name in required, coded=name in coded)
            for name, texts in columns.items()
        }
    stacked = pl.concat([texts.alias("name") for texts in columns.values()])
    faults = [_FAULT, _FAULT_IN_CODES] if coded else [_FAULT]
    judged = stacked.to_frame().select(_STRIPPED).select(_VALUE, *faults)
    rows = len(stacked) // len(columns)
    cells = {}
    for i, name in enumerate(columns):
        here = judged[i * rows : (i + 1) * rows]
        fault = here["fault in codes" if name in coded else "fault"]
        reasons = _reasons(fault, what[name], required=name in required)
        cells[name] = Cells(here["value"].alias(name), reasons)
    return cells


def _many_names(texts: pl.Series, what: str, *, required: bool, coded: bool) -> Cells:
    """Read names by judging each distinct one once."""
    distinct = (
        pl.DataFrame({"text": texts.unique()}).with_columns(name="text").with_columns(_STRIPPED)
    )
    fault = (_FAULT_IN_CODES if coded else _FAULT).alias("fault")
    judged = distinct.with_columns(_VALUE, fault)
    reasons = _reasons(judged["fault"], what, required=required)
    as_it_is = judged["value"].eq_missing(judged["text"]).all()
    if as_it_is and reasons.null_count() == judged.height:
        return Cells(texts, _no_reasons(len(texts)))
    return _looked_up(texts, judged.select(pl.col("text").alias("name"), "value", reasons))


_STRIPPED: Final = pl.col("name").str.strip_chars().str.normalize("NFC")
_VALUE: Final = pl.when(pl.col("name") != "").then(pl.col("name")).alias("value")


def _fault(control: str) -> pl.Expr:
    """Say what is wrong with a stripped name, whatever it is called."""
    return (
        pl.when(pl.col("name").is_null() | (pl.col("name") == ""))
        .then(pl.lit(_ABSENT, pl.Int8))
        .when(pl.col("name").str.len_chars() > MAX_NAME)
        .then(pl.lit(_TOO_LONG, pl.Int8))
        .when(pl.col("name").str.contains(control))
        .then(pl.lit(_HAS_CONTROL, pl.Int8))
        .otherwise(pl.lit(_GOOD, pl.Int8))
    )


_FAULT: Final = _fault(_CONTROL).alias("fault")
_FAULT_IN_CODES: Final = _fault(_CONTROL_IN_CODES).alias("fault in codes")


def _reasons(faults: pl.Series, what: str, *, required: bool) -> pl.Series:
    """Put into words what is wrong with the names of one column."""
    least = _ABSENT if required else _TOO_LONG
    if not (faults >= least).any():
        return _no_reasons(len(faults))
    words = {
        _ABSENT: f"{what} is missing" if required else None,
        _TOO_LONG: f"{what} is longer than {MAX_NAME} characters",
        _HAS_CONTROL: f"{what} has control characters",
    }
    said = faults.replace_strict(words, default=None, return_dtype=pl.String)
    return said.alias("reason")


def _no_reasons(rows: int) -> pl.Series:
    return pl.Series("reason", [None], dtype=pl.String).new_from_index(0, rows)


def read_labels(texts: pl.Series) -> Cells:
    """Read labels: 0, 1, true, false, yes, no in any case; an empty one is null."""
    return _by_distinct(texts, pl.Boolean(), _label)


def read_uuids(texts: pl.Series) -> Cells:
    """Read ids that must be UUIDs; an empty one is null. Values are lower case with hyphens."""
    lowered = texts.str.strip_chars().str.to_lowercase()
    plain = lowered.str.contains(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
    if (plain | lowered.is_null()).all():
        return Cells(lowered, _no_reasons(len(texts)))
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
    return (str(UUID(word)), None) if is_uuid(word) else (None, NOT_A_UUID)


def _metadata(text: str) -> tuple[str | None, str | None]:
    if len(text.encode("utf-8")) > MAX_METADATA:
        return None, f"the metadata is longer than {MAX_METADATA:,} bytes"
    try:
        said = json.loads(text.strip() or "null", parse_constant=_no_constant)
        canonical, _ = canonical_json(said)
    except (ValueError, RecursionError):
        return None, "the metadata is not valid JSON"
    if not isinstance(said, dict):
        return None, None if said is None else "the metadata is not a JSON object"
    if "\\u0000" in canonical:
        return None, "the metadata has a NUL character"
    return canonical, None


def canonical_json(said: object) -> tuple[str, int]:
    """Return a value as JSON, equal for equal values, and how many bytes it has as UTF-8."""
    text = json.dumps(
        said, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
    )
    return text, len(text.encode("utf-8"))


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")
