"""The service worker: what it keeps and what never, the page when piapi is gone, and the next version of the pages."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser import NAME, PHONE, Visitor, add_user
from tests.service import ROOT, Service, running

CONFIG = """
[cameras.front]
backend = "simulated"
width = 640
height = 360

[gpio]
backend = "simulated"

[doors.garage]
relay = { gpio = "GPIO23" }
closed_sensor = { gpio = "GPIO24" }
"""

PAGES = ("/", "/photos", "/timelapses", "/history", "/system", "/login")

# [[name of a cache, path, text], …]
KEPT = """async () => {
  const kept = [];
  for (const name of await caches.keys()) {
    const cache = await caches.open(name);
    for (const request of await cache.keys()) {
      const { pathname, search } = new URL(request.url);
      kept.push([name, pathname + search, await (await cache.match(request)).text()]);
    }
  }
  return kept;
}"""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """One that a test ends."""
    (folder := tmp_path / "house").mkdir()
    with running(folder, CONFIG) as service:
        add_user(service)
        yield service


def go(visitor: Visitor, path: str) -> Page:
    """A page whose files come through the worker."""
    page = visitor.go(path)
    page.wait_for_function("() => navigator.serviceWorker.controller?.state === 'activated'")
    page.reload()
    if path != "/login":
        expect(page.locator("html")).to_have_attribute("data-connection", "live")
    return page


def digest_of(page: Page) -> str:
    address = page.locator("meta[name=piapi]").get_attribute("data-static")
    assert address is not None
    return address.split("/")[2]


def with_other_scripts(folder: Path) -> Path:
    """The sources, with another script on the first page."""
    shutil.copytree(ROOT / "piapi", folder / "piapi", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("run.py", "config.py", "gunicorn.conf.py"):
        shutil.copy(ROOT / name, folder)
    with (folder / "piapi/web/static/home.js").open("a") as script:
        script.write('document.documentElement.dataset.version = "next";\n')
    return folder


def test_what_is_kept_is_static_and_what_is_shown_without_piapi_is_honest(
    visit: Callable[..., Visitor], service: Service
) -> None:
    assert service.call("POST", "/api/v1/cameras/front/photos", service.token(), {})[0] == 201
    visitor = visit(**PHONE, service_workers="allow")
    page = go(visitor, "/")
    for path in PAGES:
        go(visitor, path).close()
    assert_static(page)
    service.stop()
    page.reload()
    assert_honest(page)
    for path in PAGES[1:]:
        assert_honest(visitor.go(path))
    assert_static(page)


def test_the_next_version_is_shown_at_once_and_the_last_one_is_no_longer_kept(
    visit: Callable[..., Visitor], service: Service, tmp_path: Path
) -> None:
    page = go(visit(**PHONE, service_workers="allow"), "/")
    before = digest_of(page)
    service.stop()
    page.reload()
    assert_honest(page)
    with running(service.folder, CONFIG, with_other_scripts(tmp_path / "next"), PIAPI_PORT=str(service.port)):
        page.get_by_role("link", name="Try again").tap()
        expect(page.locator("html")).to_have_attribute("data-version", "next")
        expect(page.locator('[data-door="garage"] .door-state')).to_have_text("Closed")
        assert digest_of(page) != before
        only = "async (name) => String(await caches.keys()) === name"
        page.wait_for_function(only, arg=f"piapi-{digest_of(page)}")
        page.reload()
        expect(page.locator("html")).to_have_attribute("data-version", "next")
        assert_static(page)


def assert_static(page: Page) -> None:
    """Nothing is kept but static files of this version and the page that says that nothing is known."""
    kept = page.evaluate(KEPT)
    digest = next(re.findall(r"/static/(\w+)/", path)[0] for _, path, _ in kept if path.startswith("/static/"))
    assert {name for name, _, _ in kept} == {f"piapi-{digest}"}
    texts = {path: text for _, path, text in kept}
    assert {path for path in texts if not path.startswith(f"/static/{digest}/")} == {"/offline"}
    assert {"home.js", "api.js", "piapi.css", "bootstrap.css"} <= {path.rpartition("/")[2] for path in texts}
    assert re.search('data-csrf-token="" data-scopes="" data-who=""', texts["/offline"])
    assert not [path for path, text in texts.items() if NAME in text.split() or text.startswith("{")]


def assert_honest(page: Page) -> None:
    expect(page.get_by_role("heading", name="piapi cannot be reached")).to_be_visible()
    expect(page.locator("body")).to_contain_text("Nothing is known about doors, cameras and time-lapses now.")
    expect(page.locator("[data-door], [data-state], .tile, img:not([alt=''])")).to_have_count(0)
    assert page.locator("main img").evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    assert page.get_by_role("link", name="Try again").evaluate("link => link.offsetHeight") >= 44  # with its style
