"""What a column of qualities says of the readings beside it.

Here belong the words and codes of loggers and historians. What happens with a reading that is not
good is decided in ``layout``.
"""

from typing import Final, Literal

import polars as pl

Codes = Literal["words", "valid", "opc", "opc-ua"]
"""Words; 1 for valid; OPC's byte with 192 for good; OPC UA's status, of which bit 31 is bad."""

UNKNOWN: Final = "the reading's quality is a word or code that is not known"
_WORDS: Final = {
    **dict.fromkeys(("good", "ok", "valid", "normal", "gut", "gültig", "true", "g"), True),
    **dict.fromkeys(
        ("bad", "invalid", "uncertain", "questionable", "substituted", "error", "fault", "failed"),
        False,
    ),
    **dict.fromkeys(("fehler", "schlecht", "ungültig", "unsicher", "stale", "false", "b"), False),
    **dict.fromkeys(("no data", "comm fail", "not connected", "unavailable", "unknown"), False),
}
#: What OPC and its gateways write before what they say more exactly: ``BadCommunicationError``.
_BEGINNINGS: Final = r"^(?<word>good|bad|uncertain)(?:[ ,;:._(/-].*|[a-z]+)?$"
_HEXADECIMAL: Final = "^0x[0-9a-f]{8}$"
_OPC: Final = frozenset({0, 4, 8, 12, 16, 20, 24, 28, 64, 68, 80, 84, 88, 192, 216})
_OPC_UA_UNCERTAIN: Final = 1 << 30


def codes_of(texts: pl.Series, *, said: bool = False, other_words: bool = False) -> Codes | None:
    """Return how a column says qualities; None where it seems to say something else.

    Parameters
    ----------
    texts
        Text, shape (n,).
    said
        Whether the user says that these are qualities.
    other_words
        Whether there may be words that are not known beside good ones.
    """
    distinct = _plain(texts).drop_nulls().unique()
    if distinct.is_empty():
        return None
    codes = _codes(distinct)
    if codes.null_count():
        good = are_good(distinct, "words")
        words = codes.null_count() == len(codes) and bool(good.any())
        return "words" if not good.null_count() or (other_words and words) else None
    known = set(codes.to_list())
    if 192 in known and known <= _OPC | {1, 2, 3, *range(193, 256)}:
        return "opc"
    if max(known) > _OPC_UA_UNCERTAIN and all(
        code == 0 or code >= _OPC_UA_UNCERTAIN for code in known
    ):
        return "opc-ua"
    # Nothing but 0 is good for OPC UA, and bad for others.
    if known <= {0, 1, 2} and (1 in known or (said and known != {0})):
        return "valid"
    return None


def are_good(texts: pl.Series, codes: Codes) -> pl.Series:
    """Tell which readings are good.

    Parameters
    ----------
    texts
        Text, shape (n,); where nothing is said, nothing is against the reading.
    codes
        How the column says qualities.

    Returns
    -------
    pl.Series
        ``Boolean``; null where the quality is not known.
    """
    said = _plain(texts)
    if codes == "words":
        word = said.str.extract(_BEGINNINGS, 1)
        word = word.zip_with(word.is_not_null(), said)
        good = word.replace_strict(_WORDS, default=None, return_dtype=pl.Boolean)
    else:
        number = _codes(said)
        good = pl.select(
            {
                "valid": pl.when(number.is_in([0, 1, 2])).then(number == 1),
                "opc": pl.when(number.is_between(0, 65_535)).then(number % 256 >= 192),
                "opc-ua": pl.when(number >= 0).then(number < _OPC_UA_UNCERTAIN),
            }[codes]
        ).to_series()
    return good.set(said.is_null(), True).alias("good")


def _plain(texts: pl.Series) -> pl.Series:
    stripped = texts.str.strip_chars().str.to_lowercase()
    return stripped.set(stripped == "", None)


def _codes(texts: pl.Series) -> pl.Series:
    hexadecimal = texts.str.contains(_HEXADECIMAL)
    if hexadecimal.any():
        numbers = texts.str.strip_prefix("0x").str.to_integer(base=16, strict=False)
        texts = numbers.cast(pl.String).zip_with(hexadecimal.fill_null(value=False), texts)
    return texts.cast(pl.Float64, strict=False).cast(pl.Int64, strict=False)
