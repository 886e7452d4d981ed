"""The reference of tables is what a migrated database has."""

from __future__ import annotations

import pytest

from docgen.markdown import ROOT, page_with
from docgen.tables import tables_reference

pytestmark = pytest.mark.integration


def test_the_page_of_tables_is_what_the_database_has(database_url: str) -> None:
    page = ROOT / "docs/reference/bi.md"
    written = tables_reference(database_url)
    assert "### `bi_iiot_scores`" in written
    assert page.read_text() == page_with(page, written), "run make docs-reference"
