"""Writes the reference: ``python -m docgen`` in the root of the repository."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path

from anomaly_platform.platform import Platform
from anomaly_platform.settings import get_settings
from docgen.commands import commands_reference
from docgen.markdown import ROOT, page_with
from docgen.settings import env_example, settings_reference
from docgen.tables import tables_reference


def main() -> None:
    """Write every page anew, from a database made for it."""
    reference = ROOT / "docs" / "reference"
    with tempfile.TemporaryDirectory(prefix="anomaly-docs-") as home:
        settings = get_settings(home=Path(home), database_url=None)
        with closing(Platform(settings)) as platform:
            tables = tables_reference(platform.urls.application)
    (ROOT / ".env.example").write_text(env_example())
    for name, written in {
        "cli.md": commands_reference(),
        "settings.md": settings_reference(),
        "bi.md": tables,
    }.items():
        page = reference / name
        page.write_text(page_with(page, written))


if __name__ == "__main__":
    main()
