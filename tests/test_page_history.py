"""The history: what has happened in plain words, in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser import NAME, Visitor, add_user
from tests.service import ROOT, Service, eventually, running

CONFIG = """
[gpio]
backend = "simulated"

[cameras.yard]
backend = "simulated"
width = 640
height = 360

[pins.lamp]
gpio = "GPIO17"

[doors.garage]
relay = { gpio = "GPIO23" }
closed_sensor = { gpio = "GPIO24", pull = "up", active_low = true }
open_sensor = { gpio = "GPIO25", pull = "up", active_low = true }
travel_s = 2.0
camera = "yard"
"""

TYPE = re.compile(
    r'"((?:actuation|auth|camera|command|door|operation|pairing|photo|pin|render|session|storage|system|timelapse|token'
    r'|user)\.[a-z_]+)"'
)
FILES = (".html", ".tar")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One whose journal tells no more of its start."""
    with running(tmp_path_factory.mktemp("history"), CONFIG) as service:
        add_user(service)
        path, token = "/api/v1/events?type=camera.state", service.token()
        eventually(lambda: b'"ready"' in service.call("GET", path, token)[2])
        yield service


@pytest.fixture(scope="module")
def token(service: Service) -> str:
    return service.token()


def move(service: Service, token: str, target: str) -> None:
    """Have the door there, with its pictures."""

    def is_accepted() -> bool:
        status, _, _ = service.call("PUT", "/api/v1/doors/garage/target", token, {"target": target})
        return status in (200, 202)

    def has_arrived() -> bool:
        door = json.loads(service.call("GET", "/api/v1/doors/garage", token)[2])
        operation = json.loads(service.call("GET", door["links"]["operation"], token)[2])
        if operation["state"] != "succeeded" or "pictures" not in operation["links"]:
            return False
        return len(json.loads(service.call("GET", operation["links"]["pictures"], token)[2])["items"]) == 2

    eventually(is_accepted)
    eventually(has_arrived)


def make_keys(service: Service, token: str, names: list[str]) -> None:
    for name in names:
        assert service.call("POST", "/api/v1/tokens", token, {"name": name, "role": "viewer"})[0] == 201


def entries(page: Page, words: str) -> Locator:
    return page.locator(".entry").filter(has_text=words)


def ids(page: Page) -> list[int]:
    return [int(id) for id in page.locator(".entry").evaluate_all("rows => rows.map(row => row.dataset.entry)")]


def in_page(page: Page, function: str) -> object:
    """What a function gives to which the module of words is given."""
    module = "document.querySelector('meta[name=piapi]').dataset.static + 'journal.js'"
    return page.evaluate(f"async () => ({function})(await import({module}))")


def test_a_door_that_was_opened_stands_there_with_who_did_it_and_pictures_before_and_after(
    anna: Visitor, service: Service, token: str
) -> None:
    if b'"state":"open"' in service.call("GET", "/api/v1/doors/garage", token)[2]:
        move(service, token, "closed")
    page = anna.go("/history")
    move(service, token, "open")
    opened = entries(page, "Garage opened").first
    expect(opened).to_contain_text("by test")
    expect(page.locator("#days h2").first).to_have_text("Today")
    expect(opened.get_by_text("Before", exact=True)).to_be_visible()
    expect(opened.get_by_text("After", exact=True)).to_be_visible()
    for picture in opened.locator("img").all():
        expect(picture).to_have_js_property("naturalWidth", 320)
    opened.get_by_role("button", name="Show large: Garage before").tap()
    large = page.get_by_role("dialog")
    expect(large.locator("img")).to_have_js_property("naturalWidth", 640)
    large.get_by_role("button", name="Close").tap()
    expect(large).to_have_count(0)


def test_the_filter_is_in_the_address_and_shows_one_thing(anna: Visitor, service: Service, token: str) -> None:
    move(service, token, "open")
    page = anna.go("/history")
    login = f"{NAME} logged in"
    expect(entries(page, login).first).to_be_visible()
    page.get_by_label("Show", exact=True).select_option(label="Garage")
    expect(page).to_have_url(re.compile(r"/history\?subject=door%3Agarage$"))
    expect(entries(page, login)).to_have_count(0)
    expect(entries(page, "Garage is open").first).to_be_visible()
    make_keys(service, token, ["not shown"])  # nor what comes meanwhile
    assert service.call("PUT", "/api/v1/doors/garage/lock", token, {"locked": True, "reason": "Paint"})[0] == 200
    expect(entries(page, "Garage was locked: Paint")).to_be_visible()
    assert service.call("PUT", "/api/v1/doors/garage/lock", token, {"locked": False})[0] == 200
    expect(entries(page, "not shown")).to_have_count(0)
    page.reload()
    expect(page.get_by_label("Show", exact=True)).to_have_value("door:garage")
    expect(page.locator(".entry").first).to_contain_text("Garage was unlocked")
    expect(page.locator(".entry").filter(has_not_text="Garage")).to_have_count(0)
    page.go_back()
    expect(entries(page, login).first).to_be_visible()
    expect(page.get_by_label("Show", exact=True)).to_have_value("")


def test_steps_are_shown_to_those_who_want_them(anna: Visitor, service: Service, token: str) -> None:
    move(service, token, "open")
    page = anna.go("/history?subject=door:garage")
    expect(entries(page, "Garage was told to open").first).to_be_visible()
    expect(entries(page, "The opener of Garage was pressed")).to_have_count(0)
    page.get_by_label("Every step").check()
    expect(entries(page, "The opener of Garage was pressed").first).to_be_visible()
    expect(entries(page, "The open sensor of Garage went on").first).to_be_visible()


def test_what_happens_meanwhile_comes_at_the_top(anna: Visitor, service: Service, token: str) -> None:
    page = anna.go("/history")
    expect(page.locator(".entry").first).to_contain_text(f"{NAME} logged in")
    make_keys(service, token, ["attic"])
    expect(page.locator(".entry").first).to_contain_text("A key was made: attic, for a viewer")
    expect(page.locator(".entry").first).to_contain_text("by test")


def test_older_entries_come_as_one_scrolls_none_twice_and_none_left_out(
    anna: Visitor, service: Service, token: str
) -> None:
    names = [f"key-{number:03}-" for number in range(130)]
    make_keys(service, token, names)
    page = anna.go("/history?subject=system:tokens")
    expect(entries(page, names[-1])).to_be_visible()
    assert len(ids(page)) < len(names)
    while not entries(page, names[0]).count():
        before = page.locator(".entry").count()
        page.locator(".entry").last.scroll_into_view_if_needed()
        expect(page.locator(".entry").nth(before)).to_be_attached()
    shown = ids(page)
    assert shown == sorted(set(shown), reverse=True)
    for name in names:
        expect(entries(page, name)).to_have_count(1)
    last = page.locator("#end")
    last.scroll_into_view_if_needed()
    expect(last).to_be_visible()


def test_what_was_missed_while_nobody_was_connected_is_there_afterwards(
    anna: Visitor, service: Service, token: str
) -> None:
    page = anna.go("/history")
    expect(page.locator(".entry").first).to_be_visible()
    anna.context.set_offline(True)
    expect(page.locator("#lost")).to_be_visible()
    make_keys(service, token, ["cellar", "roof"])
    anna.context.set_offline(False)
    expect(page.locator(".entry").nth(0)).to_contain_text("roof")
    expect(page.locator(".entry").nth(1)).to_contain_text("cellar")
    shown = ids(page)
    assert shown == sorted(set(shown), reverse=True)


def types_of_the_journal() -> set[str]:
    sources = [*(ROOT / "piapi" / "services").rglob("*.py"), ROOT / "piapi" / "app.py", ROOT / "piapi/api/auth.py"]
    found = {type for source in sources for type in TYPE.findall(source.read_text())}
    return {type for type in found if not type.endswith(FILES)}


def test_every_type_of_entry_has_words_and_is_listened_to(anna: Visitor) -> None:
    types = types_of_the_journal()
    assert {"photo.captured", "command.refused", "storage.ok", "door.sensor"} <= types
    page = anna.go("/history")
    assert in_page(page, f"(words) => {json.dumps(sorted(types))}.filter((type) => !words.isKnown(type))") == []
    live = (ROOT / "piapi" / "web" / "static" / "live.js").read_text()
    assert types <= set(TYPE.findall(live))


Say = Callable[[dict[str, object]], object]


@pytest.fixture
def say(anna: Visitor) -> Say:
    page = anna.go("/history")
    return lambda entry: in_page(page, f"(words) => words.sentence({json.dumps({'actor': 'nobody', **entry})})")


def test_an_entry_of_an_unknown_type_is_told_by_what_is_in_it(say: Say) -> None:
    entry = {"type": "lamp.worn_out", "subject": "pin:porch_light", "data": {"hours": 900, "links": {"self": "/x"}}}
    assert say(entry) == "Lamp worn out (Porch light), Hours: 900"


@pytest.mark.parametrize(
    ("type", "subject", "data", "words"),
    [
        (
            "command.refused",
            "door:garage",
            {"target": "closed", "reason": "Locked."},
            "Refused to close Garage: Locked.",
        ),
        ("command.refused", "pin:lamp", {"value": True, "reason": "Busy."}, "Refused to switch Lamp on: Busy."),
        (
            "operation.state",
            "door:garage",
            {"target": "closed", "state": "timed_out", "detail": "It stuck."},
            "Garage did not close in time: It stuck.",
        ),
        (
            "camera.state",
            "camera:yard",
            {"state": "unavailable", "detail": "Gone."},
            "Camera Yard does not work: Gone.",
        ),
        ("auth.failed", "system:users", {"count": 3}, "A wrong name or password was tried 3 times"),
        (
            "timelapse.missed",
            "camera:yard",
            {"name": "Bridge", "count": 2, "cause": "power"},
            "Time-lapse Bridge missed 2 pictures, because piapi was not running",
        ),
        (
            "pin.changed",
            "pin:lamp",
            {"value": False, "cause": "limit", "on_s": 60},
            "Lamp off after 1 min, because it had been on for as long as it may",
        ),
    ],
)
def test_entries_are_told_in_plain_words(
    say: Say, type: str, subject: str, data: dict[str, object], words: str
) -> None:
    assert say({"type": type, "subject": subject, "data": data}) == words
