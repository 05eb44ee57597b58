"""The pages of time-lapses: made in the form, watched while they grow, and changed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, Route, expect

from tests.browser import DESKTOP, PHONE, Visitor, add_user
from tests.gates import Gate, is_filmed, renderers
from tests.service import Service, children_of, eventually, running

CONFIG = """
[cameras.garden]
backend = "simulated"
width = 320
height = 180

[cameras.attic]
backend = "simulated"
width = 320
height = 180
"""

PLAYABLE = "film => film.readyState >= 1 && film.videoWidth > 0 && film.duration > 0"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("lapses"), CONFIG) as service:
        add_user(service)
        add_user(service, "guest", scopes=["camera:garden:view"])
        yield service


@pytest.fixture(scope="module")
def token(service: Service) -> str:
    return service.token()


@pytest.fixture
def begin(service: Service, token: str) -> Iterator[Callable[..., str]]:
    """Begins time-lapses over the API, and removes them."""
    made: list[str] = []

    def begin(**plan: Any) -> str:
        made.append(id := begin_at(service, token, **plan))
        return id

    yield begin
    for id in made:
        service.call("DELETE", f"/api/v1/timelapses/{id}", token)


def begin_at(service: Service, token: str, **plan: Any) -> str:
    body = {"interval_s": 0.2, "video": {"fps": 5}, **plan}
    status, _, answer = service.call("POST", "/api/v1/cameras/garden/timelapses", token, body)
    assert status == 202, answer
    return str(json.loads(answer)["id"])


def is_in_step(page: Page) -> None:
    expect(page.locator("#timelapse")).to_have_attribute("data-look", "now")


def form_of(page: Page) -> Page:
    """Open the form, with both cameras in it."""
    page.get_by_role("button", name="New time-lapse").click()
    expect(page.locator("#estimate")).to_have_attribute("data-look", "now")
    return page


def figure(page: Page, name: str) -> Locator:
    return page.locator(f'[data-figure="{name}"]')


def play(page: Page) -> None:
    """Play the film, and see it move."""
    film = page.locator("#film")
    expect(film).to_be_visible()
    page.wait_for_function(f"() => ({PLAYABLE})(document.querySelector('#film'))")
    film.evaluate("film => { film.currentTime = 0; return film.play(); }")
    page.wait_for_function("() => { const film = document.querySelector('#film'); return film.currentTime > 0.1; }")
    assert film.evaluate("film => film.readyState") >= 2


def table(page: Page) -> Locator:
    details = page.locator("details", has_text="As a table")
    if details.get_attribute("open") is None:
        details.locator("summary").click()
    return page.locator("#ticks-rows")


def test_a_time_lapse_is_made_in_the_form_and_its_film_plays(visit: Callable[..., Visitor]) -> None:
    page = form_of(visit().go("/timelapses"))
    page.get_by_label("Camera").select_option("garden")
    page.get_by_label("Name").fill("Tomatoes")
    page.get_by_label("A frame every").fill("0.4")
    page.get_by_label("Ends", exact=True).select_option("count")
    page.get_by_label("Frames", exact=True).fill("5")
    page.locator(".form-more summary").click()
    page.get_by_label("Film, frames per second").fill("4")
    expect(figure(page, "frames")).to_have_text("5")
    expect(figure(page, "film")).to_have_text("1 s")
    page.get_by_role("button", name="Begin", exact=True).click()
    page.wait_for_url(re.compile("/timelapses/[0-9a-f]+$"))
    expect(page.locator("#name")).to_have_text("Tomatoes")
    expect(page.locator("#state")).to_have_text("Finished", timeout=20_000)
    play(page)
    expect(page.locator("#film-heading")).to_have_text("The film")
    assert page.locator("#film").evaluate("film => film.muted && film.playsInline && film.preload === 'metadata'")
    assert page.locator("#film").evaluate("film => [film.videoWidth, film.videoHeight]") == [320, 180]
    with page.expect_download() as download:
        page.get_by_role("link", name="Film").click()
    assert b"ftyp" in download.value.path().read_bytes()[:12]
    with page.expect_download() as download:
        page.get_by_role("link", name="All frames").click()
    assert b".jpg" in download.value.path().read_bytes()[:512]

    listed = page.context.new_page()
    listed.goto("/timelapses")
    card = listed.locator("article", has_text="Tomatoes")
    expect(card).to_contain_text("Finished")
    expect(card.locator("canvas")).to_be_visible()
    page.get_by_role("button", name="Delete").click()
    page.locator("dialog").get_by_role("button", name="Delete").click()
    page.wait_for_url("**/timelapses")
    expect(card).to_have_count(0)


def test_the_film_of_one_that_runs_plays_and_grows_but_not_under_who_watches(
    visit: Callable[..., Visitor], begin: Callable[..., str]
) -> None:
    page = visit().go(f"/timelapses/{begin(duration_s=600)}")
    play(page)
    film = page.locator("#film")
    source, length = film.evaluate("film => [film.src, film.duration]")
    grown = "words => Number(document.querySelector('#film-words').textContent.split(' ')[0]) >= words"
    page.wait_for_function(grown, arg=length + 1)
    film.evaluate("film => { film.pause(); film.currentTime = 0.4; }")
    page.wait_for_function("length => document.querySelector('#film').duration > length", arg=length, timeout=20_000)
    assert film.evaluate("film => film.src") != source
    page.wait_for_function("() => Math.abs(document.querySelector('#film').currentTime - 0.4) < 0.2")
    expect(page.locator("#latest")).to_be_visible()


def test_the_estimate_is_that_of_what_was_asked_for_last(visit: Callable[..., Visitor]) -> None:
    page = form_of(visit().go("/timelapses"))
    expect(figure(page, "frames")).to_have_text("720")
    expect(figure(page, "film")).to_have_text("24 s")
    expect(page.locator("#fits")).to_have_text("There is room for it.")
    held: list[Route] = []

    def hold(route: Route) -> None:
        if "7200" in (route.request.post_data or ""):
            held.append(route)
        else:
            route.continue_()

    page.route("**/timelapses?dry_run=true", hold)
    page.get_by_label("Goes on for").fill("2")
    expect(page.locator("#estimate")).to_have_attribute("data-look", "old")
    page.wait_for_event("request", lambda request: "7200" in (request.post_data or ""))
    page.get_by_label("Goes on for").fill("3")
    expect(figure(page, "frames")).to_have_text("2,160")
    expect(page.locator("#estimate")).to_have_attribute("data-look", "now")
    for route in held:
        route.continue_()
    page.get_by_label("Unit of the time").select_option("minutes")
    expect(figure(page, "frames")).to_have_text("36")


WRONG = {
    "Name": "x" * 101,
    "A frame every": "0.01",
    "Goes on for": "0",
    "Film, frames per second": "500",
    "Begins": "2020-01-01T10:00",
}


def test_what_is_wrong_with_a_field_is_told_beside_it(visit: Callable[..., Visitor]) -> None:
    page = form_of(visit().go("/timelapses"))
    page.locator(".form-more summary").click()
    for label, value in WRONG.items():
        page.get_by_label(label, exact=True).fill(value)
    for label in WRONG:
        field = page.get_by_label(label, exact=True)
        expect(field).to_have_attribute("aria-invalid", "true")
        fault = page.locator(f"#{field.get_attribute('aria-describedby')}")
        expect(page.locator(".field", has=field).locator(fault)).not_to_be_empty()
    expect(page.locator(".field-fault")).to_have_count(len(WRONG))
    expect(figure(page, "frames")).to_have_text("–")
    page.get_by_role("button", name="Begin", exact=True).click()
    expect(page.get_by_label("Name")).to_be_focused()
    for label, value in {**dict.fromkeys(WRONG, "5"), "Begins": "", "Name": ""}.items():
        page.get_by_label(label, exact=True).fill(value)
    expect(figure(page, "frames")).to_have_text("3,600")
    expect(page.locator(".field-fault")).to_have_count(0)
    page.get_by_label("A frame every").fill("")
    expect(page.get_by_label("A frame every")).to_have_attribute("aria-invalid", "true")


def test_all_faults_of_a_window_are_told_at_once(visit: Callable[..., Visitor]) -> None:
    page = form_of(visit().go("/timelapses"))
    page.get_by_label("At what time of day").select_option("by the clock")
    page.get_by_label("From", exact=True).fill("")
    for day in ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"):
        page.locator(".weekday", has_text=day).click()
    expect(page.locator('[data-pointer="/window/from"] .field-fault')).to_be_visible()
    expect(page.locator('[data-pointer="/window/days"] .field-fault')).to_be_visible()


def test_presets_fill_the_form(visit: Callable[..., Visitor]) -> None:
    page = form_of(visit().go("/timelapses"))
    page.get_by_role("button", name="Building site").click()
    expect(page.get_by_label("Name")).to_have_value("Building site")
    expect(page.get_by_label("A frame every")).to_have_value("5")
    expect(page.get_by_label("Unit of the interval")).to_have_value("60")
    expect(page.get_by_label("From", exact=True)).to_have_value("07:00")
    assert page.locator("input[name=days]:checked").count() == 5
    expect(page.locator("#estimate")).to_have_attribute("data-look", "now")
    page.get_by_role("button", name="Plant").click()
    expect(page.get_by_label("Goes on for")).to_have_value("14")
    assert page.locator("input[name=days]:checked").count() == 7
    expect(page.locator("#estimate")).to_have_attribute("data-look", "now")
    page.get_by_role("button", name="3D print").click()
    expect(page.locator("#exposure")).to_have_value("lock")
    expect(page.locator("#window")).to_have_value("none")
    expect(figure(page, "frames")).to_have_text("2,160")


def test_without_a_place_the_sun_is_explained(visit: Callable[..., Visitor]) -> None:
    page = form_of(visit().go("/timelapses"))
    page.get_by_role("button", name="Sunset").click()
    expect(page.locator("#no-place")).to_contain_text("does not know where this Pi is")
    expect(page.get_by_label("At what time of day")).to_have_attribute("aria-invalid", "true")
    page.get_by_role("button", name="Use the clock").click()
    expect(page.locator("#no-place")).to_be_hidden()
    expect(figure(page, "frames")).to_have_text("1,440")


def test_one_that_does_not_fit_is_refused_in_words(visit: Callable[..., Visitor]) -> None:
    page = form_of(visit().go("/timelapses"))
    page.get_by_label("Ends", exact=True).select_option("count")
    page.get_by_label("Frames", exact=True).fill("400000000")
    expect(page.locator("#fits")).to_contain_text("no room")
    page.get_by_role("button", name="Begin", exact=True).click()
    expect(page.locator("#plan .form-fault")).to_contain_text("MB are free")


def test_it_is_paused_goes_on_gets_another_end_and_name_and_is_cancelled(
    visit: Callable[..., Visitor], begin: Callable[..., str]
) -> None:
    page = visit().go(f"/timelapses/{begin(interval_s=5, count=100)}")
    expect(page.locator("#state")).to_have_text("Running")
    expect(page.locator("#next")).to_contain_text("Next frame")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#state")).to_have_text("Paused")
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("#state")).to_have_text("Running")

    page.get_by_role("button", name="Change the end").click()
    page.get_by_label("Frames in all").fill("0")
    page.get_by_role("button", name="Set the end").click()
    expect(page.get_by_label("Frames in all")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("Frames in all").fill("150")
    page.get_by_role("button", name="Set the end").click()
    expect(page.locator("#figures")).to_contain_text("of 150 frames")
    page.get_by_role("button", name="Change the end").click()
    page.locator("#end").select_option("duration_s")
    page.get_by_label("From its start, minutes").fill("1000")
    page.get_by_role("button", name="Set the end").click()
    expect(page.locator("#plan")).to_contain_text("for 16 h 40 min")
    page.get_by_role("button", name="Change the end").click()
    page.locator("#end").select_option("until")
    page.get_by_label("Until").fill(f"{datetime.now().astimezone() + timedelta(days=1):%Y-%m-%dT%H:%M}")
    page.get_by_role("button", name="Set the end").click()
    expect(page.locator("#plan")).to_contain_text("until")

    page.get_by_role("button", name="Rename").click()
    page.locator("#new-name").fill("Beans")
    page.locator("#new-name").press("Enter")
    expect(page.locator("#name")).to_have_text("Beans")
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Back").click()
    expect(page.locator("#state")).to_have_text("Running")
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Cancel it").click()
    expect(page.locator("#state")).to_have_text("Cancelled")
    expect(page.locator("#pause")).to_be_hidden()


def test_what_was_missed_stands_in_the_strip_and_its_table(
    visit: Callable[..., Visitor], begin: Callable[..., str], service: Service, token: str
) -> None:
    id = begin(duration_s=3600)
    eventually(lambda: frames_of(service, token, id) >= 2)
    page = visit().go(f"/timelapses/{id}")
    expect(table(page)).to_contain_text("captured")
    (worker,) = children_of(service.process.pid)
    os.kill(worker, signal.SIGSTOP)
    expect(page.locator("#timelapse")).to_have_attribute("data-look", "lost", timeout=10_000)
    os.kill(worker, signal.SIGKILL)
    expect(page.locator("#timelapse")).to_have_attribute("data-look", "now", timeout=30_000)
    expect(table(page)).to_contain_text("missed: no power, or a restart", timeout=20_000)
    expect(page.locator("#ticks-legend")).to_contain_text(re.compile(r"\d+ missed: no power"))
    expect(page.locator("#ticks")).to_have_attribute("aria-label", re.compile("missed: no power"))
    colours = """strip => {
        const { data } = strip.getContext("2d").getImageData(0, 0, strip.width, strip.height);
        return new Set(new Uint32Array(data.buffer)).size;
    }"""
    assert page.locator("#ticks").evaluate(colours) > 2


def frames_of(service: Service, token: str, id: str) -> int:
    return int(json.loads(service.call("GET", f"/api/v1/timelapses/{id}", token)[2])["frames_captured"])


def test_the_same_frames_are_made_into_another_film(visit: Callable[..., Visitor], begin: Callable[..., str]) -> None:
    page = visit().go(f"/timelapses/{begin(count=6)}")
    expect(page.locator("#state")).to_have_text("Finished", timeout=20_000)
    page.locator("#render-more summary").click()
    page.locator("#render-width").fill("3")
    page.get_by_role("button", name="Make the film").click()
    expect(page.locator("#render-width")).to_have_attribute("aria-invalid", "true")
    page.locator("#render-width").fill("160")
    page.locator("#render-nth").fill("2")
    page.get_by_role("button", name="Make the film").click()
    render = page.locator("[data-render]")
    expect(render).to_contain_text("Ready", timeout=30_000)
    expect(render).to_contain_text("160 px wide, one frame of 2")
    with page.expect_download() as download:
        render.get_by_role("link", name="Download").click()
    assert b"ftyp" in download.value.path().read_bytes()[:12]


def test_a_render_is_cancelled_while_it_is_made(
    visit: Callable[..., Visitor], begin: Callable[..., str], service: Service
) -> None:
    visitor = visit()
    page = visitor.go(f"/timelapses/{begin(count=4)}")
    expect(page.locator("#state")).to_have_text("Finished", timeout=20_000)
    frames = service.folder / "data" / "timelapses" / page.url.rpartition("/")[2] / "frames"
    eventually(lambda: is_filmed(visitor.json(f"/api/v1/timelapses/{frames.parent.name}")))
    with contextlib.closing(Gate(sorted(frames.rglob("*.jpg"))[2])) as gate:
        page.locator("#render-more summary").tap()
        page.get_by_role("button", name="Make the film").tap()
        render = page.locator("[data-render]")
        gate.wait()
        expect(render).to_contain_text("Being made")
        expect(render.get_by_role("progressbar")).to_be_visible()
        render.get_by_role("button", name="Cancel").tap()
        expect(render).to_contain_text("Cancelled")
        expect(render.get_by_role("progressbar")).to_be_hidden()
        expect(render.get_by_role("button", name="Cancel")).to_be_hidden()
        expect(render.get_by_role("link", name="Download")).to_be_hidden()
        (worker,) = children_of(service.process.pid)
        eventually(lambda: renderers(worker) == [])
    (found,) = visitor.json(f"/api/v1/timelapses/{frames.parent.name}/renders")["items"]
    assert (found["state"], found["links"].get("file")) == ("cancelled", None)
    eventually(lambda: not list((frames.parent / "renders").glob("*")))  # cleared away after the child is reaped


def test_a_guest_sees_no_commands(visit: Callable[..., Visitor], begin: Callable[..., str]) -> None:
    begin(interval_s=5, count=100, name="Seen by all")
    visitor = visit("guest")
    page = visitor.go("/timelapses")
    expect(page.locator("article", has_text="Seen by all")).to_be_visible()
    expect(page.get_by_role("button", name="New time-lapse")).to_be_hidden()
    page.get_by_role("link", name="Seen by all").click()
    is_in_step(page)
    expect(page.locator("#film")).to_be_visible()
    expect(page.locator("[data-command]:visible")).to_have_count(0)
    expect(page.locator("#render-more")).to_be_hidden()
    expect(page.locator(".toast-danger")).to_have_count(0)


def test_without_a_connection_nothing_is_shown_as_current(
    visit: Callable[..., Visitor], begin: Callable[..., str]
) -> None:
    id = begin(interval_s=5, count=100)
    visitor = visit()
    page, listed = visitor.go(f"/timelapses/{id}"), visitor.go("/timelapses")
    is_in_step(page)
    form_of(listed)
    visitor.context.set_offline(True)
    expect(page.locator("#state")).to_have_text("Last known: Running", timeout=10_000)
    expect(page.locator("#next")).to_be_empty()
    for button in page.locator("#commands button:visible").all():
        expect(button).to_be_disabled()
    expect(listed.locator("article").first).to_have_attribute("data-look", "lost", timeout=10_000)
    expect(listed.get_by_role("button", name="Begin", exact=True)).to_be_disabled()
    visitor.context.set_offline(False)
    expect(page.locator("#state")).to_have_text("Running", timeout=10_000)
    expect(page.get_by_role("button", name="Pause")).to_be_enabled()


def test_one_that_is_gone_is_told(visit: Callable[..., Visitor]) -> None:
    page = visit().go("/timelapses/0000000000000000")
    expect(page.locator("#gone")).to_be_visible()


@pytest.mark.parametrize(("device", "look"), [(PHONE, "dark"), (DESKTOP, "light")], ids=["phone", "desktop"])
def test_everybody_can_use_the_pages(
    visit: Callable[..., Visitor], begin: Callable[..., str], device: dict[str, Any], look: str
) -> None:
    id = begin(count=3)
    visitor = visit(**device, color_scheme=look)
    page = form_of(visitor.go("/timelapses"))
    page.locator(".form-more summary").click()
    page.get_by_role("button", name="Sunset").click()
    expect(page.locator("#no-place")).to_be_visible()
    is_sound(page)
    one = visitor.go(f"/timelapses/{id}")
    expect(one.locator("#state")).to_have_text("Finished", timeout=20_000)
    one.locator("#render-more summary").click()
    expect(table(one)).to_contain_text("captured")
    is_sound(one)


def is_sound(page: Page) -> None:
    """Nothing that axe finds, nothing wider than the screen, nothing smaller than a thumb."""
    found = Axe().run(page, context="main")
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    small = """() => [...document.querySelectorAll("main :is(button, a.btn, input, select, summary)")]
        .filter((node) => node.checkVisibility() && !node.closest("label"))
        .filter((node) => node.getBoundingClientRect().height < 44)
        .map((node) => node.id || node.textContent)"""
    assert page.evaluate(small) == []
