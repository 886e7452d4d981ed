"""Rows are read and copied, however narrow the terminal is."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from anomaly_platform.cli.rows import print_rows

FINGERPRINT = "anomaly/iiot/press-" + "0123456789" * 8


def shown(width: int, rows: list[tuple[str, ...]], **options: int) -> str:
    console = Console(file=io.StringIO(), width=width, record=True)
    print_rows(console, ("fingerprint", "title"), rows, title="Alerts", **options)  # type: ignore[arg-type]
    return console.export_text()


@pytest.mark.parametrize("width", [20, 80, 110, 200])
def test_every_cell_can_be_copied(width: int) -> None:
    said = shown(width, [(FINGERPRINT, "a title [red] with brackets")])
    assert FINGERPRINT in said
    assert "a title [red] with brackets" in said
    assert ("row 1" in said) == (width < 120)


def test_a_cell_may_be_folded_where_that_is_wanted() -> None:
    assert "row 1" not in shown(80, [(FINGERPRINT, "short")], folded_at=24)


def test_no_rows_are_an_empty_table() -> None:
    assert "fingerprint" in shown(80, [])
