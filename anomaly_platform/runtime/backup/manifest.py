"""The manifest of a back-up: every file with its size and digest, and what it was made with."""

import datetime as dt
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, NonNegativeInt, ValidationError

MANIFEST: Final = "manifest.json"

Part = Literal["databases", "lake", "landing", "mlflow", "reference", "streams", "home"]
"""What a home consists of; each part is a folder of the back-up."""


class BackupError(RuntimeError):
    """A back-up cannot be made or used; the message says why and what to do."""


def _within(name: str) -> str:
    """Refuse a name that would lead out of its folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or ".." in path.parts or "\x00" in name:
        raise ValueError("is no path within the back-up")
    return name


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StoredFile(_Frozen):
    """One file of a back-up.

    Attributes
    ----------
    part : str
        The part of the home that it belongs to.
    name : str
        Its path within the part.
    size : int
        Bytes.
    digest : str
        SHA-256 of them, hexadecimal.
    modified : float or None
        When it was changed last, in Unix seconds: files that wait are taken in in this order.
    """

    part: Part
    name: Annotated[str, AfterValidator(_within)]
    size: NonNegativeInt
    digest: str
    modified: float | None = None

    @property
    def path(self) -> str:
        """Return its path within the back-up."""
        return f"{self.part}/{self.name}"


class Manifest(_Frozen):
    """What a back-up holds.

    Attributes
    ----------
    made_at : datetime
        The instant whose tables it holds.
    versions : dict of str to str
        Of the programs that it was made with.
    schema_version : str
        Revision of the platform's tables.
    postgres : int
        Major version of the server.
    mlflow_artifacts : str
        Where MLflow's files were, which its database names by their full paths.
    settings : dict
        Those on which scores depend, by field name.
    left_out : list of str
        What was seen and not taken, with the reason.
    files : list of StoredFile
    """

    format: Literal[1] = 1
    made_at: dt.datetime
    versions: dict[str, str]
    schema_version: str
    postgres: int
    mlflow_artifacts: str
    settings: dict[str, Any]
    left_out: list[str]
    files: list[StoredFile]

    def of(self, part: Part) -> list[StoredFile]:
        """Return the files of one part."""
        return [one for one in self.files if one.part == part]


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a back-up.

    Raises
    ------
    BackupError
        When there is none, or it is not whole.
    """
    file = folder / MANIFEST
    try:
        return Manifest.model_validate_json(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise BackupError(
            f"{folder} is no back-up, or one that was broken off: it has no {MANIFEST}"
        ) from None
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, detail["loc"])) or "the document"
        raise BackupError(f"{file} is not whole: {where}: {detail['msg']}") from None
