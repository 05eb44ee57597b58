"""Pictures of every page, as phones and desktops show them: `make screenshots` (python -m tests.screenshots FOLDER)."""

from __future__ import annotations

import itertools
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page

from tests.browser import DESKTOP, PHONE, Visitor, add_user, chromium
from tests.service import Service, eventually, running

PAGES = {
    "home": "/",
    "photos": "/photos",
    "timelapses": "/timelapses",
    "history": "/history",
    "system": "/system",
    "login": "/login",
    "pair": "/pair",
    "offline": "/offline",
    "problem": "/problems/locked",
}
DEVICES = {"phone": PHONE, "desktop": DESKTOP}


def take_all(folder: Path) -> None:
    """Every page at 360×800 and 1280×800, light and dark, of a demonstration in which something has happened."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as data, chromium() as browser, running(Path(data)) as service:
        add_user(service)
        pages = PAGES | {"timelapse": _live_a_little(service)}
        for (device, size), look in itertools.product(DEVICES.items(), ("light", "dark")):
            visitor = Visitor(browser, service, **size, color_scheme=look)
            visitor.log_in()
            for name, path in pages.items():
                page = visitor.go(path)
                _wait_until_drawn(page)
                page.screenshot(path=folder / f"{name}-{device}-{look}.png")
                page.close()
            visitor.close()


def _live_a_little(service: Service) -> str:
    """Some photos, a time-lapse and a door that has moved. Gives the path of the time-lapse's page."""
    token = service.token()
    for label in ("seedlings", "seedlings", "", "first flower", "", ""):
        service.call("POST", "/api/v1/cameras/demo/photos", token, {"label": label} if label else None)
    wanted = {"name": "Tomatoes", "interval_s": 0.2, "count": 60}
    _, headers, _ = service.call("POST", "/api/v1/cameras/demo/timelapses", token, wanted)
    job = headers["location"]
    operation = _open_the_door(service, token)
    for path, state in ((job, b'"finished"'), (operation, b'"succeeded"')):
        eventually(lambda path=path, state=state: state in service.call("GET", path, token)[2], 60)  # type: ignore[misc]
    return "/timelapses/" + job.rsplit("/", 1)[1]


def _open_the_door(service: Service, token: str) -> str:
    """As soon as it takes a command: its sensors have to have been steady for a while after a start."""
    taken: list[str] = []

    def is_taken() -> bool:
        status, headers, said = service.call("PUT", "/api/v1/doors/garage/target", token, {"target": "open"})
        assert status in (202, 503), said
        taken.extend([headers["location"]] if status == 202 else [])
        return bool(taken)

    eventually(is_taken, 60)
    return taken[0]


def _wait_until_drawn(page: Page) -> None:
    page.wait_for_load_state("load")
    if page.locator("html[data-connection]").count() or page.locator("nav.tabs").count():
        page.wait_for_selector('html[data-connection="live"]')
    page.wait_for_function("() => [...document.images].every((image) => image.complete || image.loading === 'lazy')")
    page.wait_for_timeout(700)  # for what is fetched then


if __name__ == "__main__":
    take_all(Path(sys.argv[1]))
