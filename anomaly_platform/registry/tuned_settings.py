"""Settings that a tuning found better, a small file for each tuned stream in the home.

They stand above those of the stream's own definition for as long as the file is there. Loading the
graph reads it, and must open no database; the record of the tuning is in the table ``tunings``.
"""

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from anomaly_platform.streams.base import NAME, MetricStream, Stream
from anomaly_platform.streams.user_defined import BadStreamFile

S = TypeVar("S", bound=Stream)


@dataclass(frozen=True, slots=True)
class Tuned:
    """The settings of a tuned stream.

    Attributes
    ----------
    tuning : int
        The tuning that found them.
    alpha, windows, contamination, trees
        As the stream has them.
    """

    tuning: int
    alpha: float
    windows: tuple[int, ...]
    contamination: float
    trees: int


class TunedSettings:
    """The files, read anew each time.

    Parameters
    ----------
    home : Path

    Raises
    ------
    ValueError
        Each method, when the name can be none of a stream.
    """

    def __init__(self, home: Path) -> None:
        self._folder = home / "tuned"

    def read(self, stream: str) -> Tuned | None:
        """Return what a tuning has set of a stream.

        Raises
        ------
        ValueError
            When the file cannot be read; the text says why.
        """
        path = self._path(stream)
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            return Tuned(
                tuning=int(said["tuning"]),
                alpha=float(said["alpha"]),
                windows=tuple(map(int, said["windows"])),
                contamination=float(said["contamination"]),
                trees=int(said["trees"]),
            )
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, OverflowError, OSError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from None

    def write(self, stream: str, tuned: Tuned) -> None:
        """Set what a stream is trained with from now on."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        said = {name: getattr(tuned, name) for name in Tuned.__slots__}
        fresh = self._path(stream).with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as file:
            file.write(json.dumps(said, indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path(stream))

    def remove(self, stream: str) -> bool:
        """Let the stream's own settings hold again; return whether anything was set."""
        path = self._path(stream)
        was_there = path.exists()
        path.unlink(missing_ok=True)
        return was_there

    def applied_to(self, stream: S) -> S | BadStreamFile:
        """Return the stream with what was tuned of it, or the file that cannot be applied."""
        if not isinstance(stream, MetricStream):
            return stream
        try:
            found = self.read(stream.name)
            if found is None:
                return stream
            return replace(
                stream,
                alpha=found.alpha,
                features=replace(stream.features, windows=found.windows),
                contamination=found.contamination,
                trees=found.trees,
                tuning=found.tuning,
            )
        except ValueError as error:
            path = self._path(stream.name)
            problem = (
                f"{path} cannot be used ({error}); "
                f"`anomaly tune {stream.name} --undo` takes it away"
            )
            return BadStreamFile(path, stream.name, (problem,))

    def _path(self, stream: str) -> Path:
        if not NAME.fullmatch(stream):
            raise ValueError(f"{stream!r} can be no name of a stream")
        return self._folder / f"{stream}.json"
