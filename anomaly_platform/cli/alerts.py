"""``anomaly alerts``: what is wrong, who was told, and what could not be delivered."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from anomaly_platform.cli.operator import person
from anomaly_platform.cli.rows import print_rows, word_table
from anomaly_platform.cli.runtime import open_platform
from anomaly_platform.incidents.alert_log import AlertLog, is_open
from anomaly_platform.queries.detections import has_detections

alerts_app = typer.Typer(
    help="What is wrong, who was told, and what could not be delivered.", no_args_is_help=True
)
console = Console()

_PAST = (
    "There are anomalies in the data, but their events were older than an hour when they were "
    "found, and an alert is for what happens now. The views bi_… and the table "
    "anomaly_detections have them."
)

Fingerprint = Annotated[str, typer.Argument(help="As `anomaly alerts list` shows it.")]


@alerts_app.command("list")
def list_alerts(
    everything: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
    stream: Annotated[str | None, typer.Option(help="Only this stream's.")] = None,
    most: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
) -> None:
    """List open alerts, the one seen last first."""
    with open_platform() as platform:
        found = AlertLog(platform.warehouse.transactions).alerts(
            only_open=not everything, stream=stream, most=most
        )
        past = not found and has_detections(platform.warehouse.transactions, stream)
    if not found:
        console.print("There has been no alert." if everything else "Nothing is wrong.")
        if past:
            console.print(_PAST)
        return
    print_rows(
        console,
        ("severity", "state", "fingerprint", "title", "times", "last seen", "unsent"),
        [
            (
                alert.severity,
                alert.state,
                alert.fingerprint,
                alert.title,
                str(alert.occurrences),
                f"{alert.last_seen_at:%Y-%m-%d %H:%M}",
                str(alert.undelivered or ""),
            )
            for alert in found
        ],
    )


@alerts_app.command()
def show(fingerprint: Fingerprint) -> None:
    """Show one alert with its details, its messages and where they went."""
    with open_platform() as platform:
        log = AlertLog(platform.warehouse.transactions)
        alert = log.alert(fingerprint)
        deliveries = log.deliveries(fingerprint)
    if alert is None:
        raise typer.BadParameter(f"there is no alert {fingerprint!r}; see anomaly alerts list")
    console.print(f"[bold]{escape(alert.title)}[/]")
    console.print(
        f"{alert.severity}, {alert.state}, {alert.occurrences} times since "
        f"{alert.opened_at:%Y-%m-%d %H:%M:%S} UTC"
    )
    console.print_json(json.dumps(alert.details))
    rows = [
        (
            f"{one.created_at:%m-%d %H:%M:%S}",
            one.state,
            one.channel or "",
            one.status,
            str(one.attempts),
            f"{one.next_try_at:%H:%M:%S}" if one.status == "waiting" and one.next_try_at else "",
            escape(one.last_error or ""),
        )
        for one in deliveries
    ]
    headings = ("when", "state", "channel", "status", "tries", "next", "last error")
    console.print(word_table(headings, rows, "Messages"))


@alerts_app.command()
def resolve(
    fingerprint: Fingerprint,
    note: Annotated[str, typer.Option(help="Why, for those who were told.")] = "",
) -> None:
    """Close an alert and tell those who heard of it."""
    with open_platform() as platform:
        details = {"resolved_by": person(), "note": note}
        with platform.warehouse.transactions.begin() as connection:
            was_open = is_open(connection, fingerprint)
            told = platform.outbox.resolve_alert(connection, fingerprint, details)
    if not was_open:
        raise typer.BadParameter(f"no alert {fingerprint!r} is open; see anomaly alerts list")
    console.print("Resolved." if told else "Resolved; nobody had been told of it.")


@alerts_app.command()
def retry(
    fingerprint: Annotated[
        str | None, typer.Argument(help="Only this alert's messages; otherwise all.")
    ] = None,
    channel: Annotated[str | None, typer.Option(help="Only on this channel.")] = None,
) -> None:
    """Try deliveries at once that wait or were given up."""
    with open_platform() as platform:
        retried = AlertLog(platform.warehouse.transactions).retry(
            fingerprint=fingerprint, channel=channel
        )
    console.print(f"{retried} deliveries are due now.")
