"""What is written about the tree is in the tree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = (
    *("CONTRIBUTING.md", "SECURITY.md", "README.md", "docs/explanation/architecture.md"),
    *("docs/explanation/detection.md", "docs/explanation/detection_history.md"),
    *(str(page.relative_to(ROOT)) for page in sorted(ROOT.glob("docs/explanation/decisions/*.md"))),
)
#: With a slash, or a file that only a repository has.
_PATH = re.compile(r"[\w.][\w.*-]*(?:/[\w.*-]+)+/?|[\w-]+/|[\w.-]+\.(?:py|md|toml|ya?ml)")
#: What looks like a path and lies elsewhere: in a user's home, in a header of HTTP.
_ELSEWHERE = (".anomaly/", "application/")


def paths_in(text: str) -> list[str]:
    """Return what stands between backticks and is a path of the repository."""
    quoted = re.findall(r"`([^`\n]+)`", text)
    return [path for path in quoted if _PATH.fullmatch(path) and not path.startswith(_ELSEWHERE)]


def is_there(path: str) -> bool:
    """Return whether a path is there, from the root of the repository or of the package."""
    return any(
        next(base.glob(path.rstrip("/")), None) for base in (ROOT, ROOT / "anomaly_platform")
    )


def test_paths_are_told_from_other_words() -> None:
    text = (
        "`ml/detectors/` `pyproject.toml` `tests/unit/docs/test_paths.py` `assets/` `ml/*/base.py` "
        "`bi_iiot_scores` `.anomaly/landing/iiot` `anomaly run` `/api/v1/health` `POST /keys`"
    )
    found = paths_in(text)
    assert found == [
        *("ml/detectors/", "pyproject.toml", "tests/unit/docs/test_paths.py", "assets/"),
        "ml/*/base.py",
    ]
    assert is_there("pyproject.toml")
    assert is_there("ml/detectors/")
    assert not is_there("ml/detektors/")


@pytest.mark.parametrize("page", PAGES)
def test_every_path_is_there(page: str) -> None:
    assert not [path for path in paths_in((ROOT / page).read_text()) if not is_there(path)]
