"""Pages that renew themselves while somebody presses a button on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.builders.waiting import wait_until

if TYPE_CHECKING:
    from conftest import Console, Visit, Visitor

pytestmark = [pytest.mark.browser, pytest.mark.chromium]

FASTER = """
const real = window.setInterval;
window.setInterval = (call, wait) => real(call, wait / 20);
"""


class Held:
    """Requests that somebody's page makes and that are not answered yet."""

    def __init__(self, page: Any, path: str, *, live: bool = False) -> None:
        self._page = page
        self._routes: list[Any] = []
        self._lets_go = False

        def hold(route: Any) -> None:
            if self._lets_go or (live and "x-part" not in route.request.headers):
                route.continue_()
            else:
                self._routes.append(route)

        page.route(path, hold)

    def wait(self, number: int = 1) -> None:
        """Wait until there are so many."""
        wait_until(lambda: self._page.wait_for_timeout(20) or len(self._routes) >= number, 30)

    def release_first(self) -> None:
        """Let the first go."""
        self._routes.pop(0).continue_()

    def release(self) -> None:
        """Let them go, and all that come after them."""
        self._lets_go = True
        while self._routes:
            self._routes.pop(0).continue_()


def press_while_renewed(somebody: Visitor, press: Any, path: str) -> None:
    """Have a live part's answer come between a button and the button's answer."""
    page = somebody.page
    page.add_init_script(FASTER)
    live = Held(page, "**/console", live=True)
    somebody.go("/console")
    live.wait()
    answer = Held(page, path)
    press(page)
    answer.wait()
    with page.expect_response(lambda one: "x-part" in one.request.headers):
        live.release()
    page.wait_for_timeout(200)
    answer.release()


def is_one_page(page: Any) -> bool:
    return bool(page.locator("main").count() == page.locator("nav.side").count() == 1)


def test_a_page_is_not_put_into_itself(visit: Visit, console: Console) -> None:
    somebody = visit()
    page = somebody.page
    press_while_renewed(
        somebody,
        lambda page: (
            page.locator("tr", has_text="press-1").get_by_role("button", name="False alarm").click()
        ),
        "**/console/marks",
    )
    page.get_by_text("is marked a false alarm").wait_for()
    assert is_one_page(page)
    # The page renews itself on.
    page.locator("tr", has_text="press-1").get_by_role("button", name="Undo").click()
    page.get_by_text("is taken back").wait_for()
    assert is_one_page(page)
    assert console.platform.warehouse.labels.newest("iiot") == []


def test_an_answer_finds_its_place_when_its_form_is_gone(visit: Visit) -> None:
    somebody = visit()
    page = somebody.go("/console")
    answer = Held(page, "**/console/marks")
    somebody.press("False alarm")
    answer.wait()
    page.evaluate("document.querySelector('[data-live]').replaceChildren()")
    answer.release()
    page.get_by_text("is marked a false alarm").wait_for()
    page.get_by_role("heading", name="Which model serves?").wait_for()
    assert is_one_page(page)
    somebody.press("Undo")
    page.get_by_text("is taken back").wait_for()


def test_the_answers_to_two_buttons_are_both_seen(visit: Visit) -> None:
    """The first answer takes the second button's form away."""
    somebody = visit()
    page = somebody.go("/console/alerts")
    held = Held(page, "**/console/alerts/acknowledge")
    for name in ("run failed", "<img"):
        page.locator("tr", has_text=name).get_by_role("button", name="Acknowledge").click()
    held.wait(2)
    held.release_first()
    page.get_by_text("You look after run failed").wait_for()
    held.release()
    page.get_by_text("You look after <img").wait_for()
    assert is_one_page(page)


def test_on_a_phone_the_newest_is_in_sight_and_every_page_in_the_menu(visit: Visit) -> None:
    somebody = visit(viewport={"width": 390, "height": 844})
    page = somebody.go("/console/explorer?stream=iiot")
    page.wait_for_function(
        "(() => { const wide = document.querySelector('[data-newest-last]');"
        " return wide.scrollLeft > 0"
        " && wide.scrollLeft + wide.clientWidth >= wide.scrollWidth - 2; })()"
    )
    for one in page.locator(".side li a").all():
        box = one.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
