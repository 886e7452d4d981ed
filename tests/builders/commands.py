"""The command ``anomaly``, run in the test's own process."""

from __future__ import annotations

import sys

import pytest
from click.testing import Result
from typer.testing import CliRunner

from anomaly_platform.cli.main import app
from anomaly_platform.settings import Settings

#: Wide enough that no table breaks a line.
_COLUMNS = 250


def point_commands_at(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands find the home and the database of these settings."""
    assert settings.database_url is not None
    monkeypatch.setenv("ANOMALY_HOME", str(settings.home))
    monkeypatch.setenv("ANOMALY_DATABASE_URL", settings.database_url.get_secret_value())


def run_command(*arguments: object, columns: int = _COLUMNS) -> Result:
    """Run a command in a terminal of so many columns, whatever comes of it."""
    for name, module in list(sys.modules.items()):
        # A console takes its width when it is made, from the terminal of that moment.
        if name.startswith("anomaly_platform.cli.") and hasattr(module, "console"):
            module.console.width = columns
    runner = CliRunner(env={"COLUMNS": str(columns)})
    return runner.invoke(app, [str(one) for one in arguments])


def invoke(*arguments: object, code: int = 0, columns: int = _COLUMNS) -> str:
    """Run a command; return what it says, raise what it raises.

    Raises
    ------
    AssertionError
        When its exit code is another than `code`.
    """
    result = run_command(*arguments, columns=columns)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


def too_long(said: str, columns: int = 80) -> list[str]:
    """Return lines that do not fit, apart from one word that only its owner could break."""
    return [
        line
        for line in said.splitlines()
        if len(line.rstrip()) > columns and max(map(len, line.split())) <= columns // 2
    ]
