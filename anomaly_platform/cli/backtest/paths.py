"""The files that a backtest names, looked at before any work: all are there, all can be written."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from anomaly_platform.ingest.files.sources import UnreadableFile


def require_files(files: Sequence[Path]) -> None:
    """Check that all files are there.

    Raises
    ------
    UnreadableFile
        Names every file that is missing, each once.
    """
    missing = [path for path in dict.fromkeys(files) if not path.is_file()]
    if missing:
        names = "\n".join(
            f"there is no file {path}" + (" (it is a folder)" if path.is_dir() else "")
            for path in missing
        )
        raise UnreadableFile(names)


def require_writable(options: Mapping[str, Sequence[Path]], read: Sequence[Path] = ()) -> None:
    """Check that files can be written, making the folders that they are to be in.

    Parameters
    ----------
    options : mapping of str to sequence of Path
        The files by the option that names them.
    read : sequence of Path
        Files that are read, and must not be written over.

    Raises
    ------
    OSError
        Names the option, the file and what is in the way.
    """
    sources = {path.resolve() for path in read}
    for option, paths in options.items():
        for path in paths:
            if path.resolve() in sources:
                raise OSError(f"{option}: {path} is read as well; name another file")
            if path.is_dir():
                raise OSError(f"{option}: {path} is a folder; name a file in it")
            existed = path.exists()
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("ab"):
                    pass
                if not existed:
                    path.unlink()
            except OSError as error:
                reason = (error.strerror or "the system refuses").lower()
                raise OSError(
                    f"{option}: {path} cannot be written ({reason}); name another place"
                ) from None
