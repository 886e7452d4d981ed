"""``anomaly keys``: make, list and revoke keys of the API."""

import datetime as dt
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from anomaly_platform.cli.arguments import refusing
from anomaly_platform.cli.operator import operator
from anomaly_platform.cli.runtime import open_platform
from anomaly_platform.storage.own_files import private
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
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write the key into this new file, which only its owner can read, instead of "
            "standard output."
        ),
    ] = None,
    per_minute: Annotated[
        int | None,
        typer.Option(
            min=0, help="Predictions a minute, instead of the setting's; 0 means no limit."
        ),
    ] = None,
) -> None:
    """Make a key and print it once, alone on standard output; the rest is on standard error."""
    expires_at = None if expires is None else dt.datetime.now(dt.UTC) + _span(expires)
    with refusing(ApiKeyError), _reserved(out) as written, open_platform() as platform:
        made, key = platform.warehouse.api_keys.create(
            name,
            scopes or ["ml:read"],
            created_by=operator(),
            expires_at=expires_at,
            predictions_per_minute=per_minute,
        )
        written(key)
    notes.print(
        f"A key for {escape(made.name)} with {', '.join(made.scopes)}, {_until(made)}. "
        "It is shown this once; only its digest is kept.",
        soft_wrap=True,
    )


@contextmanager
def _reserved(out: Path | None) -> Iterator[Callable[[str], None]]:
    """Yield what writes a key: into a file of this user alone, or onto standard output.

    The file's name is taken before there is a key, so that none is lost where there is such a file
    already, and the whole key appears in it at once.
    """
    if out is None:
        yield typer.echo
        return
    unfinished = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with open(out, "x", opener=private):
            pass
    except FileExistsError:
        raise typer.BadParameter(f"{out} is there already, and stays as it is") from None

    def write(key: str) -> None:
        with open(unfinished, "x", opener=private) as file:
            file.write(f"{key}\n")
        unfinished.replace(out)

    try:
        yield write
    except BaseException:
        unfinished.unlink(missing_ok=True)
        out.unlink(missing_ok=True)
        raise


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
