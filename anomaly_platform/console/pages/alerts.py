"""Alerts and what people do about them: acknowledge, comment, resolve."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from anomaly_platform.console import sources
from anomaly_platform.console.rendering import back_to, link, own_place, page, who
from anomaly_platform.console.viewers import Reading, WriterPress, serving_of
from anomaly_platform.incidents import triage
from anomaly_platform.incidents.alert_log import AlertLog, AlertRow
from anomaly_platform.notifications.channels import are_set
from anomaly_platform.queries.operation.triage import Deed, deeds_about
from anomaly_platform.serving.problems import ApiProblem, not_found
from anomaly_platform.serving.state import ServingState

router = APIRouter(prefix="/alerts")

_MOST: Final = 200
_SEVERITIES: Final = ("critical", "warning", "info")


@dataclass(frozen=True, slots=True)
class Triaged:
    """An alert with what people did about it since it opened.

    Attributes
    ----------
    looked_after_by : Deed or None
        Who acknowledged it last.
    """

    alert: AlertRow
    deeds: Sequence[Deed]

    @property
    def looked_after_by(self) -> Deed | None:
        """Who acknowledged it last since it opened."""
        return next(
            (
                one
                for one in self.deeds
                if one.kind == "acknowledge" and one.at >= self.alert.opened_at
            ),
            None,
        )

    @property
    def why(self) -> str | None:
        """Why it was raised, as far as its details say that in words."""
        known = self.alert.details
        causes = ", ".join(known.get("causes") or ())
        said = (
            known.get("reason") or known.get("explanation") or (causes and f"because of {causes}")
        )
        return str(said) if said else None


async def triaged(
    serving: ServingState, *, only_open: bool, stream: str | None = None
) -> list[Triaged]:
    """Return alerts, the worst that nobody looks after first."""
    log = AlertLog(serving.platform.warehouse.transactions)
    found = await asyncio.to_thread(log.alerts, only_open=only_open, stream=stream, most=_MOST)
    async with serving.pool.connection() as connection:
        deeds = await deeds_about(connection, [one.fingerprint for one in found])
    every = [Triaged(one, deeds[one.fingerprint]) for one in found]
    return sorted(
        every,
        key=lambda one: (
            one.alert.state != "open",
            one.looked_after_by is not None,
            _SEVERITIES.index(one.alert.severity),
        ),
    )


@router.get("")
async def show(
    request: Request, viewer: Reading, state: str = "open", stream: str | None = None
) -> Response:
    """List alerts."""
    serving = serving_of(request)
    chosen = stream or None
    found = await triaged(serving, only_open=state != "all", stream=chosen)
    return page(
        request,
        "alerts.html",
        viewer,
        alerts=found,
        state=state,
        stream=chosen,
        streams=serving.platform.streams,
        behind=[sources.statement("SELECT * FROM alerts ORDER BY last_seen_at DESC")],
    )


@router.get("/one")
async def show_one(request: Request, viewer: Reading, alert: str) -> Response:
    """Show one alert with its details, what was done, and who was told."""
    serving = serving_of(request)
    log = AlertLog(serving.platform.warehouse.transactions)
    found = await asyncio.to_thread(log.alert, alert)
    if found is None:
        raise not_found(f"alert {alert!r}")
    deliveries = await asyncio.to_thread(log.deliveries, alert)
    async with serving.pool.connection() as connection:
        deeds = await deeds_about(connection, [alert])
    return page(
        request,
        "alert.html",
        viewer,
        one=Triaged(found, deeds[alert]),
        deliveries=deliveries,
        run_page=partial(sources.run, serving.settings),
        has_channels=are_set(serving.settings),
        streams={stream.name: stream for stream in serving.platform.streams},
        here_again=link("/console/alerts/one", alert=alert),
    )


@router.post("/acknowledge")
async def acknowledge(request: Request, press: WriterPress) -> Response:
    """Say that somebody looks after an alert, whom nobody replaces without knowing it."""
    alert, actor = press.text("alert"), press.viewer.caller.actor

    def write(serving: ServingState) -> str | None:
        with serving.platform.warehouse.transactions.begin() as connection:
            return triage.acknowledge(
                connection, alert, actor=actor, instead_of=press.form.get("instead_of")
            )

    holder = await asyncio.to_thread(write, serving_of(request))
    if holder is None:
        raise _not_open(alert)
    said = f"You look after {alert}."
    if holder != actor:
        said = f"{who(holder)} looks after {alert} already. Take over has you do it instead."
    return back_to(request, own_place(press.form.get("back"), "/console/alerts"), said)


@router.post("/comment")
async def comment(request: Request, press: WriterPress) -> Response:
    """Say something about an alert."""
    alert, text = press.text("alert"), press.text("text")

    def write(serving: ServingState) -> None:
        with serving.platform.warehouse.transactions.begin() as connection:
            triage.comment(connection, alert, text, actor=press.viewer.caller.actor)

    await asyncio.to_thread(write, serving_of(request))
    return back_to(request, own_place(press.form.get("back"), "/console/alerts"), "It is noted.")


@router.post("/resolve")
async def resolve(request: Request, press: WriterPress) -> Response:
    """Close an alert, and tell the channels that heard of it."""
    alert = press.text("alert")
    note = press.form.get("note", "").strip()[:2_000]

    def write(serving: ServingState) -> bool:
        with serving.platform.warehouse.transactions.begin() as connection:
            actor = press.viewer.caller.actor
            return triage.resolve(connection, serving.platform.outbox, alert, note, actor=actor)

    if not await asyncio.to_thread(write, serving_of(request)):
        raise _not_open(alert)
    place = own_place(press.form.get("back"), "/console/alerts")
    told = "the channels that heard of it are told"
    if not are_set(serving_of(request).settings):
        told = "nobody is told: no channel is set"
    return back_to(request, place, f"{alert} is resolved; {told}.")


def _not_open(alert: str) -> ApiProblem:
    return ApiProblem(409, f"no alert {alert!r} is open any more")
