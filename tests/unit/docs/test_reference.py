"""The reference is what the code gives: commands and settings."""

from __future__ import annotations

from docgen.commands import command_names, commands_reference
from docgen.markdown import ROOT, page_with, table
from docgen.settings import env_example, settings_reference

#: What to do when a page differs.
MEND = "run make docs-reference"


def test_the_page_of_commands_is_what_the_commands_say() -> None:
    page = ROOT / "docs/reference/cli.md"
    written = commands_reference()
    names = list(command_names())
    assert len(names) > 30
    assert not [name for name in names if f"### `{name}" not in written]
    assert page.read_text() == page_with(page, written), MEND


def test_the_page_of_settings_is_what_the_settings_say() -> None:
    page = ROOT / "docs/reference/settings.md"
    assert page.read_text() == page_with(page, settings_reference()), MEND
    assert (ROOT / ".env.example").read_text() == env_example(), MEND


def test_a_cell_cannot_end_its_table() -> None:
    made = table(("a", "b"), [("one|two", "three\n  four")])
    assert made.splitlines()[2] == "| one\\|two | three four |"
