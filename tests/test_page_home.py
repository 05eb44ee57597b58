"""The first page, and what all pages share, in a real browser with a touch screen."""

from __future__ import annotations

import contextlib
import http.server
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.browser import DESKTOP, PHONE, Questions, Visitor, add_user, entry, note_texts, with_live
from tests.network import Network
from tests.service import Service, children_of, eventually, running

CONFIG = """
[cameras.demo]
backend = "simulated"
width = 640
height = 360

[gpio]
backend = "simulated"

[pins.lamp]
gpio = "GPIO17"
mode = "output"

[pins.fan]
gpio = "GPIO18"
mode = "pwm"

[pins.button]
gpio = "GPIO27"
mode = "input"

[doors.garage]
relay = { gpio = "GPIO22" }
closed_sensor = { gpio = "GPIO23" }
open_sensor = { gpio = "GPIO24" }
warning = { gpio = "GPIO25" }
travel_s = 3
warning_s = 2

[doors.gate]
relay = { gpio = "GPIO5" }
closed_sensor = { gpio = "GPIO6" }
warning = { gpio = "GPIO16" }
travel_s = 2
warning_s = 2

[doors.barn]
relay = { gpio = "GPIO12" }
closed_sensor = { gpio = "GPIO13" }
open_sensor = { gpio = "GPIO26" }
warning = { gpio = "GPIO19" }
travel_s = 2
warning_s = 30
"""

LOST_WITHIN_MS = 3000
"""From when piapi is no longer heard."""

MOST_BYTES = 150_000
MOST_REQUESTS = 24
"""Of the first load of the first page, over the wire, and beside one for each door's last operation."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("page"), CONFIG) as service:
        add_user(service)
        yield service


def door_of(page: Page, name: str = "garage") -> Locator:
    return page.locator(f'[data-door="{name}"]')


def is_in_step(page: Page, name: str = "garage") -> None:
    expect(door_of(page, name)).not_to_have_attribute("data-look", "lost")


def go_on_a_stopped_clock(visitor: Visitor) -> Page:
    """The first page, in step. For it no time passes from now on but by `page.clock`."""
    visitor.context.clock.install()
    page = visitor.go()
    is_in_step(page)
    page.clock.pause_at(page.evaluate("Date.now()") + 1000)
    return page


def touch(page: Page, button: Locator) -> Callable[[], None]:
    """Put a finger on it. Gives what lifts it again. (A page that a busy machine keeps waiting takes no touch.)"""
    expect(button).to_be_enabled()
    button.scroll_into_view_if_needed()
    box = button.bounding_box()
    assert box is not None
    point = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    finger = page.context.new_cdp_session(page)
    finger.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [point]})

    def lift() -> None:
        finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    return lift


def hold(page: Page, button: Locator) -> None:
    """Until it acts. (Chromium says that a finger is down when the page has seen it.)"""
    lift = touch(page, button)
    expect(page.locator(".is-held")).to_have_count(0)
    lift()


def commands(visitor: Visitor, method: str = "PUT") -> list[str]:
    """The keys of the commands that it has sent."""
    return [
        request.headers.get("idempotency-key", "no key") for request in visitor.requests if request.method == method
    ]


def bring(service: Service, state: str, name: str = "garage") -> None:
    """Have the door there before the page is looked at; by its sensor, once piapi takes commands."""
    token, path = service.token(), f"/api/v1/doors/{name}"

    def is_there() -> bool:
        service.call("PUT", f"{path}/target", token, {"target": state})
        return f'"state":"{state}"'.encode() in service.call("GET", path, token)[2]

    eventually(is_there)


def test_somebody_logs_in_and_wrong_words_are_told(visit: Callable[..., Visitor]) -> None:
    page = visit(None).go("/photos")
    expect(page).to_have_url(re.compile(r"/login\?next=/photos$"))
    page.get_by_label("Name").fill("anna")
    page.get_by_label("Password").fill("wrong horse")
    page.get_by_role("button", name="Log in").tap()
    expect(page.get_by_role("alert")).to_have_text("There is no user with this name and this password.")
    page.get_by_label("Password").fill("correct horse battery")
    page.get_by_role("button", name="Log in").tap()
    expect(page).to_have_url(re.compile("/photos$"))


def test_a_login_leads_nowhere_else(visit: Callable[..., Visitor]) -> None:
    page = visit(None).go("/login?next=//example.org/steal")
    page.get_by_label("Name").fill("anna")
    page.get_by_label("Password").fill("correct horse battery")
    page.get_by_role("button", name="Log in").tap()
    is_in_step(page)
    assert page.url.startswith("http://127.0.0.1:")


def test_the_live_view_moves_and_rests_while_nobody_looks(visit: Callable[..., Visitor]) -> None:
    page = visit().go()
    expect(page.locator("#cameras")).to_have_attribute("data-view", "live")
    picture = """() => { const image = document.querySelector(".view img"), canvas = document.createElement("canvas");
        canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
        canvas.getContext("2d").drawImage(image, 0, 0); return canvas.toDataURL(); }"""
    first = page.evaluate(picture)
    page.wait_for_function(f"first => ({picture})() !== first", arg=first)
    page.evaluate("""() => { Object.defineProperty(document, "hidden", {value: true, configurable: true});
        document.dispatchEvent(new Event("visibilitychange")); }""")
    expect(page.locator("#cameras")).to_have_attribute("data-view", "paused")
    expect(page.locator(".view img")).not_to_have_attribute("src", re.compile("."))


def test_a_photo_is_taken(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    page = visitor.go()
    page.get_by_role("button", name="Take a photo").tap()
    expect(page.locator("#toasts")).to_contain_text("Photo taken")
    assert len(commands(visitor, "POST")) == 1


def test_a_door_is_opened_by_holding_and_seen_to_be_open(visit: Callable[..., Visitor], service: Service) -> None:
    bring(service, "closed")
    visitor = visit()
    page = visitor.go()
    door = door_of(page)
    expect(door.locator(".door-state")).to_have_text("Closed")
    shown = note_texts(door.locator(".door-state"))
    hold(page, door.get_by_role("button", name="Open"))
    expect(door.locator(".door-state")).to_have_text("Open")
    assert shown() == ["Opening…", "Open"]
    expect(door.locator(".door-basis")).to_contain_text("by its sensor")
    expect(page.locator("#announcements")).to_have_text("Garage: Open")
    assert len(commands(visitor)) == 1


def test_a_short_press_and_a_double_tap_move_nothing(visit: Callable[..., Visitor], service: Service) -> None:
    bring(service, "closed")
    visitor = visit()
    page = visitor.go()
    button = door_of(page).get_by_role("button", name="Open")
    button.tap()
    expect(button.locator(".hold-hint")).to_have_text("Hold longer")
    button.tap()
    button.tap()
    hold(page, button)  # whatever the taps had begun would have been sent before this
    expect(door_of(page).locator(".door-state")).to_have_text("Open")
    assert len(commands(visitor)) == 1


def test_a_tap_right_after_a_hold_presses_nothing_more(visit: Callable[..., Visitor], service: Service) -> None:
    bring(service, "closed")
    visitor = visit()
    page = visitor.go()
    button = door_of(page).get_by_role("button", name="Open")
    place = button.bounding_box()
    hold(page, button)
    assert place is not None
    page.mouse.move(place["x"] + 40, place["y"] + 20)
    page.mouse.down()
    page.mouse.up()
    expect(door_of(page).locator(".door-state")).to_have_text("Open")
    operation = visitor.json("/api/v1/doors/garage")["links"]["operation"]
    eventually(lambda: visitor.json(operation)["state"] == "succeeded")
    assert visitor.json(operation)["presses"] == 1
    assert len(commands(visitor)) == 1


def test_a_finger_that_slides_off_moves_nothing(visit: Callable[..., Visitor], service: Service) -> None:
    bring(service, "closed")
    visitor = visit(**DESKTOP)
    page = go_on_a_stopped_clock(visitor)
    button = door_of(page).get_by_role("button", name="Open")
    button.hover()
    page.mouse.down()
    expect(button).to_have_class(re.compile("is-held"))
    page.mouse.move(1, 1)
    expect(button.locator(".hold-hint")).to_have_text("Hold longer")
    page.clock.run_for(1000)
    page.mouse.up()
    assert commands(visitor) == []


def test_a_close_warns_and_is_cancelled(visit: Callable[..., Visitor], service: Service) -> None:
    bring(service, "open", "barn")
    page = visit().go()
    door = door_of(page, "barn")
    hold(page, door.get_by_role("button", name="Close"))
    expect(door.locator(".door-state")).to_contain_text("Will close in")
    door.get_by_role("button", name="Cancel").tap()
    expect(door.locator(".door-state")).to_have_text("Open")
    expect(door.get_by_role("button", name="Cancel")).to_be_hidden()


def test_the_finger_that_closed_a_door_does_not_cancel_that_when_it_is_lifted(
    visit: Callable[..., Visitor], service: Service
) -> None:
    bring(service, "open")
    visitor = visit()
    page = visitor.go()
    door = door_of(page)
    lift = touch(page, door.get_by_role("button", name="Close"))
    expect(door.get_by_role("button", name="Cancel")).to_be_visible()  # where the finger is
    lift()
    expect(door.locator(".door-state")).to_have_text("Closed")
    assert commands(visitor, "DELETE") == []


def test_a_door_is_moved_by_keyboard_and_by_a_screen_reader(visit: Callable[..., Visitor], service: Service) -> None:
    bring(service, "closed")
    visitor = visit(**DESKTOP)
    page = visitor.go()
    door = door_of(page)
    button = door.get_by_role("button", name="Open")
    button.focus()
    page.keyboard.down("Space")
    expect(door.locator(".door-state")).to_have_text("Open")
    page.keyboard.up("Space")
    door.get_by_role("button", name="Close").evaluate("button => button.click()")  # as assistive technology does
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    expect(door.locator(".door-state")).to_have_text("Closed")
    assert len(set(commands(visitor))) == 2


def test_a_locked_door_says_so(visit: Callable[..., Visitor], service: Service) -> None:
    bring(service, "closed", "gate")
    page = visit().go()
    door = door_of(page, "gate")
    door.get_by_role("button", name="Lock", exact=True).tap()
    expect(door.locator(".door-note")).to_contain_text("Locked")
    expect(door.get_by_role("button", name="Open")).to_be_disabled()
    door.get_by_role("button", name="Unlock").tap()
    page.get_by_role("dialog").get_by_role("button", name="Unlock").tap()
    expect(door.get_by_role("button", name="Open")).to_be_enabled()


def test_pins_are_switched_and_slid(visit: Callable[..., Visitor]) -> None:
    page = visit().go()
    lamp, fan, button = (page.locator(f'[data-pin="{name}"]') for name in ("lamp", "fan", "button"))
    lamp.get_by_role("switch").tap()
    expect(lamp.locator("small")).to_have_text("on")
    lamp.get_by_role("switch").tap()
    expect(lamp.locator("small")).to_have_text("off")
    fan.get_by_role("slider").fill("0.5")
    expect(fan.locator("small")).to_have_text("50 %")
    expect(button.get_by_role("switch")).to_have_count(0)


def test_a_command_whose_answer_is_lost_is_sent_again_as_the_same(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    page = visitor.go()
    lost = []

    def lose(route: Any) -> None:
        if lost:
            route.continue_()
            return
        lost.append(route.fetch())  # piapi has carried it out
        route.abort()

    page.route("**/value", lose)
    lamp = page.locator('[data-pin="lamp"]')
    with page.expect_response("**/value"):  # to the second, as the first one never arrives
        lamp.get_by_role("switch").tap()
    expect(lamp.locator("small")).to_have_text("on")
    expect(lamp.get_by_role("switch")).to_be_checked()
    keys = commands(visitor)
    assert len(keys) == 2 and len(set(keys)) == 1
    lamp.get_by_role("switch").tap()
    expect(lamp.locator("small")).to_have_text("off")


def test_a_worker_that_is_killed_leaves_no_old_state(visit: Callable[..., Visitor], service: Service) -> None:
    page = go_on_a_stopped_clock(visit())
    (worker,) = children_of(service.process.pid)
    os.kill(worker, signal.SIGSTOP)  # no answer, and no end of the connection either
    page.clock.run_for(LOST_WITHIN_MS)
    expect(door_of(page)).to_have_attribute("data-look", "lost")
    page.clock.resume()
    expect(door_of(page).locator(".door-basis")).to_contain_text("Last known.")
    for button in door_of(page).locator(".btn-hold").all():
        expect(button).to_be_disabled()
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: _is_ready(service))
    expect(door_of(page)).not_to_have_attribute("data-look", "lost", timeout=5000)
    expect(page.locator("#lost")).to_be_hidden()


def test_a_lost_network_is_noticed(visit: Callable[..., Visitor], network: Network) -> None:
    page = go_on_a_stopped_clock(visit(at=network))
    network.cut()
    page.clock.run_for(LOST_WITHIN_MS)
    expect(door_of(page)).to_have_attribute("data-look", "lost")
    expect(page.locator("#lost")).to_be_visible()
    network.mend()
    page.clock.resume()
    is_in_step(page)


def test_a_guest_sees_one_door_alone(visit: Callable[..., Visitor], service: Service) -> None:
    add_user(service, "guest", scopes=["door:gate:view", "door:gate:open"])
    visitor = visit("guest")
    page = visitor.go()
    is_in_step(page, "gate")
    expect(page.locator("article.door")).to_have_count(1)
    expect(page.locator("#cameras, #pins").first).to_be_hidden()
    expect(door_of(page, "gate").get_by_role("button", name="Lock")).to_be_hidden()


def test_another_site_moves_nothing(visit: Callable[..., Visitor], service: Service) -> None:
    visitor = visit()
    target = f"{visitor.origin}/api/v1/pins/lamp"
    page_of_theirs = f"""<form method="post" action="{target}/pulses"><button>win</button></form><script type="module">
        const key = {{"Idempotency-Key": "evil"}};
        const all = {{method: "POST", credentials: "include", mode: "no-cors", body: '{{"duration_s": 1}}'}};
        await Promise.allSettled([fetch("{target}/pulses", all),
          fetch("{target}/pulses", {{...all, mode: "cors", headers: key}}),
          fetch("{target}/value", {{...all, mode: "cors", method: "PUT"}})]);
        document.title = "tried";</script>"""
    with _site(page_of_theirs) as port:
        page = visitor.context.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        expect(page).to_have_title("tried")
        page.get_by_role("button", name="win").tap()
        expect(page.locator("body")).to_contain_text("forbidden")
    lamp = service.call("GET", "/api/v1/pins/lamp", service.token())[2]
    assert b'"value":false' in lamp
    visitor.complaints.clear()  # Chromium tells what it did not let that page do


NOTE_ENTRIES = 'live.on("operation.state", ({ data }) => { document.body.dataset.told = data.state; });'


def test_a_door_that_moves_while_the_page_is_fetched_is_shown_where_it_is(
    visit: Callable[..., Visitor], service: Service
) -> None:
    bring(service, "closed")
    page = visit().context.new_page()

    def come_late(route: Route) -> None:
        response = route.fetch()
        with_live(page, NOTE_ENTRIES)
        bring(service, "open")
        expect(page.locator("body")).to_have_attribute("data-told", "succeeded")
        route.fulfill(response=response)

    page.route("**/doors?limit=200", come_late)
    with page.expect_response("**/doors?limit=200"):
        page.goto("/")
    expect(door_of(page).locator(".door-state")).to_have_text("Open")


def test_a_camera_that_goes_while_the_page_is_fetched_is_shown_gone(visit: Callable[..., Visitor]) -> None:
    page = visit().context.new_page()
    asked: list[Route] = []

    def answer(route: Route) -> None:
        asked.append(route)
        response = route.fetch()
        found = response.json()
        if len(asked) == 1:  # arrives after the second one
            with_live(page, f"live.dispatchEvent({entry('camera.state')});")
            expect(page.locator(".view-absent")).to_contain_text("unplugged")
        elif len(asked) == 2:
            found["items"][0] |= {"state": "unavailable", "detail": "It is unplugged."}
        else:
            return  # no answer
        route.fulfill(response=response, json=found)

    page.route("**/cameras?limit=200", answer)
    page.goto("/")
    expect(page.locator("#loading")).to_be_hidden()
    expect(page.locator(".view-absent")).to_contain_text("unplugged")


class Place:
    """A page whose clock stands still, and one thing on it: what is asked about that is answered by the test."""

    def __init__(self, visitor: Visitor, path: str) -> None:
        self.page = go_on_a_stopped_clock(visitor)
        expect(self.page.locator('[data-look="lost"]')).to_have_count(0)
        self.kind, self.name = path.split("/")
        door, pin = door_of(self.page, self.name).locator(".door-note"), self.page.locator(f'[data-pin="{self.name}"]')
        self.words = door if self.kind == "doors" else pin.locator(".pin-state")
        self.shown = note_texts(self.words)
        self._thing = visitor.json(f"/api/v1/{path}")
        self._thing["links"].pop("operation", None)  # it would be asked for as well, and take its time
        self.questions = Questions(self.page, path, f"{self.kind}?limit=200")

    def is_told(self) -> int:
        """By the journal. Gives the number of the question that is asked then."""
        return self.questions.after(entry(f"{self.kind[:-1]}.changed", f"{self.kind[:-1]}:{self.name}"))

    def is_found(self) -> int:
        """piapi is there again: so all of the kind are asked for."""
        return self.questions.after('new Event("found")')

    def answer(self, question: int, cats: int) -> str:
        """Gives the words that this answer has to show."""
        route, reason = self.questions.routes[question], f"{cats} cats sleep in it"
        thing = self._thing | {"value": cats / 100, "locked": True, "lock_reason": reason}
        route.fulfill(json={"items": [thing], "links": {}} if "limit" in route.request.url else thing)
        return f"Locked: {reason}. It takes no command." if self.kind == "doors" else f"{cats} %"


@pytest.fixture(params=["doors/gate", "pins/fan"])
def place(request: pytest.FixtureRequest, visit: Callable[..., Visitor]) -> Place:
    return Place(visit(), request.param)


def test_answers_are_shown_as_they_come_and_none_after_that_to_a_later_question(place: Place) -> None:
    """On a slow network the page asks again before it has been answered."""
    first, second, third, fourth = (place.is_told() for _ in range(4))
    texts = []
    for question in (first, second, fourth):
        texts.append(place.answer(question, 10 + question))
        expect(place.words).to_have_text(texts[-1])
    place.answer(third, 57)
    texts.append(place.answer(place.is_told(), 61))
    expect(place.words).to_have_text(texts[-1])
    assert place.shown() == texts


def test_a_list_that_was_asked_for_earlier_comes_too_late(place: Place) -> None:
    all_of_them = place.is_found()
    newer = place.answer(place.is_told(), 21)
    expect(place.words).to_have_text(newer)
    place.answer(all_of_them, 57)
    place.questions.come(3)  # once more, as it was told meanwhile
    newest = place.answer(2, 33)
    expect(place.words).to_have_text(newest)
    assert place.shown() == [newer, newest]


def test_an_answer_from_before_piapi_was_found_is_not_shown_as_its_state_now(place: Place) -> None:
    before = place.is_told()
    with_live(place.page, 'live.dispatchEvent(new Event("lost"));')
    all_of_them = place.is_found()
    place.answer(before, 57)
    newer = place.answer(all_of_them, 21)
    expect(place.words).to_have_text(newer)
    assert not [text for text in place.shown() if "57" in text]


@pytest.mark.parametrize("path", ["doors/gate", "pins/fan"])
@pytest.mark.parametrize("is_whole_list", [False, True], ids=["told", "found"])
def test_a_question_that_nobody_answers_is_asked_again(
    visit: Callable[..., Visitor], path: str, is_whole_list: bool
) -> None:
    place = Place(visit(), path)
    place.page.clock.resume()
    question = place.is_found() if is_whole_list else place.is_told()
    place.questions.routes[question].abort("connectionreset")
    place.questions.come(question + 2)
    words = place.answer(question + 1, 21)
    expect(place.words).to_have_text(words)


def have_moved(service: Service, name: str) -> None:
    """A door whose last operation is known."""
    for state in ("open", "closed"):
        if b'"operation":null' in service.call("GET", f"/api/v1/doors/{name}", service.token())[2]:
            bring(service, state, name)


def test_the_first_load_is_small_and_all_from_here(visit: Callable[..., Visitor], service: Service) -> None:
    for name in ("garage", "gate", "barn"):
        have_moved(service, name)
    visitor = visit(**PHONE, service_workers="allow")
    page = visitor.context.new_page()
    wire = page.context.new_cdp_session(page)
    wire.send("Network.enable")
    sizes: list[float] = []
    asked: list[str] = []
    wire.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    wire.on("Network.requestWillBeSent", lambda event: asked.append(event["request"]["url"]))
    page.goto("/")
    is_in_step(page)
    expect(page.locator("#cameras")).to_have_attribute("data-view", "live")
    assert 30_000 < sum(sizes) <= MOST_BYTES
    fetched = {url for url in asked if not url.startswith("data:")}  # on a busy machine it asks again what is late
    operations = {url for url in fetched if "/operations/" in url}
    assert len(operations) == 3
    assert 10 < len(fetched - operations) <= MOST_REQUESTS
    by_its_worker_too = {request.url for request in visitor.requests if not request.url.startswith("data:")}
    assert {url.split("/")[2] for url in fetched | by_its_worker_too} == {visitor.origin.split("/")[2]}


def test_static_files_are_kept_for_ever_and_pages_never(service: Service) -> None:
    _, headers, body = service.call("GET", "/login")
    script = next(part for part in body.decode().split('"') if part.endswith("/theme.js"))
    assert headers["cache-control"] == "no-store" and "default-src 'none'" in headers["content-security-policy"]
    assert "immutable" in service.call("GET", script)[1]["cache-control"]
    assert service.call("GET", "/static/theme.js")[1]["cache-control"] == "no-cache"
    assert service.call("GET", "/static/../__init__.py")[0] == 404
    assert service.call("GET", "/static/nothing.js")[0] == 404


def _is_ready(service: Service) -> bool:
    try:
        return service.call("GET", "/api/v1/health/ready")[0] == 200
    except OSError:
        return False


@contextlib.contextmanager
def _site(page: str) -> Iterator[int]:
    """Another site, on this machine. Gives its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()
