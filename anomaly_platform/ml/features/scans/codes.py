"""Schemes of codes: how a code is checked, and which parts it has.

What belongs here: reading codes of one scheme. What a part that is wrong means is a rule's
business (``ml.detectors.rules.codes``).
"""

import re
from functools import lru_cache
from typing import Final

import polars as pl

from anomaly_platform.ml.features.scans.names import CODE_PARTS, SIX_PARTS
from anomaly_platform.ml.features.scans.schemes import foreign_schemes

_FEW_CODES: Final = 16


def check_pattern(pattern: str) -> str:
    """Return a pattern that both Python and Polars understand.

    Parameters
    ----------
    pattern : str
        A regular expression with named groups ``(?P<part>...)``, each one of :data:`CODE_PARTS`.

    Raises
    ------
    ValueError
        When it is no such expression; the text says what to write.

    Examples
    --------
    >>> check_pattern(r"^PX(?P<serial>[0-9]{8})$")
    '^PX(?P<serial>[0-9]{8})$'
    """
    try:
        named = re.compile(pattern).groupindex
        pl.Series([""]).str.contains(pattern)
    except (re.error, pl.exceptions.ComputeError) as error:
        raise ValueError(f"write a regular expression; {error}") from None
    unknown = [name for name in named if name not in CODE_PARTS]
    if unknown:
        parts = ", ".join(CODE_PARTS)
        raise ValueError(f"write groups named {parts}; there is no part {unknown[0]!r}")
    return pattern


def has_part(pattern: str, part: str) -> bool:
    """Return whether codes of this scheme have a part."""
    return f"(?P<{part}>" in pattern


def parts_of(codes: pl.Series, pattern: str = SIX_PARTS) -> pl.DataFrame:
    """Take codes apart.

    Parameters
    ----------
    codes : polars.Series
        (n,) texts.
    pattern : str
        The scheme: the whole of a code that fits, with a named group per part.

    Returns
    -------
    polars.DataFrame
        (n,) ``epc_malformed``, ``epc_scheme`` (the known scheme of a code that is genuine in
        another one than this, null for all others) and a column ``epc_<part>`` for each of
        :data:`CODE_PARTS`: null where the scheme has no such part, ``epc_manufacture_date`` also
        where it is no date ``YYYYMMDD``. Parts of a malformed six-part code are what its dots
        divide; those of other codes that do not fit are null.

    Examples
    --------
    >>> parts_of(pl.Series(["PX12", "12"]), r"^PX(?P<serial>[0-9]+)$")["epc_serial"].to_list()
    ['12', None]
    """
    # Features and rules both ask, one after the other.
    few = len(codes) <= _FEW_CODES
    return _parts_of_few(tuple(codes), pattern) if few else _parts_of(codes, pattern)


@lru_cache(maxsize=8)
def _parts_of_few(codes: tuple[str, ...], pattern: str) -> pl.DataFrame:
    return _parts_of(pl.Series(codes, dtype=pl.String), pattern)


def _parts_of(codes: pl.Series, pattern: str) -> pl.DataFrame:
    # Digits of other scripts are digits to the library, and none of a code.
    whole = _ASCII_DIGITS if pattern == SIX_PARTS else pattern
    misfit = ~codes.str.contains(whole)
    scheme = pl.Series("epc_scheme", [None], dtype=pl.String).new_from_index(0, len(codes))
    if misfit.any():
        rows = misfit.arg_true()
        scheme = scheme.scatter(rows, foreign_schemes(codes.gather(rows)))
    frame = pl.DataFrame([codes.alias("code"), misfit.alias("misfit"), scheme])
    flags = frame.select((pl.col("misfit") & pl.col("epc_scheme").is_null()).alias("epc_malformed"))
    own = pl.when(pl.col("epc_scheme").is_null()).then(pl.col("code")).alias("code")
    if pattern == SIX_PARTS:
        parts = frame.select(own).select(_SPLIT).unnest("parts")
    else:
        groups = re.compile(pattern).groupindex
        parts = frame.select(own).select(
            pl.col("code").str.extract(pattern, groups[part]).alias(f"epc_{part}")
            if part in groups
            else pl.lit(None, pl.String).alias(f"epc_{part}")
            for part in CODE_PARTS
        )
    return flags.hstack([scheme, *parts.with_columns(_MANUFACTURED)])


_ASCII_DIGITS: Final = SIX_PARTS.replace(r"\d", "[0-9]")
_SPLIT = (
    pl.col("code")
    .str.splitn(".", len(CODE_PARTS))
    .struct.rename_fields([f"epc_{part}" for part in CODE_PARTS])
    .alias("parts")
)
_MANUFACTURED = (
    pl.col("epc_manufacture_date")
    .str.extract(r"^(\d{8})$")
    .str.strptime(pl.Date, "%Y%m%d", strict=False)
)
