"""The reference of commands has every command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
from typer.main import get_command

from anomaly_platform.cli.main import app

PAGE = Path(__file__).parents[3] / "docs/reference/cli.md"


def commands_of(command: click.Command, path: str) -> Iterator[str]:
    """Return the names of a command's leaves, as a person types them."""
    inner = getattr(command, "commands", None)
    if not inner:
        yield path
        return
    for name, one in inner.items():
        yield from commands_of(one, f"{path} {name}")


def test_every_command_is_there() -> None:
    text = PAGE.read_text()
    every = list(commands_of(get_command(app), "anomaly"))
    assert len(every) > 30
    assert not [name for name in every if f"`{name}" not in text]
