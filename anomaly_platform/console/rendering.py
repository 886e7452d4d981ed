"""Pages from templates: what every page has, and how what came in as data becomes text.

Every value is escaped; no template marks anything as safe, and no value is put into a script or a
style. Addresses are put together by :func:`link`, which encodes their parts.
"""

import datetime as dt
import hashlib
import json
import math
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlencode

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import RedirectResponse, Response

from anomaly_platform import __version__
from anomaly_platform.console.files import address_of, missing_libraries
from anomaly_platform.console.navigation import PAGES
from anomaly_platform.console.viewers import Viewer
from anomaly_platform.ml.scoring.explaining.numbers import percentages

#: Nothing from elsewhere, nothing inline; charts are downloaded from the page that drew them.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {"content-security-policy": _POLICY, "vary": "cookie"}
_KEY_ID: Final = re.compile(r" \([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\)$")
#: A time further away than this is not told from those of another year without naming it.
_WITHOUT_YEAR: Final = dt.timedelta(days=300)
_SAID: Final = "anomaly_said"
_SAID_S: Final = 30


def link(path: str, **query: Any) -> str:
    """Return an address of the console with its query; what is None or empty is left out."""
    pairs = {name: _query_text(one) for name, one in query.items() if one not in (None, "")}
    return f"{path}?{urlencode(pairs)}" if pairs else path


def _query_text(value: Any) -> str:
    return iso(value) if isinstance(value, dt.datetime) else str(value)


def iso(moment: dt.datetime) -> str:
    """Return a time as programs write it, in UTC.

    Examples
    --------
    >>> iso(dt.datetime(2026, 11, 26, 12, 30, tzinfo=dt.UTC))
    '2026-11-26T12:30:00Z'
    """
    text = moment.astimezone(dt.UTC).replace(tzinfo=None).isoformat()
    return f"{text}Z"


def number(value: float | None, digits: int = 4) -> str:
    """Return a number as people read it.

    Examples
    --------
    >>> number(1234567), number(0.000123456), number(None), number(20.0)
    ('1,234,567', '0.0001235', '–', '20')
    """
    if value is None or not math.isfinite(value):
        return "–"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.{digits}g}" if abs(value) < 1e4 else f"{value:,.1f}"


def who(actor: str) -> str:
    """Return the name of whoever did something, without the id of their key.

    Examples
    --------
    >>> who("night shift (66af773d-cc2c-4b56-b671-fa112d2ffdaa)"), who("root (command line)")
    ('night shift', 'root (command line)')
    """
    return _KEY_ID.sub("", actor)


def moment(at: dt.datetime) -> str:
    """Return a time as a page says it; with its year where that is not the present one.

    Examples
    --------
    >>> moment(dt.datetime(2020, 11, 26, 12, 30, tzinfo=dt.UTC))
    '26 Nov 2020 12:30'
    """
    is_recent = abs(dt.datetime.now(dt.UTC) - at) < _WITHOUT_YEAR
    return at.strftime("%d %b %H:%M" if is_recent else "%d %b %Y %H:%M")


def share(value: float | None, digits: int = 1) -> str:
    """Return a share as a percentage."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}%}"


def span(seconds: float | None) -> str:
    """Return a length of time in its largest unit.

    Examples
    --------
    >>> span(90), span(7200), span(300_000)
    ('90 s', '2 h', '3 days')
    """
    if seconds is None:
        return "–"
    for unit, size, least in (("days", 86_400, 172_800), ("h", 3_600, 7_200), ("min", 60, 120)):
        if seconds >= least:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


class _Query(dict[str, str]):
    """An address' query; what it does not say is empty."""

    def __missing__(self, name: str) -> str:
        return ""


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _environment() -> Environment:
    folder = Path(str(files("anomaly_platform"))) / "console" / "templates"
    made = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(iso=iso, number=number, share=share, span=span, tojson_text=_as_json)
    made.filters.update(who=who, moment=moment, percentages=percentages)
    made.globals.update(link=link, program_version=__version__)
    return made


_TEMPLATES: Final = _environment()


def page(
    request: Request, template: str, viewer: Viewer | None, *, status: int = 200, **values: Any
) -> Response:
    """Return a page, or only what renews itself where the page asks for that.

    A page that asks again is told (304) when nothing has changed.
    """
    is_part = viewer is not None and request.headers.get("x-part") == "live"
    said = unquote(request.cookies.get(_SAID, ""))
    root = request.scope.get("root_path", "").rstrip("/") + "/console"
    shown = {
        "viewer": viewer,
        "root": root,
        "here": request.url.path.removeprefix(request.scope.get("root_path", "")),
        "query": _Query(request.query_params),
        "pages": [] if viewer is None else [one for one in PAGES if viewer.may(one.scope)],
        "missing": missing_libraries(),
        "theme": _theme(request),
        "said": "" if is_part else said,
        "file": lambda name: f"{root}/{address_of(name)}",
        **values,
    }
    made = _TEMPLATES.get_template(template)
    if is_part:
        context = made.new_context(shown)
        content = "".join(made.blocks["live"](context)).encode()
    else:
        content = made.render(shown).encode()
    tag = f'"{hashlib.sha256(content).hexdigest()[:24]}"'
    headers = {**HEADERS, "etag": tag}
    if is_part and request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    answer = Response(content, status, headers, "text/html; charset=utf-8")
    if said and not is_part:
        answer.delete_cookie(_SAID, path="/console")
    return answer


def data(content: Mapping[str, Any]) -> Response:
    """Return what a script draws, as JSON."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return Response(text, media_type="application/json", headers=HEADERS)


def back_to(request: Request, place: str, said: str = "") -> Response:
    """Return the way back to a page, on which it is said what a button has done."""
    answer = RedirectResponse(place, 303, HEADERS)
    if said:
        secure = request.url.scheme == "https"
        answer.set_cookie(
            _SAID,
            quote(said[:600]),
            _SAID_S,
            path="/console",
            secure=secure,
            httponly=True,
            samesite="lax",
        )
    return answer


def own_place(asked: str | None, otherwise: str = "/console") -> str:
    """Return a page of this console that was asked for; another one where it is none.

    Examples
    --------
    >>> own_place("/console/series?stream=iiot"), own_place("//elsewhere"), own_place(None)
    ('/console/series?stream=iiot', '/console', '/console')
    """
    asked = asked or ""
    # Browsers take a backslash for a slash, and leave out line breaks.
    plain = asked.isprintable() and "\\" not in asked
    is_own = asked == "/console" or asked.startswith(("/console/", "/console?"))
    return asked if plain and is_own else otherwise


def _theme(request: Request) -> str:
    asked = request.cookies.get("anomaly_theme", "")
    return asked if asked in ("dark", "light") else ""
