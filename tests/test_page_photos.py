"""The page of all photos, on a phone: tiles, filter, one photo as large as the screen, pin, and delete with undo."""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Response, Route, expect

from tests.browser import DESKTOP, Visitor, add_user
from tests.network import Network
from tests.service import Service, eventually, running

CONFIG = """
[cameras.front]
backend = "simulated"
width = 640
height = 480

[cameras.back]
backend = "simulated"
width = 640
height = 480
"""

PAGE = 60
"""Photos that the page asks for at once."""


class Library:
    """The photos of the service, past the page."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.token = service.token()

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        status, _, answer = self.service.call(method, f"/api/v1{path}", self.token, body)
        return status, json.loads(answer) if answer else None

    def take(self, camera: str = "front", **wanted: Any) -> dict[str, Any]:
        status, photo = self.call("POST", f"/cameras/{camera}/photos", {"width": 64, **wanted})
        assert status == 201, photo
        return dict(photo)

    def get(self, id: str) -> tuple[int, Any]:
        return self.call("GET", f"/photos/{id}")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("photos"), CONFIG) as service:
        add_user(service)
        add_user(service, "guest", scopes=["camera:front:view"])
        yield service


@pytest.fixture(scope="module")
def library(service: Service) -> Library:
    library = Library(service)
    with ThreadPoolExecutor(4) as hands:
        list(hands.map(lambda _: library.take(), range(PAGE + 6)))
    return library


def open_photos(visitor: Visitor, path: str = "/photos") -> Page:
    page = visitor.go(path)
    expect(page.locator("html")).to_have_attribute("data-connection", "live")
    expect(page.locator("#loading")).to_be_hidden()
    return page


def tile(page: Page, photo: dict[str, Any]) -> Locator:
    return page.locator(f'[data-photo="{photo["id"]}"] .tile')


def shown(page: Page) -> Locator:
    """The picture in the viewer."""
    return page.locator("dialog.viewer[open] .viewer-stage img")


def expect_shown(page: Page, photo: dict[str, Any]) -> None:
    expect(shown(page)).to_have_attribute("src", re.compile(f"{photo['id']}/"))
    expect(page).to_have_url(re.compile(f"#{photo['id']}$"))


def touch(page: Page, *moments: list[tuple[float, float]], times: int = 1) -> None:
    """Fingers, from where they touch over where they move to being lifted; several times in quick succession by their
    time stamps, however busy this machine is."""
    session = page.context.new_cdp_session(page)
    kinds = ["touchStart"] + ["touchMove"] * (len(moments) - 1) + ["touchEnd"]
    stamps = itertools.count(time.time(), 0.02)
    for kind, fingers, stamp in zip(kinds * times, (*moments, []) * times, stamps, strict=False):
        points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(fingers)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points, "timestamp": stamp})


def swipe(page: Page, to_left: bool) -> None:
    xs = range(300, 60, -40) if to_left else range(60, 300, 40)
    touch(page, *([(float(x), 400.0)] for x in xs))


def scale(page: Page) -> float:
    transform = shown(page).evaluate("image => new DOMMatrix(getComputedStyle(image).transform).a")
    return float(transform)


# Tiles ----------------------------------------------------------------------------------------------------------------


def test_a_photo_taken_on_the_first_page_appears_and_can_be_shown(anna: Visitor, library: Library) -> None:
    photos, home = open_photos(anna), anna.go("/")
    first = photos.locator(".tile").first.get_attribute("href")
    with home.expect_response(lambda answer: answer.request.method == "POST") as answered:
        home.get_by_label("Take a photo").tap()
    photo = answered.value.json()
    home.get_by_role("button", name="Show").tap()
    expect_shown(home, photo)
    photos.bring_to_front()
    expect(photos.locator(".tile").first).not_to_have_attribute("href", first or "")
    expect(photos.locator(".tile").first).to_have_attribute("href", f"#{photo['id']}")


def test_a_photo_appears_on_top_while_one_looks_and_goes_when_it_is_removed(anna: Visitor, library: Library) -> None:
    page = open_photos(anna)
    photo = library.take(label="new here")
    expect(page.locator(".tile").first).to_have_attribute("href", f"#{photo['id']}")
    expect(page.get_by_role("heading", name="Today")).to_be_visible()
    expect(page.locator("#announcements")).to_have_text("New photo of Front")
    library.call("PATCH", f"/photos/{photo['id']}", {"pinned": True, "label": "other"})
    expect(tile(page, photo)).to_have_accessible_name(re.compile("^Front, .*, other, pinned$"))
    library.call("DELETE", f"/photos/{photo['id']}")
    expect(tile(page, photo)).to_have_count(0)


def test_further_pages_come_as_one_scrolls_and_no_photo_comes_twice(anna: Visitor, library: Library) -> None:
    page = open_photos(anna)
    expect(page.locator(".tile")).to_have_count(PAGE)
    page.mouse.wheel(0, 20_000)
    _, everything = library.call("GET", "/photos?limit=200")
    expect(page.locator(".tile")).to_have_count(len(everything["items"]))
    found = page.locator(".tile").evaluate_all("tiles => tiles.map((tile) => tile.hash.slice(1))")
    assert found == [photo["id"] for photo in everything["items"]]
    expect(page.locator("#more")).to_be_hidden()


def test_more_is_a_button_too(anna: Visitor, library: Library) -> None:
    page = anna.context.new_page()
    page.add_init_script("window.IntersectionObserver = class { observe() {} unobserve() {} }")
    page.goto("/photos")
    page.get_by_role("button", name="More").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".tile").nth(PAGE)).to_be_attached()


def test_thumbnails_are_small_fetched_in_sight_alone_and_move_nothing(anna: Visitor, library: Library) -> None:
    page = anna.context.new_page()
    page.route("**/thumbnail*", lambda route: route.abort())
    with page.expect_request("**/thumbnail*"):
        page.goto("/photos")
    expect(page.locator(".tile").first).to_be_visible()
    boxes = page.locator(".tile").evaluate_all("tiles => tiles.map((tile) => tile.offsetHeight)")
    assert len(set(boxes)) == 1 and boxes[0] > 44
    asked = [request.url for request in anna.requests if "/thumbnail" in request.url]
    assert asked and all(url.endswith("?width=320") for url in asked)
    assert page.locator(".tile img[loading=lazy]").count() == len(boxes)
    assert page.evaluate("document.documentElement.scrollWidth") == 360


# Filter ---------------------------------------------------------------------------------------------------------------


def test_a_filter_is_in_the_address_and_outlives_a_reload(anna: Visitor, library: Library) -> None:
    wanted, other = library.take("back", label="tomatoes"), library.take("back", label="beans")
    page = open_photos(anna)
    page.locator(".filter summary").tap()
    page.get_by_label("Camera").select_option("Back")
    page.locator("#filter [name=label]").fill("tomatoes")
    page.keyboard.press("Enter")
    expect(tile(page, wanted)).to_be_visible()
    expect(page.locator(".tile")).to_have_count(1)
    page.reload()
    expect(page.locator("#filter-words")).to_have_text("Back, “tomatoes”")
    expect(tile(page, wanted)).to_be_visible()
    expect(tile(page, other)).to_have_count(0)
    late = library.take("back", label="tomatoes")
    expect(tile(page, late)).to_be_visible()
    assert page.get_by_role("link", name="Download these").get_attribute("href") == (
        "/api/v1/photos.tar?camera=back&label=tomatoes"
    )
    with page.expect_download() as begun:
        page.get_by_role("link", name="Download these").tap()
    assert begun.value.suggested_filename == "photos.tar"
    assert Path(begun.value.path()).stat().st_size > late["size_bytes"] + wanted["size_bytes"]


def test_days_are_those_of_the_user(anna: Visitor, visit: Callable[..., Visitor], library: Library) -> None:
    photo = library.take()
    far = visit(**DESKTOP, timezone_id="Pacific/Kiritimati")
    page = open_photos(far)
    expect(tile(page, photo)).to_be_visible()
    day = page.evaluate("at => new Date(at).toLocaleDateString('sv')", photo["captured_at"])
    page = open_photos(far, f"/photos?from={day}&to={day}")
    expect(tile(page, photo)).to_be_visible()
    page = open_photos(far, "/photos?from=2001-02-03&to=2001-02-03")
    expect(page.locator("#nothing")).to_contain_text("No photo fits.")
    page.get_by_role("button", name="Show all").last.click()
    expect(tile(page, photo)).to_be_visible()
    expect(page).to_have_url(f"{far.origin}/photos")


# One photo ------------------------------------------------------------------------------------------------------------


def test_a_tap_opens_a_photo_swipes_lead_to_its_neighbours_and_back_closes_it(anna: Visitor, library: Library) -> None:
    oldest, middle, newest = (library.take() for _ in range(3))
    page = open_photos(anna)
    tile(page, middle).tap()
    expect_shown(page, middle)
    swipe(page, to_left=True)
    expect_shown(page, oldest)
    swipe(page, to_left=False)
    expect_shown(page, middle)
    page.keyboard.press("ArrowLeft")
    expect_shown(page, newest)
    expect(page.get_by_role("button", name="Newer photo")).to_be_hidden()
    page.go_back()
    expect(page.locator("dialog.viewer")).to_be_hidden()
    expect(page).to_have_url(f"{anna.origin}/photos")
    expect(tile(page, newest)).to_be_focused()


def test_a_swipe_past_the_last_one_known_fetches_the_next_page(anna: Visitor, library: Library) -> None:
    _, everything = library.call("GET", "/photos?limit=200")
    last, following = everything["items"][PAGE - 1 : PAGE + 1]
    page = anna.context.new_page()
    page.add_init_script("window.IntersectionObserver = class { observe() {} unobserve() {} }")
    page.goto("/photos")
    expect(page.locator(".tile")).to_have_count(PAGE)
    tile(page, last).tap()
    expect_shown(page, last)
    swipe(page, to_left=True)
    expect_shown(page, following)


def test_the_address_of_a_photo_opens_it_however_old_and_back_leaves_the_tiles(anna: Visitor, library: Library) -> None:
    _, everything = library.call("GET", "/photos?limit=200")
    oldest, before = everything["items"][-1], everything["items"][-2]
    page = open_photos(anna, f"/photos#{oldest['id']}")
    expect_shown(page, oldest)
    expect(page.get_by_role("button", name="Older photo")).to_be_hidden()
    page.get_by_role("button", name="Newer photo").tap()
    expect_shown(page, before)
    page.reload()
    expect_shown(page, before)
    page.get_by_role("button", name="Close").first.tap()
    expect(page.locator("dialog.viewer")).to_be_hidden()
    expect(page).to_have_url(f"{anna.origin}/photos")


def test_a_photo_that_is_looked_at_closely_while_the_page_is_still_fetched_stays_so(
    anna: Visitor, library: Library
) -> None:
    photo = library.take()
    page = anna.context.new_page()
    held: list[Route] = []
    page.route("**/api/v1/cameras?*", lambda route: held.append(route))  # for the filter
    page.goto("/photos")
    tile(page, photo).tap()
    page.get_by_role("button", name="Larger").tap()
    assert scale(page) == 1.5
    with page.expect_response("**/api/v1/cameras?*"):
        held[0].continue_()
    expect(page.locator("#loading")).to_be_hidden()
    assert scale(page) == 1.5


def test_the_address_of_no_photo_says_so(anna: Visitor) -> None:
    page = open_photos(anna, "/photos#0123456789abcdef")
    expect(page.locator(".toast-danger")).to_contain_text("There is no photo")
    expect(page).to_have_url(f"{anna.origin}/photos")
    expect(page.locator("dialog.viewer")).to_be_hidden()


def test_two_fingers_a_double_tap_and_buttons_enlarge_it(anna: Visitor, library: Library) -> None:
    photo = library.take()
    page = open_photos(anna, f"/photos#{photo['id']}")
    expect_shown(page, photo)
    apart = [[(180.0 - gap, 400.0), (180.0 + gap, 400.0)] for gap in (30, 45, 60, 75, 90)]
    touch(page, *apart)
    assert 2.5 < scale(page) < 3.5
    swipe(page, to_left=True)
    expect_shown(page, photo)
    touch(page, [(180.0, 400.0)], times=2)
    assert scale(page) == 1
    touch(page, [(180.0, 400.0)], times=2)
    assert scale(page) == 2.5
    page.get_by_role("button", name="Larger").tap()
    assert scale(page) > 2.5
    for _ in range(4):
        page.keyboard.press("-")
    assert scale(page) == 1
    expect(page.get_by_role("button", name="Smaller")).to_be_disabled()


def test_the_wheel_enlarges_what_is_under_it_and_dragging_moves_it_no_farther_than_its_edge(
    visit: Callable[..., Visitor], library: Library
) -> None:
    photo = library.take(width=640)
    page = open_photos(visit(**DESKTOP), f"/photos#{photo['id']}")
    expect_shown(page, photo)
    expect(page.get_by_label("About this photo").last).to_contain_text("640 × 480 pixels")
    page.mouse.move(400, 400)
    page.mouse.wheel(0, -500)
    page.wait_for_function("() => document.querySelector('.viewer-stage').dataset.zoomed === 'true'")
    page.mouse.down()
    page.mouse.move(3000, 400, steps=4)
    page.mouse.up()
    expect_shown(page, photo)
    left = shown(page).evaluate("image => image.getBoundingClientRect().left")
    assert left <= 0.5 or scale(page) * page.locator(".viewer-stage").evaluate("s => s.clientHeight") * 4 / 3 < 1280


def test_a_large_photo_is_fetched_whole_only_when_it_is_enlarged(anna: Visitor, library: Library) -> None:
    status, photo = library.call("POST", "/cameras/front/photos", {"width": 1920, "height": 1080})
    assert status == 201
    page = open_photos(anna, f"/photos#{photo['id']}")
    expect(shown(page)).to_have_attribute("src", f"{photo['links']['thumbnail']}?width=1280")
    page.get_by_role("button", name="Larger").tap()
    expect(shown(page)).to_have_attribute("src", photo["links"]["file"])


def test_what_is_known_of_a_photo_is_told_in_words(anna: Visitor, library: Library) -> None:
    photo = library.take(controls={"exposure_s": 0.01, "gain": 2.0})
    page = open_photos(anna, f"/photos#{photo['id']}")
    page.get_by_role("button", name="About this photo").tap()
    facts = page.locator(".viewer-facts")
    for words in (
        "Front (simulated)",
        "64 × 64 pixels",
        "1/100 s",
        "2 ×, as there was some shade",
        "until room is needed",
    ):
        expect(facts).to_contain_text(words)
    with page.expect_download() as begun:
        page.get_by_role("link", name="Download").last.tap()
    assert begun.value.suggested_filename.endswith(f"{photo['id']}.jpg")
    assert Path(begun.value.path()).stat().st_size == photo["size_bytes"]


def test_a_label_and_a_pin_are_kept(anna: Visitor, library: Library) -> None:
    photo = library.take()
    page = open_photos(anna, f"/photos#{photo['id']}")
    page.get_by_role("button", name="Label").tap()
    page.get_by_role("combobox", name="Label").fill("first frost")
    page.keyboard.press("Enter")
    expect(page.locator(".facts")).to_contain_text("first frost")
    page.get_by_role("button", name="Pin").tap()
    expect(page.get_by_role("button", name="Pin")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_text("Pinned: it is never removed to make room")).to_be_visible()
    kept = library.get(photo["id"])[1]
    assert (kept["label"], kept["pinned"]) == ("first frost", True)
    page.get_by_role("button", name="Pin").tap()
    expect(page.get_by_role("button", name="Pin")).to_have_attribute("aria-pressed", "false")
    assert library.get(photo["id"])[1]["pinned"] is False


def test_what_somebody_else_has_changed_meanwhile_is_not_written_over(anna: Visitor, library: Library) -> None:
    photo = library.take()
    page = open_photos(anna)
    with page.expect_response(re.compile(f"/photos/{photo['id']}$")):
        tile(page, photo).tap()
    page.get_by_role("button", name="Label").tap()
    page.get_by_role("combobox", name="Label").fill("mine")
    page.route("**/photos/*", lambda route: _change_first(route, library, photo))
    page.keyboard.press("Enter")
    expect(page.locator(".toast-danger")).to_contain_text("It has changed since you last saw it")
    expect(page.locator(".facts")).to_contain_text("theirs")
    assert library.get(photo["id"])[1]["label"] == "theirs"


def _change_first(route: Any, library: Library, photo: dict[str, Any]) -> None:
    """Somebody is faster."""
    if route.request.method == "PATCH":
        assert library.call("PATCH", f"/photos/{photo['id']}", {"label": "theirs"})[0] == 200
    route.continue_()


# Delete ---------------------------------------------------------------------------------------------------------------


def deletions(visitor: Visitor) -> list[str]:
    return [request.url for request in visitor.requests if request.method == "DELETE"]


def is_deletion(photo: dict[str, Any]) -> Callable[[Response], bool]:
    """Whether an answer is that to its deletion."""
    return lambda answer: answer.request.method == "DELETE" and answer.url.endswith(f"/photos/{photo['id']}")


def test_undo_brings_a_deleted_photo_back_and_nothing_was_asked_for(anna: Visitor, library: Library) -> None:
    older, photo = library.take(), library.take()
    page = open_photos(anna)
    tile(page, photo).tap()
    page.get_by_role("button", name="Delete").tap()
    expect_shown(page, older)
    expect(tile(page, photo)).to_have_count(0)
    page.get_by_role("button", name="Undo").tap()
    page.go_back()
    expect(tile(page, photo)).to_be_visible()
    assert deletions(anna) == []


def test_photos_are_deleted_when_the_time_for_undo_is_over(anna: Visitor, library: Library) -> None:
    first, second = library.take(), library.take()
    page = anna.context.new_page()
    page.clock.install()
    page.goto(f"/photos#{second['id']}")
    expect_shown(page, second)
    page.get_by_role("button", name="Delete").tap()
    expect_shown(page, first)
    page.get_by_role("button", name="Delete").tap()
    expect(page.get_by_text("2 photos deleted")).to_be_visible()
    assert library.get(first["id"])[0] == library.get(second["id"])[0] == 200
    with page.expect_response(is_deletion(first)) as one, page.expect_response(is_deletion(second)) as other:
        page.clock.fast_forward(10_000)
    assert one.value.status == other.value.status == 204
    assert library.get(first["id"])[0] == library.get(second["id"])[0] == 404
    page.go_back()
    expect(tile(page, first)).to_have_count(0)


def test_a_deleted_photo_goes_when_the_page_is_left(anna: Visitor, library: Library) -> None:
    photo = library.take()
    page = open_photos(anna, f"/photos#{photo['id']}")
    expect_shown(page, photo)
    page.get_by_role("button", name="Delete").tap()
    expect(page.get_by_text("1 photo deleted")).to_be_visible()
    page.goto("/offline")
    eventually(lambda: library.get(photo["id"])[0] == 404)


def test_a_photo_that_could_not_be_deleted_comes_back_with_the_reason(anna: Visitor, library: Library) -> None:
    photo = library.take()
    page = anna.context.new_page()
    page.clock.install()
    page.goto("/photos")
    expect(page.locator("html")).to_have_attribute("data-connection", "live")
    tile(page, photo).tap()
    expect_shown(page, photo)
    page.get_by_role("button", name="Delete").tap()
    expect(tile(page, photo)).to_have_count(0)
    library.call("PATCH", f"/photos/{photo['id']}", {"pinned": True})
    page.clock.fast_forward(10_000)
    expect(page.locator(".toast-danger")).to_have_text(re.compile("^Not deleted: It has changed"))
    page.go_back()
    expect(tile(page, photo)).to_have_accessible_name(re.compile("pinned$"))
    assert library.get(photo["id"])[0] == 200


def test_a_photo_goes_only_as_it_was_seen_also_when_it_is_deleted_at_once(anna: Visitor, library: Library) -> None:
    photo = library.take()
    page = anna.context.new_page()
    page.clock.install()
    page.goto("/photos")
    asked: list[Route] = []
    page.route(f"**/photos/{photo['id']}", lambda route: route.continue_() if asked else asked.append(route))
    tile(page, photo).tap()
    page.get_by_role("button", name="Delete").tap()
    expect(tile(page, photo)).to_have_count(0)
    assert len(asked) == 1  # what the viewer asks for when it opens has not come yet
    library.call("PATCH", f"/photos/{photo['id']}", {"pinned": True})
    page.clock.fast_forward(10_000)
    expect(page.locator(".toast-danger")).to_have_text(re.compile("^Not deleted: It has changed"))
    assert library.get(photo["id"])[0] == 200


def test_a_photo_that_somebody_else_deletes_is_no_longer_shown(anna: Visitor, library: Library) -> None:
    photo = library.take()
    page = open_photos(anna, f"/photos#{photo['id']}")
    expect_shown(page, photo)
    library.call("DELETE", f"/photos/{photo['id']}")
    expect(page.get_by_text("This photo has been deleted")).to_be_visible()
    expect(page.locator("dialog.viewer")).to_be_hidden()
    expect(tile(page, photo)).to_have_count(0)


# Who may, and when ----------------------------------------------------------------------------------------------------


def test_a_guest_sees_the_photos_of_a_camera_and_nothing_to_change_them(
    visit: Callable[..., Visitor], library: Library
) -> None:
    photo, hidden = library.take(), library.take("back")
    page = open_photos(visit("guest"))
    expect(tile(page, hidden)).to_have_count(0)
    tile(page, photo).tap()
    expect_shown(page, photo)
    expect(page.get_by_role("link", name="Download").last).to_be_visible()
    for name in ("Label", "Pin", "Delete"):
        expect(page.get_by_role("button", name=name)).to_be_hidden()
    page.go_back()
    late = library.take()
    expect(tile(page, late)).to_be_visible()


def test_without_a_connection_nothing_can_be_changed_until_it_is_back(
    visit: Callable[..., Visitor], network: Network, library: Library
) -> None:
    photo = library.take()
    page = open_photos(visit(at=network), f"/photos#{photo['id']}")
    expect_shown(page, photo)
    network.cut()
    expect(page.locator("dialog.viewer #lost")).to_be_visible()
    for name in ("Label", "Pin", "Delete"):
        expect(page.get_by_role("button", name=name)).to_be_disabled()
    page.go_back()
    expect(page.locator("main ~ * #lost, #lost")).to_be_visible()
    expect(tile(page, photo)).to_be_visible()
    expect(page.get_by_label("Camera")).to_be_disabled()
    network.mend()
    missed = library.take()
    expect(tile(page, missed)).to_be_visible()
    expect(page.locator("#lost")).to_be_hidden()
    tile(page, missed).tap()
    expect(page.get_by_role("button", name="Delete")).to_be_enabled()
