"""Nobody is kept out: what axe-core finds on every page, and in what opens on one, light and dark."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser import PHONE, Visitor, add_user
from tests.network import Network
from tests.service import Service, eventually, running

CONFIG = """
[cameras.front]
backend = "simulated"
width = 640
height = 360

[gpio]
backend = "simulated"

[pins.lamp]
gpio = "GPIO17"

[doors.garage]
relay = { gpio = "GPIO23" }
closed_sensor = { gpio = "GPIO24" }
travel_s = 1
camera = "front"
"""


class Things:
    """What is in the house, by its address."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.token = service.token()
        self.make("/cameras/front/photos", {})
        self.lapse = self.make("/cameras/front/timelapses", {"interval_s": 0.1, "count": 3, "name": "Beans"})["id"]
        self.running = self.make("/cameras/front/timelapses", {"interval_s": 5, "count": 1000})["id"]
        eventually(lambda: self.get(f"/timelapses/{self.lapse}")["state"] == "finished")

    def get(self, path: str) -> dict[str, str]:
        return dict(json.loads(self.service.call("GET", f"/api/v1{path}", self.token)[2]))

    def make(self, path: str, body: dict[str, object]) -> dict[str, str]:
        status, _, answer = self.service.call("POST", f"/api/v1{path}", self.token, body)
        assert status in (201, 202), answer
        return dict(json.loads(answer))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("accessibility"), CONFIG) as service:
        add_user(service)
        yield service


@pytest.fixture(scope="module")
def things(service: Service) -> Things:
    return Things(service)


@pytest.fixture(params=["light", "dark"])
def anyone(visit: Callable[..., Visitor], network: Network, request: pytest.FixtureRequest) -> Visitor:
    """An admin with a phone, in both looks."""
    return visit(at=network, **PHONE, color_scheme=request.param)


def go(visitor: Visitor, path: str) -> Page:
    page = visitor.go(path)
    if page.locator("nav").count():
        expect(page.locator("html")).to_have_attribute("data-connection", "live")
    return page


def assert_nobody_is_kept_out(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize(
    "path", ["/", "/photos", "/timelapses", "/history", "/system", "/login", "/pair", "/offline", "/problems/locked"]
)
def test_nobody_is_kept_out_of_a_page(anyone: Visitor, things: Things, path: str) -> None:
    assert_nobody_is_kept_out(go(anyone, path))


@pytest.mark.parametrize("which", ["lapse", "running"])
def test_nobody_is_kept_out_of_the_page_of_a_time_lapse(anyone: Visitor, things: Things, which: str) -> None:
    page = go(anyone, f"/timelapses/{getattr(things, which)}")
    expect(page.locator("#timelapse")).to_have_attribute("data-look", "now")
    expect(page.locator("#film")).to_be_visible()
    for summary in page.locator("summary:visible").all():
        summary.tap()
    expect(page.locator("#ticks-rows")).to_contain_text("captured")
    assert_nobody_is_kept_out(page)


def test_nobody_is_kept_out_of_the_form_for_a_time_lapse_and_of_its_faults(anyone: Visitor, things: Things) -> None:
    page = go(anyone, "/timelapses")
    page.get_by_role("button", name="New time-lapse").tap()
    page.locator(".form-more summary").tap()
    expect(page.locator("#estimate")).to_have_attribute("data-look", "now")
    assert_nobody_is_kept_out(page)
    page.get_by_label("At what time of day").select_option("by the sun")
    expect(page.locator("#no-place")).to_be_visible()
    page.get_by_label("A frame every").fill("0.01")
    expect(page.get_by_label("A frame every")).to_have_attribute("aria-invalid", "true")
    assert_nobody_is_kept_out(page)


@pytest.mark.parametrize("path", ["/", "/photos", "/timelapses", "/timelapses/{running}", "/history", "/system"])
def test_nobody_is_kept_out_of_what_is_last_known(anyone: Visitor, network: Network, things: Things, path: str) -> None:
    page = go(anyone, path.format(running=things.running))
    expect(page.locator("main :is([data-look], .tile, .entry, .row-item):visible").first).to_be_visible()
    network.cut()
    expect(page.locator("#lost")).to_be_visible()
    assert_nobody_is_kept_out(page)


def a_photo(page: Page, things: Things) -> None:
    photo = things.make("/cameras/front/photos", {"label": "first frost"})
    page.locator(f'[data-photo="{photo["id"]}"] .tile').tap()
    page.get_by_role("button", name="About this photo").tap()
    expect(page.locator(".viewer-facts")).to_contain_text("640 × 360 pixels")


def a_label(page: Page, things: Things) -> None:
    a_photo(page, things)
    page.get_by_role("button", name="Label").tap()


def a_deleted_photo(page: Page, things: Things) -> None:
    a_photo(page, things)
    page.get_by_role("button", name="Delete").tap()
    expect(page.get_by_role("button", name="Undo")).to_be_visible()


def a_picture_of_the_journal(page: Page, things: Things) -> None:
    things.make("/cameras/front/photos", {})
    page.get_by_role("button", name=re.compile("^Show large")).first.tap()
    expect(page.get_by_role("dialog").get_by_role("link", name="Download")).to_be_visible()


def a_new_device(page: Page, _: Things) -> None:
    page.get_by_role("button", name="Pair a device").tap()


def a_guests_device(page: Page, things: Things) -> None:
    a_new_device(page, things)
    page.get_by_label("Role").select_option(label="Guest")
    page.get_by_label("Name of the device").fill("guest")
    page.get_by_role("button", name="Make the link").tap()
    expect(page.get_by_role("alert")).to_have_text(re.compile("Scopes must"))


def a_pairing_link(page: Page, things: Things) -> None:
    a_new_device(page, things)
    page.get_by_label("Name of the device").fill("tablet")
    page.get_by_role("button", name="Make the link").tap()
    expect(page.get_by_label("Pairing link")).to_be_visible()


def a_new_person(page: Page, _: Things) -> None:
    page.get_by_role("button", name="Add a person").tap()


def a_new_password(page: Page, _: Things) -> None:
    page.get_by_role("button", name="New password").first.tap()


def a_person_to_be_removed(page: Page, _: Things) -> None:
    page.get_by_role("button", name=re.compile("^Remove")).first.tap()


def a_key_to_be_revoked(page: Page, _: Things) -> None:
    page.get_by_role("button", name=re.compile("^Revoke")).first.tap()


def a_logout(page: Page, _: Things) -> None:
    page.get_by_role("button", name="Log out everywhere").tap()


def a_time_lapse_to_be_cancelled(page: Page, _: Things) -> None:
    page.get_by_role("button", name="Cancel", exact=True).tap()


def a_time_lapse_to_be_deleted(page: Page, _: Things) -> None:
    page.get_by_role("button", name="Delete").tap()


def another_end(page: Page, _: Things) -> None:
    page.get_by_role("button", name="Change the end").tap()
    page.get_by_label("Frames in all").fill("0")
    page.get_by_role("button", name="Set the end").tap()
    expect(page.get_by_label("Frames in all")).to_have_attribute("aria-invalid", "true")


def another_name(page: Page, _: Things) -> None:
    page.get_by_role("button", name="Rename").tap()


def a_door_that_assistive_technology_opens(page: Page, _: Things) -> None:
    button = page.locator('[data-door="garage"]').get_by_role("button", name="Open")
    expect(button).to_be_enabled()
    button.evaluate("button => button.click()")


OPENED = [
    ("/photos", a_photo),
    ("/photos", a_label),
    ("/photos", a_deleted_photo),
    ("/history", a_picture_of_the_journal),
    ("/system", a_new_device),
    ("/system", a_guests_device),
    ("/system", a_pairing_link),
    ("/system", a_new_person),
    ("/system", a_new_password),
    ("/system", a_person_to_be_removed),
    ("/system", a_key_to_be_revoked),
    ("/system", a_logout),
    ("/timelapses/{running}", a_time_lapse_to_be_cancelled),
    ("/timelapses/{running}", a_time_lapse_to_be_deleted),
    ("/timelapses/{running}", another_end),
    ("/timelapses/{running}", another_name),
    ("/", a_door_that_assistive_technology_opens),
]


@pytest.mark.parametrize(("path", "opened"), OPENED, ids=[opened.__name__ for _, opened in OPENED])
def test_nobody_is_kept_out_of_what_opens(
    anyone: Visitor, things: Things, path: str, opened: Callable[[Page, Things], None]
) -> None:
    page = go(anyone, path.format(running=things.running))
    opened(page, things)
    expect(page.locator("dialog[open]").last).to_be_visible()
    assert_nobody_is_kept_out(page)
