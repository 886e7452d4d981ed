"""Pictures for the docs are drawn by a real browser, once the page says what it has to."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from docgen.pictures import Shot, draw, open_page
from tests.integration.conftest import Answer, Receiver

pytestmark = pytest.mark.integration

PAGE = b"""<html><body style="margin: 0">
<div style="height: 3000px"></div><p id="late"></p>
<img src="data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' width='1280' height='800'>
<rect width='1280' height='800' fill='red'/></svg>">
<script>setTimeout(() => { document.getElementById("late").textContent = "there" }, 500)</script>
</body></html>"""


def test_a_page_is_drawn_when_its_text_is_there_and_what_is_asked_for_in_view(
    receiver: Receiver,
) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    html = {"content-type": "text/html"}
    receiver.behave = lambda _: Answer(200, PAGE, html)
    with playwright.sync_playwright() as driver:
        try:
            with open_page(driver) as page:
                drawn = draw(page, receiver.url, Shot("a", "/page", ("there",), "img"))
        except LookupError as error:
            pytest.skip(str(error))
    picture = Image.open(io.BytesIO(drawn))
    assert picture.size == (1280, 800)
    assert picture.convert("RGB").getpixel((640, 400)) == (255, 0, 0)
