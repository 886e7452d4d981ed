"""Users' own streams: a folder of YAML files, one stream a file.

What belongs here: finding the files and keeping the good ones apart from the bad ones, so that one
bad file takes down nothing but its own stream. What a file may say is in ``stream_document``.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from anomaly_platform.streams.base import MetricStream, ScanStream

SUFFIXES: Final = (".yaml", ".yml")

#: Names that other tables of the platform have.
RESERVED_NAMES: Final = frozenset({"metrics", "days", "scans"})


class StreamFileError(ValueError):
    """A stream cannot be used because its file is wrong; the text says where and how."""


@dataclass(frozen=True, slots=True)
class BadStreamFile:
    """A file that describes no stream.

    Attributes
    ----------
    path : Path
        The file.
    name : str
        The stream's name as far as it is known, else the file's stem.
    problems : tuple of str
        Each ``file line N: what is wrong; what to write``.
    """

    path: Path
    name: str
    problems: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(self.problems)


@dataclass(frozen=True, slots=True)
class UserStreams:
    """What a folder of stream files holds.

    Attributes
    ----------
    streams : tuple of MetricStream or ScanStream
        The good ones, by file name.
    sources : tuple of Path
        The file of each of them.
    bad : tuple of BadStreamFile
        The others.
    """

    streams: tuple[MetricStream | ScanStream, ...] = ()
    sources: tuple[Path, ...] = ()
    bad: tuple[BadStreamFile, ...] = ()


def load_user_streams(folder: Path, taken: Collection[str] = ()) -> UserStreams:
    """Read every stream file of a folder; a folder that is not there holds none.

    Parameters
    ----------
    folder : Path
        Where the files are; subfolders and hidden files are left alone.
    taken : collection of str
        Names of the built-in streams.

    Returns
    -------
    UserStreams
        Of two files with one name the first by file name is good.
    """
    try:
        files = sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
        )
    except FileNotFoundError:
        return UserStreams()
    except OSError as error:
        return UserStreams(bad=(BadStreamFile(folder, folder.name, (f"{folder}: {error}",)),))
    streams: list[MetricStream | ScanStream] = []
    sources: list[Path] = []
    bad: list[BadStreamFile] = []
    owners = dict.fromkeys(taken, "the platform itself")
    owners |= dict.fromkeys(RESERVED_NAMES, "the platform's tables")
    for path in files:
        found = _read(path, owners)
        if isinstance(found, BadStreamFile):
            bad.append(found)
            continue
        owners[found.name] = path.name
        streams.append(found)
        sources.append(path)
    return UserStreams(tuple(streams), tuple(sources), tuple(bad))


def _read(path: Path, owners: dict[str, str]) -> MetricStream | ScanStream | BadStreamFile:
    # Nothing of this is imported where there are no files.
    from anomaly_platform.streams.stream_problems import read_document
    from anomaly_platform.streams.yaml_lines import NotReadableError, read_yaml

    try:
        document = read_yaml(path.read_bytes())
    except NotReadableError as error:
        return BadStreamFile(path, path.stem, (f"{path.name} line {error.line}: {error}",))
    except OSError as error:
        return BadStreamFile(path, path.stem, (f"{path.name}: {error.strerror or error}",))
    written = document.values.get("name")
    name = written if isinstance(written, str) and written not in owners else path.stem
    said, problems = read_document(document)
    if said is None:
        lines = tuple(f"{path.name} line {p.line}: {p.message}" for p in problems)
        return BadStreamFile(path, name, lines)
    if said.name in owners:
        line = document.line_of(("name",))
        problem = (
            f"{path.name} line {line}: the name {said.name!r} is taken by {owners[said.name]}; "
            "choose another"
        )
        return BadStreamFile(path, name, (problem,))
    return said.to_stream()
