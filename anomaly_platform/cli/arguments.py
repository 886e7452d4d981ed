"""What arguments of several commands share: their names, and how wrong ones are refused."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Annotated

import typer

from anomaly_platform import __version__
from anomaly_platform.platform import Platform
from anomaly_platform.settings import get_settings
from anomaly_platform.streams import Stream

StreamName = Annotated[str, typer.Argument(help="A stream's name, such as iiot or ems.")]
Seed = Annotated[int | None, typer.Option(help="Seed of every random choice.")]


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"anomaly_platform {__version__}")
        raise typer.Exit


VersionAsked = Annotated[
    bool,
    typer.Option(
        "--version", callback=_tell_version, is_eager=True, help="Print the version, and end."
    ),
]


@contextmanager
def refusing(*errors: type[Exception]) -> Iterator[None]:
    """Turn these errors of the block into an argument that is refused, for the same reason."""
    try:
        yield
    except errors as error:
        raise typer.BadParameter(str(error)) from None


def stream_of(platform: Platform, name: str) -> Stream:
    """Return the stream of that name, or refuse the name."""
    with refusing(LookupError):
        return platform.stream(name)


def seed_of(seed: int | None) -> int:
    """Return the seed that was given, or that of the settings."""
    return get_settings().seed if seed is None else seed


def days_of(text: str | None) -> tuple[date, date] | None:
    """Return the span that `--days` names, or refuse it."""
    if text is None:
        return None
    first, _, last = text.partition(":")
    try:
        span = date.fromisoformat(first), date.fromisoformat(last or first)
    except ValueError:
        raise typer.BadParameter(
            f"--days {text!r}: write 2026-01-01:2026-01-31, or one day"
        ) from None
    if span[0] > span[1]:
        raise typer.BadParameter(f"--days {text!r}: the first day lies after the last")
    return span


def day_of(text: str) -> date:
    """Return a day, or refuse the text."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no day; write 2026-01-31") from None
