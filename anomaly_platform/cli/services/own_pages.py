"""A guard before web pages that have no login: only their own pages may ask them anything.

Belongs here: what a browser says about where a request comes from, and what follows from it. A page
of anybody's that is open in a browser on this machine can send requests to it. Programs that are no
browser say nothing of the kind and are let through: who may connect is the port's business.
"""

from collections.abc import Collection
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

#: Names and addresses of this machine itself, which no other machine's page can come from.
THIS_MACHINE: Final = ("localhost", "127.0.0.1", "[::1]")
_GRAPHQL: Final = "/graphql"
_POLICY_VIOLATION: Final = 1008


class OwnPages:
    """ASGI middleware that refuses what comes from other pages, and under other names.

    Parameters
    ----------
    app : ASGI application
        That has no login.
    hosts : collection of str
        Names under which it is reached, besides this machine's and the address that was connected
        to; ``*.example.com`` means all below. A page of somebody else whose name leads here has
        another name.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self._app = app
        self._hosts = {name.lower() for name in (*THIS_MACHINE, *hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403 to what is refused, in plain words; hand the rest on."""
        refusal = self._refusal(scope) if scope["type"] in ("http", "websocket") else ""
        if not refusal:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": refusal})
        else:
            await PlainTextResponse(f"{refusal}\n", status_code=403)(scope, receive, send)

    def _refusal(self, scope: Scope) -> str:
        """Return why a request is refused; nothing where it is not."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_known(_name_of(hosts[0]), scope):
            return (
                "These pages are not known under this host name; "
                "ANOMALY_UI_TRUSTED_HOSTS names those that are."
            )
        origins = headers.getlist("origin")
        if any(one.partition("://")[2].lower() != hosts[0].lower() for one in origins):
            return "Other pages may not ask these."
        asks_graphql = scope["path"].rstrip("/") == _GRAPHQL
        if asks_graphql and scope["type"] == "http" and _is_question_in_url(scope):
            return "GraphQL is asked by POST: a link could start runs."
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and (
            asks_graphql or not _opens_page(scope, headers)
        ):
            return "Other pages may link to these, and nothing else."
        return ""

    def _is_known(self, name: str, scope: Scope) -> bool:
        address = (scope.get("server") or ("",))[0]
        return (
            name in self._hosts
            or (bool(name) and name in (address, f"[{address}]"))
            or any(name.endswith(one[1:]) for one in self._hosts if one.startswith("*."))
        )


def _name_of(host: str) -> str:
    """Return a host without its port, which for an IPv6 address is behind the bracket."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdigit() else host.lower()


def _is_question_in_url(scope: Scope) -> bool:
    return scope["method"] not in ("POST", "OPTIONS") and bool(scope["query_string"])


def _opens_page(scope: Scope, headers: Headers) -> bool:
    """Return whether somebody follows a link, in a window and not in a frame of another page."""
    return (
        scope["type"] == "http"
        and scope["method"] in ("GET", "HEAD")
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    )
