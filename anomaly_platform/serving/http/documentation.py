"""The pages of the OpenAPI document, Swagger UI and ReDoc, from files of the installed package.

Nothing is loaded from another host. `hatch_build.py` fetches the files while the package is
installed; a page whose files are missing says so.
"""

from collections.abc import Callable
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Final

from fastapi import FastAPI, Request
from fastapi.openapi.docs import (
    get_redoc_html,
    get_swagger_ui_html,
    get_swagger_ui_oauth2_redirect_html,
)
from starlette.responses import FileResponse, HTMLResponse, Response

_BROWSER: Final = Path(str(files("anomaly_platform"))) / "_browser"
#: Path below the application → file.
ASSETS: Final = {
    "/docs/swagger-ui-bundle.js": _BROWSER / "swagger-ui-dist/swagger-ui-bundle.js",
    "/docs/swagger-ui.css": _BROWSER / "swagger-ui-dist/swagger-ui.css",
    "/docs/favicon.png": _BROWSER / "swagger-ui-dist/favicon-32x32.png",
    "/redoc/redoc.standalone.js": _BROWSER / "redoc/redoc.standalone.js",
}


def install_documentation(app: FastAPI) -> None:
    """Add `/docs`, `/redoc` and the files that they need to an application."""

    def swagger(request: Request) -> Response:
        root = request.scope.get("root_path", "").rstrip("/")
        return _missing("/docs") or get_swagger_ui_html(
            openapi_url=f"{root}{app.openapi_url}",
            title=app.title,
            swagger_js_url=f"{root}/docs/swagger-ui-bundle.js",
            swagger_css_url=f"{root}/docs/swagger-ui.css",
            swagger_favicon_url=f"{root}/docs/favicon.png",
            oauth2_redirect_url=f"{root}/docs/oauth2-redirect",
        )

    def redoc(request: Request) -> Response:
        root = request.scope.get("root_path", "").rstrip("/")
        return _missing("/redoc") or get_redoc_html(
            openapi_url=f"{root}{app.openapi_url}",
            title=app.title,
            redoc_js_url=f"{root}/redoc/redoc.standalone.js",
            redoc_favicon_url=f"{root}/docs/favicon.png",
            with_google_fonts=False,
        )

    def redirect(_: Request) -> Response:
        return get_swagger_ui_oauth2_redirect_html()

    for path, page in (("/docs", swagger), ("/redoc", redoc), ("/docs/oauth2-redirect", redirect)):
        app.add_route(path, page, include_in_schema=False)
    for path in ASSETS:
        app.add_route(path, _asset(path), include_in_schema=False)


def _asset(path: str) -> Callable[[Request], Response]:
    def answer(_: Request) -> Response:
        return _missing(path) or FileResponse(ASSETS[path])

    return answer


def _missing(path: str) -> HTMLResponse | None:
    """Return a page that says which files below a path are not installed; None where all are."""
    lacking = [
        file.name for at, file in ASSETS.items() if at.startswith(path) and not file.is_file()
    ]
    if not lacking:
        return None
    text = (
        f"This page needs {escape(', '.join(lacking))}, which could not be fetched from the npm "
        "registry during installation. Where the registry can be reached, install the package "
        "again: <code>pip install --force-reinstall --no-deps</code> and its path or wheel. "
        "The document itself is at <a href='openapi.json'>openapi.json</a>."
    )
    return HTMLResponse(f"<!doctype html><title>Not installed</title><p>{text}</p>", 503)
