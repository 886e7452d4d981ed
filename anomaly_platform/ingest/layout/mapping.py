"""Which column of a file is which field: said by the user, or known by its name.

Here belongs what a mapping is, how it is written down (options of a command, a JSON file beside the
data file), the names under which columns are recognised without one, and the digest that identifies
a file together with its mapping. What is done with the columns belongs into `layout`.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal, cast

from anomaly_platform.ingest.event_days import check_timezone
from anomaly_platform.ingest.files.sources import FileSource, UnreadableFile, rewindable
from anomaly_platform.ingest.notation.dates import format_pattern

Fields = Mapping[str, Sequence[str]]
"""Canonical field → the names under which a column of a file is recognised as it, best first.

A name that begins with ``_`` is InfluxDB's: a column has to be called exactly so.
"""

METRIC_FIELDS: Final[Fields] = MappingProxyType(
    {
        "event_time": ("timestamp", "event_time", "datetime", "date_time", "time", "ts", "date"),
        "entity": (
            "_series",
            "device_id",
            "asset_id",
            "entity",
            "device",
            "asset",
            "host",
            "hostname",
        ),
        "metric": ("metric_name", "metric", "_field"),
        "value": ("value",),
        "event_id": ("event_id",),
        "metadata": ("metadata",),
        "label": ("is_anomaly", "anomaly"),
        # Known by what its cells say, not by its name alone.
        "quality": (),
    }
)
SCAN_FIELDS: Final[Fields] = MappingProxyType(
    {
        "event_time": ("event_time", "timestamp", "datetime"),
        "event_id": ("event_id",),
        "epc_code": ("epc_code", "epc"),
        "location_id": ("location_id",),
        "business_step": ("business_step",),
        "event_type": ("event_type",),
        "file_id": ("file_id",),
        "scan_location": ("scan_location",),
        "operator_id": ("operator_id",),
        "device_id": ("device_id",),
        "product_name": ("product_name",),
        "label": ("is_anomaly", "anomaly"),
        "anomaly_kind": ("anomaly_kind",),
    }
)

Decimal = Literal[".", ","]

_CHUNK: Final = 1 << 20
_MOST_LISTED: Final = 20
_NOT_SIGNIFICANT: Final = re.compile(r"[\W_]+")


class MappingError(UnreadableFile):
    """A mapping contradicts itself, the stream or the file; the text names the column."""


def plain(name: str) -> str:
    """Return a name as names are compared: ``Device ID``, ``deviceId`` and ``device_id`` are one.

    Examples
    --------
    >>> plain("Device ID")
    'deviceid'
    """
    return _NOT_SIGNIFICANT.sub("", unicodedata.normalize("NFC", name).lower())


def listed(names: Iterable[str]) -> str:
    """Return names for an error message, the first ones where there are many."""
    every = list(names)
    shown = ", ".join(name[:60] for name in every[:_MOST_LISTED])
    return f"{shown}, … ({len(every):,} in all)" if len(every) > _MOST_LISTED else shown


@dataclass(frozen=True)
class ColumnMapping:
    """What a user says about the columns of a file.

    Parameters
    ----------
    columns
        Column of the file → field. A field is named canonically (``entity``) or by any of its known
        names (``device_id``).
    constants
        Field → the text that it has in every row.
    ignore
        Columns to leave out.
    timezone
        Where times without a zone are at home; the stream's if none is given.
    decimal
        The decimal sign of the numbers.
    groups
        The sign between groups of three digits, where the user says that it is a comma; by default
        what the numbers of the file show.
    time_format
        How the times are written, in the directives of ``strptime``; found out by default.
    header_line
        The line of a text file that has the column names, from 1; it is looked for otherwise.
    comment
        What lines of a text file begin with that are no rows.

    Raises
    ------
    MappingError
        When a column is both mapped and ignored, or the time zone or the time format is wrong.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    timezone: str | None = None
    decimal: Decimal = "."
    groups: str | None = None
    time_format: str | None = None
    header_line: int | None = None
    comment: str | None = None

    def __post_init__(self) -> None:
        both = sorted(set(self.columns) & set(self.ignore))
        if both:
            raise MappingError(f"the column {both[0]!r} is both mapped and ignored")
        if self.decimal not in {".", ","}:
            raise MappingError(f"the decimal sign {self.decimal!r} is neither '.' nor ','")
        if self.groups not in {None, ","} or (self.groups == self.decimal):
            raise MappingError("the sign between groups of digits can only be ',', beside '.'")
        if self.header_line is not None and self.header_line < 1:
            raise MappingError(f"the header line {self.header_line} is none; the first line is 1")
        if self.comment is not None and not self.comment.strip():
            raise MappingError("what comments begin with cannot be blank")
        if self.time_format is not None:
            try:
                format_pattern(self.time_format)
            except ValueError as error:
                raise MappingError(str(error)) from error
        if self.timezone is not None:
            try:
                check_timezone(self.timezone)
            except ValueError as error:
                raise MappingError(str(error)) from error

    @classmethod
    def parse(
        cls,
        columns: Iterable[str] = (),
        constants: Iterable[str] = (),
        ignore: Iterable[str] = (),
        *,
        timezone: str | None = None,
        decimal: str | None = None,
        time_format: str | None = None,
        header_line: int | None = None,
        comment: str | None = None,
    ) -> "ColumnMapping":
        """Read a mapping as it is given on a command line.

        Parameters
        ----------
        columns
            Pairs ``csv_column=field``. A column's name may contain ``=``, a field's may not. A time
            in several columns is ``Date+Time=timestamp``.
        constants
            Pairs ``field=text``. A text may contain ``=``.
        ignore
            Names of columns.
        timezone, time_format, header_line, comment
            As in the class.
        decimal
            The decimal sign; where it is a point, groups of digits have a comma. Found out by
            default.

        Raises
        ------
        MappingError
            When a pair is none, or a column or field occurs twice.
        """
        mapped = _pairs(columns, str.rpartition, "column=field", "the column {!r} is mapped twice")
        fixed = _pairs(constants, str.partition, "field=text", "the field {!r} is set twice")
        left_out = tuple(sorted({name.strip() for name in ignore}))
        return cls(
            mapped,
            fixed,
            left_out,
            timezone,
            cast("Decimal", decimal or "."),
            groups="," if decimal == "." else None,
            time_format=time_format,
            header_line=header_line,
            comment=comment,
        )

    def to_json(self) -> str:
        """Return the mapping as canonical JSON: equal mappings give equal texts."""
        later = {
            "groups": self.groups,
            "time_format": self.time_format,
            "header_line": self.header_line,
            "comment": self.comment,
        }
        return json.dumps(
            {
                "columns": dict(self.columns),
                "set": dict(self.constants),
                "ignore": sorted(set(self.ignore)),
                "timezone": self.timezone,
                "decimal": self.decimal,
                # What is not said is left out: the digests of earlier files stay.
                **{key: value for key, value in later.items() if value is not None},
            },
            sort_keys=True,
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> "ColumnMapping":
        """Read what `to_json` wrote, or what a person wrote in its place.

        Raises
        ------
        MappingError
            When the text is no JSON, or says something else than a mapping can.
        """
        try:
            said: Any = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise MappingError(f"the mapping is not valid JSON ({error})") from error
        known = {"columns", "set", "ignore", "timezone", "decimal", "groups", "time_format"}
        known |= {"header_line", "comment"}
        if not isinstance(said, dict) or set(said) - known:
            raise MappingError(f"the mapping is not a JSON object of {listed(sorted(known))}")
        columns = _texts(said, "columns")
        constants = _texts(said, "set")
        ignore = said.get("ignore", [])
        if not isinstance(ignore, list) or not all(isinstance(name, str) for name in ignore):
            raise MappingError("'ignore' of the mapping is not a list of column names")
        timezone, decimal = said.get("timezone"), said.get("decimal", ".")
        if not isinstance(timezone, str | None) or decimal not in {".", ","}:
            raise MappingError("the mapping's time zone or decimal sign is not valid")
        groups, time_format = said.get("groups"), said.get("time_format")
        header_line, comment = said.get("header_line"), said.get("comment")
        if not all(isinstance(text, str | None) for text in (groups, time_format, comment)):
            raise MappingError("the mapping's groups, time_format or comment is not a text")
        if not isinstance(header_line, int | None) or isinstance(header_line, bool):
            raise MappingError("the mapping's header_line is not the number of a line")
        return cls(
            *(columns, constants, tuple(sorted(set(ignore))), timezone, decimal),
            groups=groups,
            time_format=time_format,
            header_line=header_line,
            comment=comment,
        )

    def resolve(self, fields: Fields) -> tuple[dict[str, str], dict[str, str]]:
        """Return the mapping in canonical fields: field → column, and field → constant.

        Raises
        ------
        MappingError
            When a field is unknown, or is given more than once.
        """
        by_field: dict[str, str] = {}
        for column, name in self.columns.items():
            target = _canonical(name, fields)
            if target in by_field:
                raise MappingError(
                    f"the columns {by_field[target]!r} and {column!r} are both mapped to {name!r}"
                )
            by_field[target] = column
        fixed: dict[str, str] = {}
        for name, text in self.constants.items():
            target = _canonical(name, fields)
            if target in by_field:
                raise MappingError(f"{name!r} is set, and {by_field[target]!r} is mapped to it")
            if target in fixed:
                raise MappingError(f"{name!r} is set twice")
            fixed[target] = text
        return by_field, fixed


def _pairs(
    pairs: Iterable[str], split: Callable[[str, str], tuple[str, str, str]], form: str, twice: str
) -> dict[str, str]:
    """Read pairs of a command line into a mapping from left to right."""
    found: dict[str, str] = {}
    for pair in pairs:
        left, _, right = (part.strip() for part in split(pair, "="))
        if not (left and right):
            raise MappingError(f"{pair!r} is not of the form {form}")
        if left in found:
            raise MappingError(twice.format(left))
        found[left] = right
    return found


def content_digest(
    source: FileSource, mapping: ColumnMapping, stream: str, *, entity: str | None = None
) -> str:
    """Return what identifies a file's content together with the way it is understood.

    Parameters
    ----------
    source
        A path, or an open binary file; it is read in pieces.
    mapping
        The mapping that applies to it.
    stream
        The stream's name.
    entity
        The entity that the file's *name* gives to its rows, if it does (`Layout.entity_from_name`):
        the same content under another name is then other data.

    Returns
    -------
    str
        SHA-256, 64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    meaning = json.dumps([stream, mapping.to_json(), entity], ensure_ascii=False).encode("utf-8")
    digest.update(len(meaning).to_bytes(8, "big"))
    digest.update(meaning)
    with rewindable(source) as content:
        while block := content.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


def _canonical(name: str, fields: Fields) -> str:
    if name in fields:
        return name
    for target, names in fields.items():
        if plain(name) in {plain(target), *(plain(one) for one in names)}:
            return target
    spoken = (
        next((name for name in names if name[0] != "_"), target) for target, names in fields.items()
    )
    raise MappingError(f"there is no field {name!r}; the fields are {listed(spoken)}")


def _texts(said: dict[str, Any], key: str) -> dict[str, str]:
    value = said.get(key, {})
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise MappingError(f"{key!r} of the mapping is not an object of texts")
    return value
