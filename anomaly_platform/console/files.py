"""Files that pages load: style sheets and scripts of the console, and libraries from npm.

Anybody may load them; a log-in page needs them, too. `hatch_build.py` fetches the libraries while
the package is installed; a page that lacks one says so.
"""

import hashlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

_PACKAGE: Final = Path(str(files("anomaly_platform")))
_STATIC: Final = _PACKAGE / "console" / "static"
_BROWSER: Final = _PACKAGE / "_browser"
LIBRARIES: Final = {
    "htmx.min.js": _BROWSER / "htmx.org/htmx.min.js",
    "uPlot.iife.min.js": _BROWSER / "uplot/uPlot.iife.min.js",
    "uPlot.min.css": _BROWSER / "uplot/uPlot.min.css",
}
"""What comes from npm, by the name under which pages load it."""

_FOR_A_YEAR: Final = "public, max-age=31536000, immutable"


def file_routes(path: str) -> Iterator[Route]:
    """Return a route for each file, below a path."""
    for name in (*LIBRARIES, *(file.name for file in sorted(_STATIC.iterdir()))):
        yield Route(f"{path}/{name}", _answer_of(name), methods=["GET"])


def missing_libraries() -> list[str]:
    """Return the names of the libraries that are not installed."""
    return [name for name, file in LIBRARIES.items() if not file.is_file()]


def address_of(name: str) -> str:
    """Return where a page finds a file, below the console: a new version has a new address."""
    return f"files/{name}?v={_digest(_file(name))}"


def _file(name: str) -> Path:
    return LIBRARIES.get(name) or _STATIC / name


@lru_cache(maxsize=64)
def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12] if file.is_file() else "missing"


def _answer_of(name: str) -> Callable[[Request], Response]:
    def answer(request: Request) -> Response:
        file = _file(name)
        if not file.is_file():
            return PlainTextResponse("not installed", 404)
        # Whoever asks for another version gets today's, but does not keep it.
        is_current = request.query_params.get("v") == _digest(file)
        return FileResponse(file, headers={"cache-control": _FOR_A_YEAR} if is_current else None)

    return answer
