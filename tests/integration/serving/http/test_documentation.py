"""The pages of the API's document load nothing from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from anomaly_platform.serving.http import documentation

installed = pytest.mark.skipif(
    not all(file.is_file() for file in documentation.ASSETS.values()),
    reason="the libraries for the browser are not installed: `pip install -e .` with a network",
)


@installed
@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_everything_that_a_page_loads_is_here(client: TestClient, page: str) -> None:
    answer = client.get(page)
    assert answer.status_code == 200
    loaded = re.findall(r"""(?:src|href)=["']([^"']+)""", answer.text)
    assert len(loaded) >= 2
    for url in loaded:
        assert url.startswith("/"), url
        assert client.get(url).status_code == 200
    assert "//" not in answer.headers["content-security-policy"]


@installed
def test_a_page_without_its_files_says_so(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(documentation.ASSETS, "/docs/swagger-ui.css", tmp_path / "swagger-ui.css")
    answer = client.get("/docs")
    assert answer.status_code == 503
    assert "swagger-ui.css" in answer.text
    assert "pip install" in answer.text
    assert client.get("/redoc").status_code == 200
