"""Saved layouts: how files of some names are read, written down once.

Here belongs what a layout's YAML says: the pattern of the names under ``files``, and beside it the
keys of a mapping (`mapping.ColumnMapping`). Where the texts are kept is not decided here.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePath
from typing import Any, Final

from anomaly_platform.ingest.layout.mapping import ColumnMapping, MappingError

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_CHANGING: Final = re.compile(r"\d[\d_.:T-]*\d|\d")


@dataclass(frozen=True)
class SavedLayout:
    """How files of some names are read.

    Parameters
    ----------
    files
        Pattern of the names: ``*`` is any text, ``?`` any character. It fits a name also without
        the ending of its compression.
    mapping
        How they are read.

    Raises
    ------
    MappingError
        When the pattern is blank.
    """

    files: str
    mapping: ColumnMapping

    def __post_init__(self) -> None:
        if not self.files.strip():
            raise MappingError("a layout needs the pattern of its files' names")

    def fits(self, name: str) -> bool:
        """Tell whether a file of this name is read so, packed or not."""
        own = PurePath(name).name
        return self.names(own) or self.names(own.removesuffix(".gz"))

    def names(self, name: str) -> bool:
        """Tell whether the pattern fits this very name."""
        return fnmatchcase(name, self.files)

    def to_yaml(self) -> str:
        """Return what `read_layout` reads; what a mapping does not say is left out."""
        import yaml

        said: dict[str, Any] = json.loads(self.mapping.to_json())
        plain = json.loads(ColumnMapping().to_json())
        kept = {key: value for key, value in said.items() if value != plain.get(key)}
        return yaml.safe_dump(
            {"files": self.files, **kept}, sort_keys=False, allow_unicode=True, width=100
        )


def check_layout_name(name: str) -> str:
    """Return the name of a layout, or say that it cannot be one.

    Raises
    ------
    MappingError
        When it has other characters than letters, digits, hyphens and underscores.
    """
    if not _NAME.fullmatch(name):
        raise MappingError(
            f"a layout cannot be called {name!r}; use letters, digits, hyphens and underscores"
        )
    return name


def pattern_of(name: str) -> str:
    """Return the pattern of the names that differ from a file's only in numbers.

    Examples
    --------
    >>> pattern_of("plclog_2026-03-01.csv")
    'plclog_*.csv'
    """
    stem, dot, suffix = PurePath(name).name.partition(".")
    literal = re.sub(r"[*?\[]", "?", stem)
    return _CHANGING.sub("*", literal) + dot + suffix


def read_layout(name: str, text: str) -> SavedLayout:
    """Read a layout's YAML.

    Raises
    ------
    MappingError
        When it says something else than a layout can; the text names the layout and the line.
    """
    from anomaly_platform.streams.yaml_lines import NotReadableError, read_yaml

    try:
        said = dict(read_yaml(text.encode("utf-8")).values)
    except NotReadableError as error:
        raise MappingError(f"the layout {name!r}, line {error.line}: {error}") from error
    files = said.pop("files", None)
    if not isinstance(files, str):
        raise MappingError(f"the layout {name!r} has no pattern of names under 'files'")
    try:
        return SavedLayout(files, ColumnMapping.from_json(json.dumps(said, default=str)))
    except MappingError as error:
        raise MappingError(f"the layout {name!r}: {error}") from error


def fitting(name: str, texts: Mapping[str, str]) -> str | None:
    """Return the name of the saved layout that a file is read by, None for none.

    Raises
    ------
    MappingError
        When several fit, or one cannot be read.
    """
    saved = {one: read_layout(one, text) for one, text in texts.items()}
    fits = [one for one, layout in saved.items() if layout.fits(name)]
    # The pattern of the packed name is said of it, and the other one is not.
    fits = [one for one in fits if saved[one].names(PurePath(name).name)] or fits
    if len(fits) > 1:
        raise MappingError(
            f"the layouts {fits[0]!r} and {fits[1]!r} both fit the name {PurePath(name).name!r};"
            " make one pattern narrower"
        )
    return fits[0] if fits else None


def mapping_of(name: str, texts: Mapping[str, str]) -> ColumnMapping:
    """Return how a file of this name is read by the saved layouts.

    Parameters
    ----------
    name
        The file's name.
    texts
        YAML of each layout by its name.
    """
    layout = fitting(name, texts)
    return ColumnMapping() if layout is None else read_layout(layout, texts[layout]).mapping
