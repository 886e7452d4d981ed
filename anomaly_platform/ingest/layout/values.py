"""The values of a file's readings: settled as they are written, and read so.

Here belong the signs of numbers, columns of qualities, and good and bad as states. What a single
cell may say is in ``cells``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import polars as pl

from anomaly_platform.ingest.cells import STATES
from anomaly_platform.ingest.files.batches import RawBatch
from anomaly_platform.ingest.layout.context import Layout, LayoutContext
from anomaly_platform.ingest.layout.conventions import Quality
from anomaly_platform.ingest.layout.mapping import MappingError, plain
from anomaly_platform.ingest.layout.whole_file import WholeFile
from anomaly_platform.ingest.notation.numbers import (
    Evidence,
    Rewritten,
    Sign,
    evidence_of,
    rewrite_numbers,
)
from anomaly_platform.ingest.notation.quality import UNKNOWN, are_good, codes_of

_QUALITIES: Final = (
    *("quality", "qualitycode", "validity", "qualität", "gültigkeit"),
    *("status", "statuscode"),
)
_GOOD: Final = ["good", "gut"]
_BAD: Final = ["bad", "schlecht"]
#: Devices write true and false for 1 and 0 among other numbers.
_WORDS: Final = [*(STATES.keys() - {"true", "false"}), *_BAD]
#: A number that is neither 0 nor 1.
_NUMBERED: Final = r"^[+-]?(?:[0-9.,]*[2-9]|1[0-9]|[01]?[.,]0*1)"
_MISPLACED: Final = "the value is a state among numbers: not a number, and not 0 or 1 here"


def settle_values(
    layout: Layout, head: RawBatch, file: WholeFile, context: LayoutContext
) -> Layout:
    """Settle how the values of a file are written, and which columns say their quality.

    Parameters
    ----------
    layout
        Of the file.
    head
        Its first rows.
    file
        All of it.
    context
        The same as the layout was made with.

    Raises
    ------
    MappingError
        When all numbers of a column admit two readings.
    """
    layout = _with_qualities(layout, head.frame, context)
    columns = _value_columns(layout, head.frame)
    mapping = context.mapping
    signs: Mapping[str, Sign]
    if mapping.decimal == "," or mapping.groups:
        signs = dict.fromkeys(columns, mapping.decimal)
    else:
        signs = _settle_signs(columns, head, file)
    states, numbered = _seen_series(layout, head.frame, columns)
    return _with(layout, signs=signs, states=states, numbered=numbered)


def read_values(batch: RawBatch, layout: Layout, column: str) -> Rewritten | None:
    """Return a column's values in canonical notation; None where it is in it.

    A reading that is not good is a missing one; one whose quality is not known is refused.
    """
    conventions = layout.conventions
    texts = batch.frame[column]
    read = rewrite_numbers(_written(batch, column), conventions.signs.get(column, ""))
    if read is not None:
        if column in batch.numbers:
            read = read._replace(texts=texts.zip_with(batch.numbers[column], read.texts))
        read = _with_states(read, batch, layout, column)
    quality = conventions.quality_of.get(column, conventions.quality)
    if quality is None or quality.column not in batch.frame.columns:
        return read
    good = are_good(batch.frame[quality.column], quality.codes)
    if good.all(ignore_nulls=False):
        return read
    read = read or _as_it_is(texts)
    not_good = ~good.fill_null(value=False)
    return Rewritten(
        read.texts.set(not_good, None),
        read.reasons.set(not_good, None).set(good.is_null(), UNKNOWN),
    )


def _written(batch: RawBatch, column: str) -> pl.Series:
    """Return a column's texts without those of numbers that have a type."""
    texts = batch.frame[column]
    return texts.set(batch.numbers[column], None) if column in batch.numbers else texts


def _as_it_is(texts: pl.Series) -> Rewritten:
    return Rewritten(
        texts, pl.Series("reason", [None], dtype=pl.String).new_from_index(0, len(texts))
    )


def _value_columns(layout: Layout, head: pl.DataFrame) -> list[str]:
    return layout.metric_columns(head.columns) if layout.wide else [layout.columns["value"]]


def _settle_signs(columns: Sequence[str], head: RawBatch, file: WholeFile) -> dict[str, Sign]:
    """Return the decimal sign of each column that has commas or groups in it."""
    there = head.frame.columns
    seen = {name: evidence_of(_written(head, name)) for name in columns if name in there}
    if all(one.plain for one in seen.values()):
        points = any(not one.points for one in seen.values())
        if not file.may_have_groups(there, points=points):
            return {}
    evidence = dict.fromkeys(columns, Evidence())
    for batch in file.batches():
        for name in evidence.keys() & set(batch.frame.columns):
            evidence[name] += evidence_of(_written(batch, name))
    commas = next((name for name, one in evidence.items() if one.sign == ","), None)
    for name, one in evidence.items():
        if one.sign is None:
            raise MappingError(_two_readings(name, one))
        if commas and one.plain and one.uncertain_points and not one.points:
            raise MappingError(
                f"the numbers of the column {name!r} can be read in two ways: 1.523 has a decimal"
                f" point, or a group of three digits, as {commas!r} has a decimal comma; say which"
                " with --decimal , or --decimal ."
            )
    return {name: one.sign for name, one in evidence.items() if one.sign}


def _two_readings(name: str, one: Evidence) -> str:
    if one.points or one.commas:
        return (
            f"the column {name!r} has {one.points:,} numbers with a decimal point and"
            f" {one.commas:,} with a decimal comma, such as {one.example}; write all in one way, or"
            " say which one it is with --decimal , or --decimal ."
        )
    return (
        f"the numbers of the column {name!r} can be read in two ways: {one.example} has a decimal"
        " comma, or a group of three digits; say which with --decimal , or --decimal ."
    )


def _with_qualities(layout: Layout, head: pl.DataFrame, context: LayoutContext) -> Layout:
    """Find the columns of qualities, by name and by what they say."""
    said = layout.columns.get("quality")
    if said is not None:
        codes = codes_of(head[said], said=True) if said in head.columns else None
        if codes is None and said in head.columns and head[said].count():
            raise MappingError(
                f"the column {said!r} does not say qualities that are known: words such as good and"
                " bad, 1 for valid, OPC's 192 for good, or the status of OPC UA (nothing but 0 may"
                " be good or bad)"
            )
        return _with(layout, quality=Quality(said, codes or "words"))
    taken = {
        *layout.columns.values(),
        *context.mapping.columns,
        *context.mapping.ignore,
        *layout.conventions.columns,
    }
    free = [name for name in head.columns if name not in taken]
    own: dict[str, Quality] = {}
    for name in free:
        base = next(
            (plain(name).removesuffix(q) for q in _QUALITIES if plain(name).endswith(q)), None
        )
        if base is None:
            continue
        is_status = plain(name).endswith("status")
        codes = codes_of(head[name], other_words=not is_status)
        if codes is None or (codes == "valid" and is_status):
            continue
        if not base and layout.conventions.quality is None:
            layout = _with(layout, quality=Quality(name, codes))
        elif base and layout.wide:
            own |= {
                of: Quality(name, codes)
                for of in free
                if of != name and plain(of) in {base, f"{base}value"}
            }
    return _with(layout, quality_of=own) if own else layout


def _with(layout: Layout, **settled: object) -> Layout:
    conventions = replace(layout.conventions, **settled)  # type: ignore[arg-type]
    used = conventions.columns
    ignored = tuple(name for name in layout.ignored if name not in used)
    return replace(layout, conventions=conventions, ignored=ignored)


def _owners_of(frame: pl.DataFrame, layout: Layout) -> pl.Series:
    """Return a text for each row of whose its values are; with a column's name it is a series."""
    keys = [layout.columns[name] for name in ("entity", "metric") if name in layout.columns]
    there = [pl.col(name).str.strip_chars().fill_null("") for name in keys if name in frame.columns]
    if not there:
        return pl.Series([""]).new_from_index(0, frame.height)
    return frame.select(pl.concat_str([*there, pl.lit("")], separator="\n")).to_series()


def _seen_series(
    layout: Layout, head: pl.DataFrame, columns: Sequence[str]
) -> tuple[frozenset[str], frozenset[str]]:
    """Return the series that are good or bad and nothing else, and those that have numbers.

    All columns are gone through at once: a file may have thousands.
    """
    names = [name for name in columns if name in head.columns]
    words = head.select(
        pl.col(name).str.strip_chars().str.to_lowercase().alias(str(at))
        for at, name in enumerate(names)
    )
    word = pl.exclude("owner")
    told = (
        words.with_columns(_owners_of(head, layout).alias("owner"))
        .group_by("owner")
        .agg(
            (word.is_in([*_GOOD, *_BAD]).all() & word.is_in(_GOOD).any()).name.prefix("state "),
            word.str.contains(_NUMBERED).any().name.prefix("number "),
        )
    )

    def series(which: str) -> frozenset[str]:
        return frozenset(
            owner + name
            for at, name in enumerate(names)
            for owner in told["owner"].filter(told[f"{which} {at}"])
        )

    return series("state"), series("number")


def _with_states(read: Rewritten, batch: RawBatch, layout: Layout, column: str) -> Rewritten:
    """Replace bad by 0 where states are good and bad; refuse states among numbers."""
    word = read.texts.str.strip_chars().str.to_lowercase()
    places = word.is_in(_WORDS).fill_null(value=False).arg_true()
    if places.is_empty():
        return read
    series = _owners_of(batch.frame[places], layout) + column
    bad = word.gather(places).is_in(_BAD)
    states = series.is_in(list(layout.conventions.states))
    misplaced = series.is_in(list(layout.conventions.numbered)) & ~bad
    return Rewritten(
        read.texts.scatter(places.filter(bad & states), "0"),
        read.reasons.scatter(places.filter(misplaced), _MISPLACED),
    )
