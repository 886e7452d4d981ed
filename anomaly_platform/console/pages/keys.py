"""API keys: who may do what. Only for keys with the scope ``ml:admin``."""

import asyncio
import datetime as dt
import uuid
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from anomaly_platform.console import sources
from anomaly_platform.console.rendering import back_to, page
from anomaly_platform.console.viewers import AdminPress, Ruling, Viewer, serving_of
from anomaly_platform.serving.problems import ApiProblem, not_found
from anomaly_platform.storage.tables.api_keys import SCOPES, ApiKeyError

router = APIRouter(prefix="/keys")

_LONGEST_DAYS: Final = 3_650


@router.get("")
async def show(request: Request, viewer: Ruling) -> Response:
    """List the keys."""
    return await _page(request, viewer)


@router.post("")
async def create(request: Request, press: AdminPress) -> Response:
    """Make a key, and show it this once."""
    scopes = [scope for scope in SCOPES if press.form.get(scope) == "yes"]
    days = press.form.get("days", "").strip()
    if days and not (days.isdecimal() and len(days) < 9 and 0 < int(days) <= _LONGEST_DAYS):
        raise ApiProblem(422, f"days: 1 to {_LONGEST_DAYS:,}, or nothing for ever")
    expires = dt.datetime.now(dt.UTC) + dt.timedelta(days=int(days)) if days else None
    keys = serving_of(request).platform.warehouse.api_keys

    def make() -> str:
        name, actor = press.text("name", most=200), press.viewer.caller.actor
        return keys.create(name, scopes, created_by=actor, expires_at=expires)[1]

    try:
        made = await asyncio.to_thread(make)
    except ApiKeyError as error:
        raise ApiProblem(422, str(error)) from None
    return await _page(request, press.viewer, made)


@router.post("/revoke")
async def revoke(request: Request, press: AdminPress) -> Response:
    """Refuse a key from now on; its sessions end with it."""
    serving = serving_of(request)
    try:
        which = uuid.UUID(press.text("id"))
    except ValueError:
        raise not_found("key of that id") from None
    keys = serving.platform.warehouse.api_keys
    actor = press.viewer.caller.actor
    try:
        revoked = await asyncio.to_thread(keys.revoke, which, revoked_by=actor)
    except ApiKeyError:
        raise not_found(f"key {which}") from None
    # This worker at once; the others hear of it.
    await serving.keys.forget(revoked.prefix)
    return back_to(request, "/console/keys", f"The key of {revoked.name} is revoked.")


async def _page(request: Request, viewer: Viewer, made: str | None = None) -> Response:
    serving = serving_of(request)
    found = await asyncio.to_thread(serving.platform.warehouse.api_keys.all)
    now = dt.datetime.now(dt.UTC)
    return page(
        request,
        "keys.html",
        viewer,
        keys=[(one, one.state(now)) for one in found],
        scopes=SCOPES,
        made=made,
        behind=[
            sources.statement(
                "SELECT at, actor, action, subject, after FROM audit_log "
                "WHERE action LIKE 'api_key.%' ORDER BY id DESC"
            )
        ],
    )
