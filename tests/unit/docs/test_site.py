"""The docs are a site in which every page is found, and which needs no other host."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
#: What a browser loads by itself when it opens a page.
_LOADED = re.compile(r"<(?:script|img|iframe|source)[^>]*\ssrc=\"([^\"]*)\"")
_STYLES = re.compile(r"<link[^>]*rel=\"(?:stylesheet|icon|preload|preconnect)\"[^>]*>")


def pages_of(menu: list[Any]) -> Iterator[str]:
    for entry in menu:
        for target in [entry] if isinstance(entry, str) else entry.values():
            if isinstance(target, str):
                yield target
            else:
                yield from pages_of(target)


def test_every_page_is_in_the_menu_once_and_every_entry_is_a_page() -> None:
    menu = sorted(pages_of(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    pages = sorted(str(page.relative_to(ROOT / "docs")) for page in ROOT.glob("docs/**/*.md"))
    assert menu == pages


def test_every_picture_is_there_and_small() -> None:
    named = [
        page.parent / path
        for page in ROOT.glob("docs/**/*.md")
        for path in re.findall(r"!\[[^]]*\]\(([^)\s]+)\)", page.read_text())
    ]
    assert len(named) > 3
    assert not [path for path in named if not path.is_file()]
    assert not [path for path in named if path.stat().st_size > 250_000]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(ROOT / "docs", folder / "docs")
    shutil.copy(ROOT / "mkdocs.yml", folder)
    built = subprocess.run(
        [str(Path(sys.executable).with_name("zensical")), "build", "--strict"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder / "site"


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert pages
    for page in pages:
        text = page.read_text()
        loaded = [*_LOADED.findall(text), *_STYLES.findall(text)]
        assert loaded, page
        assert not [one for one in loaded if "//" in one], page
    for style in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*['\"]?(https?:)?//", style.read_text()), style
