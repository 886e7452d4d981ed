"""``anomaly keys``: make, list and revoke keys of the API."""

import datetime as dt
import re
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from anomaly_platform.cli.arguments import refusing
from anomaly_platform.cli.operator import operator
from anomaly_platform.cli.runtime import open_platform
from anomaly_platform.storage.tables.api_keys import ApiKey, ApiKeyError

keys_app = typer.Typer(help="API keys with scopes.", no_args_is_help=True)

console = Console()
notes = Console(stderr=True)

_SPAN: Final = re.compile(r"([1-9][0-9]{0,4})([hdw])")
_HOURS: Final = {"h": 1, "d": 24, "w": 168}


@keys_app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is, or what for.")],
    scopes: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            help="ml:read (predict, read), ml:write (train, telemetry) or ml:admin (delete, "
            "keys); as often as needed. ml:read when none is given.",
        ),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="How long it is good for, such as 12h, 90d or 4w.")
    ] = None,
    per_minute: Annotated[
        int | None,
        typer.Option(
            min=0, help="Predictions a minute, instead of the setting's; 0 means no limit."
        ),
    ] = None,
) -> None:
    """Make a key and print it: once, on standard output, with everything else on standard error."""
    expires_at = None if expires is None else dt.datetime.now(dt.UTC) + _span(expires)
    with refusing(ApiKeyError), open_platform() as platform:
        made, key = platform.warehouse.api_keys.create(
            name,
            scopes or ["ml:read"],
            created_by=operator(),
            expires_at=expires_at,
            predictions_per_minute=per_minute,
        )
    notes.print(
        f"A key for {escape(made.name)} with {', '.join(made.scopes)}, {_until(made)}. "
        "It is shown this once; only its digest is kept.",
        soft_wrap=True,
    )
    typer.echo(key)


@keys_app.command("list")
def list_keys() -> None:
    """List all keys, without their secrets."""
    with open_platform() as platform:
        keys = platform.warehouse.api_keys.all()
    now = dt.datetime.now(dt.UTC)
    table = Table(title="API keys")
    # Whole, whatever the width: it is what anomaly keys revoke is given.
    table.add_column("prefix", no_wrap=True)
    for heading in ("name", "scopes", "state", "expires", "last used"):
        table.add_column(heading, overflow="fold")
    for key in keys:
        state = key.state(now)
        table.add_row(
            key.prefix,
            escape(key.name),
            " ".join(key.scopes),
            f"[{'green' if state == 'active' else 'red'}]{state}",
            *(
                "never" if time is None else f"{time:%Y-%m-%d %H:%M}"
                for time in (key.expires_at, key.last_used_at)
            ),
        )
    console.print(table)


@keys_app.command()
def revoke(
    prefix: Annotated[str, typer.Argument(help="The key's prefix, as anomaly keys list has it.")],
) -> None:
    """Refuse a key from now on; running services follow within a second."""
    # Whoever pastes the whole key means its prefix, and must not see it again.
    meant = prefix.partition(".")[0]
    with refusing(ApiKeyError), open_platform() as platform:
        revoked = platform.warehouse.api_keys.revoke(meant, revoked_by=operator())
    console.print(f"The key {revoked.prefix} of {escape(revoked.name)} is revoked.")


def _span(text: str) -> dt.timedelta:
    found = _SPAN.fullmatch(text)
    if found is None:
        raise typer.BadParameter(f"--expires {text!r}: write 12h, 90d or 4w")
    return dt.timedelta(hours=int(found[1]) * _HOURS[found[2]])


def _until(key: ApiKey) -> str:
    return "for ever" if key.expires_at is None else f"until {key.expires_at:%Y-%m-%d %H:%M} UTC"
