"""Pictures of Dagster's pages and the console's: ``python -m docgen.pictures``.

They show a demo that runs. They take a browser (Debian's package chromium) and Playwright, which
drives it. The demo's data end on a fixed day, so that the same code gives the same pictures.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image

from docgen.markdown import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Page, Playwright

_TUTORIALS = ROOT / "docs" / "tutorials"
FOLDER = _TUTORIALS / "pictures"
#: As in docs/tutorials/first-anomaly.md.
LAST_DAY = date(2026, 11, 26)
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_COLOURS = 128
_PATIENCE_S = 300


class Shot(NamedTuple):
    """A page to be drawn.

    Attributes
    ----------
    name : str
        Of the picture.
    path : str
        Of the page.
    texts : tuple of str
        What the page says once it is there.
    shown : str
        A CSS selector of what is to be in view, and is waited for; empty is the page's top.
    width, height : int
        Of the browser's window.
    """

    name: str
    path: str
    texts: tuple[str, ...]
    shown: str = ""
    width: int = 1280
    height: int = 800


OF_THE_DEMO = (
    Shot(
        "lineage",
        "/locations/anomaly_platform/asset-groups/iiot/lineage",
        ("% filled", "4 / 4 Passed", "Materialized"),
        width=2200,
        height=740,
    ),
    Shot(
        "scored-day",
        f"/assets/iiot/scored_events?view=partitions&partition={LAST_DAY - timedelta(days=6)}",
        ("anomalies",),
        "img[src^='data:image']",
    ),
)
_PRESS = "stream=iiot&entity=press-002"
#: The first code that was somewhere it cannot have come to.
_A_LEAP = "tr:has-text('straight line') a.mono"
#: Of the console, for docs/tutorials/console.md.
OF_THE_CONSOLE = (
    Shot("console-overview", "/console", ("What is wrong now?",)),
    Shot("console-explorer", "/console/explorer?stream=iiot", ("the highest score first",)),
    Shot("console-entity", f"/console/entity?{_PRESS}", ("Worst readings",)),
    Shot("console-series", f"/console/series?{_PRESS}&metric=current", (), "[data-drawn]"),
    Shot("console-alerts", "/console/alerts?state=all", ("Looked after by",)),
    Shot("console-models", "/console/models?stream=iiot", ("What served when",)),
    Shot("console-data", "/console/data?stream=iiot", ("Put a file in",)),
)
OF_A_BROKEN_SENSOR = (
    Shot(
        "failed-check",
        "/assets/iiot/validated_events?view=checks&checkDetail=quarantine_ratio",
        ("are in quarantine",),
    ),
)


def main() -> None:
    """Draw every page, of a demo that is made for it or lies in the home that is named."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="anomaly-pictures-") as folder:
        home = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder) / "home"
        if not home.exists():
            _anomaly(home, "demo", "--end", LAST_DAY.isoformat())
        week = Image.open(home / "pictures" / "iiot.png")
        (_TUTORIALS / "demo.png").write_bytes(_small(week))
        _draw_all(home, OF_THE_DEMO)
        _draw_the_console(home)
        let_a_sensor_break(home)
        _draw_all(home, OF_A_BROKEN_SENSOR)


def _draw_all(home: Path, shots: Sequence[Shot]) -> None:
    from playwright.sync_api import sync_playwright

    with _running(home) as (url, _), sync_playwright() as driver, open_page(driver) as page:
        for shot in shots:
            (FOLDER / f"{shot.name}.png").write_bytes(draw(page, url, shot))


def _draw_the_console(home: Path) -> None:
    with _running(home) as (_, url):
        made = [sys.executable, "-m", "anomaly_platform", "keys", "create", "night shift"]
        scopes = ["--scope", "ml:read", "--scope", "ml:write"]
        done = subprocess.run(  # noqa: S603 - this package
            [*made, *scopes], env=_environment(home), check=True, capture_output=True, text=True
        )
        draw_console(url, done.stdout.strip())


def draw_console(url: str, key: str) -> None:
    """Draw the pages of a console that runs, as whoever has the key sees them."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver, open_page(driver) as page:
        page.goto(f"{url}/console/log-in")
        page.fill("input[name=key]", key)
        page.click("button.main")
        page.goto(f"{url}/console/journey")
        leap = page.locator(_A_LEAP).first.get_attribute("href") or ""
        journey = Shot("console-journey", leap, ("Scans in order",))
        for shot in (*OF_THE_CONSOLE, journey):
            (FOLDER / f"{shot.name}.png").write_bytes(draw(page, url, shot))


@contextmanager
def open_page(playwright: Playwright) -> Iterator[Page]:
    """Open a page of this machine's browser.

    Raises
    ------
    LookupError
        When there is no browser.
    """
    found = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if found is None:
        raise LookupError("there is no chromium; install the Debian package chromium")
    # Chromium refuses its sandbox to root.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    browser = playwright.chromium.launch(executable_path=found, args=options)
    try:
        yield browser.new_page()
    finally:
        browser.close()


def let_a_sensor_break(home: Path) -> None:
    """Take in a day of a new device of whose readings every second one is a word."""
    broken = home / "press-broken.csv"
    broken.write_text("\n".join(_readings_of_a_broken_sensor()))
    _anomaly(home, "import", "iiot", str(broken))
    _anomaly(home, "run", "iiot", "--no-train")


def _readings_of_a_broken_sensor() -> Iterator[str]:
    yield "device_id,metric_name,timestamp,value"
    for second in range(0, 86_400, 10):
        value = "fault" if second % 20 else f"{50 + second % 7 / 10:.1f}"
        hours, rest = divmod(second, 3600)
        when = f"{LAST_DAY}T{hours:02}:{rest // 60:02}:{rest % 60:02}Z"
        yield f"press-broken,temperature,{when},{value}"


def _anomaly(home: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "anomaly_platform", *arguments]
    subprocess.run(command, env=_environment(home), check=True)  # noqa: S603 - this package


def _environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANOMALY_")}
    return {**kept, "ANOMALY_HOME": str(home)}


@contextmanager
def _running(home: Path) -> Iterator[tuple[str, str]]:
    """Run ``anomaly up`` and yield the addresses of Dagster's pages and of the API."""
    ui, api = _free_port(), _free_port()
    command = [sys.executable, "-m", "anomaly_platform", "up", "--no-mlflow", "--port", str(ui)]
    process = subprocess.Popen(  # noqa: S603 - this package
        command, env={**_environment(home), "ANOMALY_API_PORT": str(api)}
    )
    url, api_url = f"http://127.0.0.1:{ui}", f"http://127.0.0.1:{api}"
    try:
        _wait_for(f"{url}/server_info", process)
        _wait_for(f"{api_url}/health/ready", process)
        yield url, api_url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(_PATIENCE_S)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(_PATIENCE_S):
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 - this machine
        except OSError:
            time.sleep(1)
        else:
            return
    sys.exit(f"Nothing answers at {url}.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def draw(page: Page, url: str, shot: Shot) -> bytes:
    """Return a page as a PNG of few colours."""
    patience = _PATIENCE_S * 1000
    page.set_viewport_size({"width": shot.width, "height": shot.height})
    page.goto(url + shot.path, timeout=patience)
    for text in shot.texts:
        page.get_by_text(text).first.wait_for(timeout=patience)
    if shot.shown:
        found = page.locator(shot.shown).first
        found.wait_for(timeout=patience)
        found.scroll_into_view_if_needed()
    # Layout and fonts settle after the texts are there.
    page.wait_for_timeout(3000)
    return _small(Image.open(io.BytesIO(page.screenshot(timeout=patience))))


def _small(picture: Image.Image) -> bytes:
    """Return a picture as a PNG of few colours."""
    small = io.BytesIO()
    picture.convert("RGB").quantize(_COLOURS).save(small, "PNG", optimize=True)
    return small.getvalue()


if __name__ == "__main__":
    main()
