"""The system page: how the machine is, who has a key to it, letting a device in and putting it out."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import segno
from playwright.sync_api import Browser, Locator, Page, Route, expect

from tests.browser import NAME, PASSWORD, Questions, Visitor, add_user, entry, note_texts
from tests.service import Service, running

CONFIG = """
[server]
names = ["pi.localhost"]

[gpio]
backend = "simulated"

[cameras.yard]
backend = "simulated"
width = 640
height = 360

[cameras.attic]
backend = "av"
source = "/nowhere/film.mp4"

[pins.lamp]
gpio = "GPIO17"

[doors.garage]
relay = { gpio = "GPIO23" }
closed_sensor = { gpio = "GPIO24", pull = "up", active_low = true }
open_sensor = { gpio = "GPIO25", pull = "up", active_low = true }

[doors.shed]
relay = { gpio = "GPIO5" }
closed_sensor = { gpio = "GPIO6", pull = "up", active_low = true }
"""

NAMED = "pi.localhost"
"""A name of this machine in a network, as far as piapi and the page can know; browsers find it here (RFC 6761)."""

PAGES = ("/", "/photos", "/timelapses", "/history", "/system")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("system"), CONFIG) as service:
        add_user(service)
        yield service


@pytest.fixture
def phone(visit: Callable[..., Visitor]) -> Visitor:
    """A browser that nobody is logged in with."""
    return visit(None)


def device(page: Page, name: str) -> Locator:
    return page.locator("#devices-rows .row-item").filter(has_text=name)


def make_link(page: Page, name: str, role: str = "Viewer", *rights: str) -> str:
    """Make a pairing link on the system page; gives it. Its dialog stays open."""
    page.get_by_role("button", name="Pair a device").tap()
    form = page.get_by_role("dialog")
    form.get_by_label("Name of the device").fill(name)
    form.get_by_label("Role").select_option(label=role)
    for right in rights:
        thing, verb = right.split(": ")
        form.get_by_role("group", name=thing).get_by_label(verb).check()
    form.get_by_role("button", name="Make the link").tap()
    link = page.get_by_label("Pairing link")
    expect(link).to_be_visible()
    return link.input_value()


def redeem(phone: Visitor, link: str) -> Page:
    page = phone.context.new_page()
    page.goto(link)
    page.get_by_role("button", name="Pair").tap()
    return page


def test_a_device_is_paired_by_its_link_and_put_out_again(anna: Visitor, phone: Visitor) -> None:
    page = anna.go("/system")
    link = make_link(page, "Bob's phone")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text(re.compile(r"Good once, for [45]:\d\d more"))).to_be_visible()
    assert re.fullmatch(rf"{anna.origin}/pair#[A-Z2-7]{{32}}", link)

    there = phone.context.new_page()
    there.goto(link)
    expect(there).to_have_url(f"{anna.origin}/pair")  # without the code, as in the history of the browser
    there.get_by_role("button", name="Pair").tap()
    expect(there).to_have_url(f"{anna.origin}/")
    expect(there.locator('[data-door="garage"]')).to_be_visible()

    expect(dialog.get_by_text("Bob's phone is paired.")).to_be_visible()
    dialog.get_by_role("button", name="Done").tap()
    expect(device(page, "Bob's phone")).to_contain_text("Viewer: sees everything")
    expect(device(page, "Bob's phone")).to_contain_text("until it is revoked")

    device(page, "Bob's phone").get_by_role("button", name="Revoke").tap()
    page.get_by_role("dialog").get_by_role("button", name="Back").tap()
    expect(device(page, "Bob's phone")).to_be_visible()
    device(page, "Bob's phone").get_by_role("button", name="Revoke").tap()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").tap()
    expect(device(page, "Bob's phone")).to_have_count(0)
    expect(there).to_have_url(re.compile("/login"), timeout=15_000)


def code_in(page: Page) -> Locator:
    return page.get_by_role("dialog").get_by_alt_text("QR code of the pairing link")


def test_the_link_and_its_qr_code_have_the_name_by_which_the_page_was_opened(phone: Visitor, service: Service) -> None:
    origin = f"http://{NAMED}:{service.port}"
    page = phone.go(f"{origin}/login?next=/system")
    page.get_by_label("Name").fill(NAME)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").tap()
    link = make_link(page, "tablet")
    assert re.fullmatch(rf"{origin}/pair#[A-Z2-7]{{32}}", link)
    code = code_in(page)
    assert code.get_attribute("src") == segno.make(link).svg_data_uri(scale=4)
    assert code.evaluate("picture => picture.decode().then(() => picture.naturalWidth)") > 100


def test_where_no_phone_gets_to_piapi_there_is_no_code_and_the_page_says_why(anna: Visitor) -> None:
    page = anna.go("/system")
    link = make_link(page, "tablet")
    dialog = page.get_by_role("dialog")
    expect(code_in(page)).to_have_count(0)
    expect(dialog).to_contain_text("No other device gets to this link: piapi listens on this machine alone.")
    expect(dialog).to_contain_text('set host = "0.0.0.0" under [server] in piapi.toml')
    assert link.startswith(anna.origin)


def test_a_page_opened_at_localhost_shows_the_address_that_phones_get_to(anna: Visitor) -> None:
    def answer(route: Route) -> None:
        response = route.fetch()
        made = response.json()
        found = f"http://198.51.100.4:8000/pair#{made['code']}"
        route.fulfill(response=response, json={**made, "link": found, "qr": segno.make(found).svg_data_uri(scale=4)})

    anna.context.route("**/api/v1/pairings", answer)
    page = anna.go("/system")
    assert make_link(page, "tablet").startswith("http://198.51.100.4:8000/pair#")
    expect(code_in(page)).to_be_visible()
    expect(page.get_by_role("dialog")).not_to_contain_text("No other device")


def test_a_code_is_good_once(anna: Visitor, phone: Visitor, browser: Browser, service: Service) -> None:
    link = make_link(anna.go("/system"), "first")
    expect(redeem(phone, link)).to_have_url(f"{anna.origin}/")
    second = Visitor(browser, service)
    page = redeem(second, link)
    expect(page.get_by_role("alert")).to_contain_text("has been used")
    expect(page).to_have_url(f"{anna.origin}/pair")
    second.close()


def test_a_link_that_waits_can_be_withdrawn(anna: Visitor, phone: Visitor) -> None:
    page = anna.go("/system")
    link = make_link(page, "nobody's tablet")
    page.get_by_role("dialog").get_by_role("button", name="Done").tap()
    expect(device(page, "nobody's tablet")).to_contain_text("Its link waits for")
    device(page, "nobody's tablet").get_by_role("button", name="Withdraw").tap()
    expect(device(page, "nobody's tablet")).to_have_count(0)
    there = redeem(phone, link)
    expect(there.get_by_role("alert")).to_contain_text("This code is wrong")


def test_a_guest_sees_one_door_and_nothing_of_the_house(anna: Visitor, phone: Visitor) -> None:
    page = anna.go("/system")
    make = make_link(page, "guest", "Guest", "Garage (door): Open")  # who may open it may see it
    there = redeem(phone, make)
    garage = there.locator('[data-door="garage"]')
    expect(garage.get_by_role("button", name="Open")).to_be_visible()
    expect(garage.get_by_role("button", name="Close")).to_be_hidden()
    expect(there.locator("[data-door]")).to_have_count(1)
    expect(there.locator("[data-pin]")).to_have_count(0)
    expect(there.locator("#cameras")).to_be_hidden()

    there.goto("/system")
    expect(there.locator("#session")).to_contain_text("paired as guest")
    expect(there.locator("#session")).to_contain_text("Garage: see, open")
    expect(there.locator("#parts-rows .row-item")).to_have_count(1)
    for hidden in ("#machine", "#devices", "#people"):
        expect(there.locator(hidden)).to_be_hidden()
    expect(there.locator("body")).not_to_contain_text("Shed")
    asked = [request.url for request in phone.requests]
    assert not [url for url in asked if re.search(r"/api/v1/(tokens|users|system|pairings)", url)]

    there.goto("/history")
    expect(there.locator(".entry").first).to_contain_text("Garage")
    expect(there.locator(".entry").filter(has_not_text="Garage")).to_have_count(0)
    expect(there.get_by_label("Show", exact=True).locator("optgroup")).to_have_count(1)
    expect(there.locator(".toast-danger")).to_have_count(0)


def test_a_guest_key_without_anything_chosen_is_not_made(anna: Visitor) -> None:
    page = anna.go("/system")
    page.get_by_role("button", name="Pair a device").tap()
    form = page.get_by_role("dialog")
    form.get_by_label("Name of the device").fill("nothing")
    form.get_by_label("Role").select_option(label="Guest")
    form.get_by_role("button", name="Make the link").tap()
    expect(form.get_by_role("alert")).to_have_text("Scopes must have 1 to 50 scopes")


def test_a_paired_device_is_marked_where_it_looks_at_the_list(anna: Visitor, phone: Visitor) -> None:
    page = anna.go("/system")
    link = make_link(page, "Carl's phone", "Admin")
    there = redeem(phone, link)
    expect(there).to_have_url(f"{anna.origin}/")
    there.goto("/system")
    own = there.locator("#devices .own")
    expect(own).to_have_count(1)
    expect(device(there, "Carl's phone")).to_contain_text("this device")
    page.get_by_role("dialog").get_by_role("button", name="Done").tap()
    expect(device(page, "Carl's phone")).to_be_visible()
    expect(page.locator("#devices .own")).to_have_count(0)
    device(there, "Carl's phone").get_by_role("button", name="Revoke").tap()
    expect(there.get_by_role("dialog")).to_contain_text("you are logged out here")
    there.get_by_role("dialog").get_by_role("button", name="Revoke").tap()
    expect(there).to_have_url(re.compile("/login"), timeout=15_000)


def test_people_are_added_get_another_password_and_are_removed(anna: Visitor, phone: Visitor) -> None:
    page = anna.go("/system")
    page.get_by_role("button", name="Add a person").tap()
    form = page.get_by_role("dialog")
    form.get_by_label("Name").fill("not a name!")
    form.get_by_label(re.compile("Password")).fill("a first password")
    form.get_by_role("button", name="Add").tap()
    expect(form.get_by_role("alert")).to_contain_text("Name is 1 to 40 letters")
    form.get_by_label("Name").fill("dora")
    form.get_by_role("button", name="Add").tap()
    expect(form).to_have_count(0)
    dora = page.locator('[data-person="dora"]')
    expect(dora).to_contain_text("Operator")
    phone.log_in("dora", "a first password")
    there = phone.go("/system")
    expect(there.locator("#session")).to_contain_text("Logged in as dora")
    dora.get_by_role("button", name="New password").tap()
    form.get_by_label(re.compile("Password")).fill("a second password")
    form.get_by_role("button", name="Change").tap()
    expect(page.get_by_text("The password of dora is changed.")).to_be_visible()
    expect(there).to_have_url(re.compile("/login"), timeout=15_000)
    phone.log_in("dora", "a second password")
    dora.get_by_role("button", name="Remove dora").tap()
    page.get_by_role("dialog").get_by_role("button", name="Remove").tap()
    expect(dora).to_have_count(0)
    expect(page.locator(f'[data-person="{NAME}"]')).to_contain_text("you")


def test_a_wrong_password_is_told_and_the_right_one_leads_back(phone: Visitor) -> None:
    page = phone.go("/history?subject=door:garage")
    expect(page).to_have_url(re.compile(r"/login\?next="))
    page.get_by_label("Name").fill(NAME)
    page.get_by_label("Password").fill("wrong horse")
    page.get_by_role("button", name="Log in").tap()
    expect(page.get_by_role("alert")).to_have_text("There is no user with this name and this password.")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").tap()
    expect(page).to_have_url(re.compile(r"/history\?subject=door:garage$"))


def test_logging_out_ends_this_session_alone(anna: Visitor, phone: Visitor) -> None:
    phone.log_in()
    there = phone.go("/system")
    expect(there.locator("#session")).to_contain_text(f"Logged in as {NAME}, until")
    there.get_by_role("button", name="Log out", exact=True).tap()
    expect(there).to_have_url(re.compile("/login"))
    there.goto("/")
    expect(there).to_have_url(re.compile("/login"))
    assert anna.context.request.get("/api/v1/session").status == 200


def test_logging_out_everywhere_ends_all_of_them(anna: Visitor, phone: Visitor) -> None:
    phone.log_in()
    there = phone.go("/")
    expect(there.locator('[data-door="garage"]')).to_be_visible()
    page = anna.go("/system")
    page.get_by_role("button", name="Log out everywhere").tap()
    page.get_by_role("dialog").get_by_role("button", name="Log out").tap()
    expect(page).to_have_url(re.compile("/login"))
    expect(there).to_have_url(re.compile("/login"), timeout=15_000)


def test_the_machine_tells_how_it_is_and_what_helps(anna: Visitor) -> None:
    page = anna.go("/system")
    machine = page.locator("#machine")
    expect(machine).to_contain_text(re.compile(r"Disk.*GB free, the last 500 MB are never used"))
    expect(machine.get_by_role("meter", name="Used part of the disk")).to_be_visible()
    expect(machine).to_contain_text(re.compile(r"Up for .*Some of its hardware is simulated"))
    parts = page.locator("#parts")
    expect(parts).to_contain_text("Yard (camera)")
    attic = parts.locator(".row-item").filter(has_text="Attic (camera)")
    expect(attic).to_contain_text("Does not work: There is no file or folder")
    expect(attic.locator(".state-help")).to_contain_text("the name in piapi.toml")
    expect(parts.locator(".row-item").filter(has_text="Lamp")).to_contain_text("switch, ready · simulated")


SICK = {
    "cpu_temperature_c": 82.4,
    "throttled": {"now": ["under_voltage"], "since_boot": ["under_voltage", "soft_temperature_limit"]},
    "clock_synchronised": True,
}


def test_heat_and_want_of_power_are_told_in_words(anna: Visitor) -> None:
    def answer(route: object) -> None:
        response = route.fetch()  # type: ignore[attr-defined]
        system = {**response.json(), **SICK}
        system["disk"] |= {"low": True, "free_bytes": 1000}
        route.fulfill(response=response, body=json.dumps(system))  # type: ignore[attr-defined]

    anna.context.route("**/api/v1/system", answer)
    page = anna.go("/system")
    machine = page.locator("#machine")
    expect(machine).to_contain_text("82 °C")
    expect(machine).to_contain_text("Now: Too little power. Since it was switched on: Slowed down by heat")
    expect(machine).to_contain_text("Use the power supply made for this Pi")
    expect(machine).to_contain_text("Set by the network")
    expect(machine).to_contain_text("No photo is kept until there is room")


LISTS: dict[str, tuple[str, str, Callable[[dict[str, Any], int], object]]] = {
    "system": ("#machine-rows", "camera.state", lambda found, celsius: found.update(cpu_temperature_c=celsius)),
    "cameras?limit=200": ("#parts-rows", "camera.state", lambda found, n: found["items"][0].update(model=f"{n} °C")),
    "tokens?limit=200": ("#devices-rows", "token.created", lambda found, n: found["items"][0].update(name=f"{n} °C")),
    "users?limit=200": ("#people-rows", "user.changed", lambda found, n: found["items"][0].update(name=f"{n} °C")),
}
"""Where what is asked for is shown, an entry of the journal after which it is asked for, and how to put a number in."""


@pytest.mark.parametrize("path", LISTS)
def test_no_list_is_shown_after_that_to_a_later_question(anna: Visitor, service: Service, path: str) -> None:
    """A key that was revoked must not come back on a slow network."""
    rows, told, put = LISTS[path]
    service.token()
    page = anna.go("/system")
    expect(page.locator("#loading")).to_be_hidden()
    found, shown = anna.json(f"/api/v1/{path}"), note_texts(page.locator(rows))
    questions = Questions(page, path)

    def answer(question: int, number: int) -> None:
        changed = copy.deepcopy(found)
        put(changed, number)
        questions.routes[question].fulfill(json=changed)

    earlier, later = questions.after(entry(told)), questions.after(entry(told))
    answer(later, 31)
    expect(page.locator(rows)).to_contain_text("31 °C")
    answer(earlier, 57)
    answer(questions.after(entry(told)), 33)
    expect(page.locator(rows)).to_contain_text("33 °C")
    assert not [text for text in shown() if "57 °C" in text]


def test_every_page_says_that_the_hardware_is_simulated(anna: Visitor) -> None:
    page = anna.context.new_page()
    for path in PAGES:
        page.goto(path)
        expect(page.get_by_label("Simulated", exact=True)).to_be_visible()


def test_nothing_is_wider_than_a_small_phone(anna: Visitor) -> None:
    page = anna.go("/system")
    expect(page.locator("#people")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.goto("/history")
    expect(page.locator(".entry").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
