"""A real Chromium, Debian's, that tests drive as a hand would: a phone with a touch screen, or a desktop."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    Route,
    expect,
    sync_playwright,
)

from tests.network import Network
from tests.service import Service

PHONE: dict[str, Any] = {
    "viewport": {"width": 360, "height": 800},
    "device_scale_factor": 2,
    "has_touch": True,
    "is_mobile": True,
}
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}

NAME, PASSWORD = "anna", "correct horse battery"

PATIENCE_MS = 30_000
"""How long a page may take to show something, on a machine that is busy with other tests."""

_HARMLESS = ("net::ERR_", "Failed to load resource", "registration blocked by Playwright")
"""What is said of a connection that a test has cut, of an answer that a test asked for, or of `service_workers`."""


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The browser, without a window."""
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


class Visitor:
    """Somebody with a browser of their own: its pages, what it complained of, and where it went.

    Without service workers, as a browser at home has none either on plain HTTP, unless `service_workers="allow"` is
    among what describes the device: what one passes on may get around Playwright's routes.
    """

    def __init__(self, browser: Browser, at: Service | Network, **device: Any) -> None:
        self.origin = f"http://127.0.0.1:{at.port}"
        self.context: BrowserContext = browser.new_context(
            base_url=self.origin, **{"service_workers": "block", **(device or PHONE)}
        )
        self.complaints: list[str] = []
        self.requests: list[Request] = []
        self.context.on("console", self._note)
        self.context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        self.context.on("request", lambda request: self.requests.append(request))

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(harmless in message.text for harmless in _HARMLESS):
            self.complaints.append(message.text)

    def log_in(self, name: str = NAME, password: str = PASSWORD) -> None:
        """Put the cookie of a new session into the browser, without its pages."""
        answer = self.context.request.post("/api/v1/session", data={"username": name, "password": password})
        assert answer.status == 201, answer.text()

    def go(self, path: str = "/") -> Page:
        """A new page."""
        page = self.context.new_page()
        page.goto(path)
        return page

    def json(self, path: str) -> Any:
        """What the API answers this browser."""
        return self.context.request.get(path).json()

    def close(self) -> None:
        """Close the browser's pages. It must have had nothing to complain of."""
        self.context.close()
        assert self.complaints == [], self.complaints


def add_user(service: Service, name: str = NAME, password: str = PASSWORD, **rights: Any) -> None:
    """Somebody who can log in; an admin where no rights are given."""
    body = {"name": name, "password": password, **(rights or {"role": "admin"})}
    status, _, answer = service.call("POST", "/api/v1/users", service.token(), body)
    assert status == 201, answer


def note_texts(place: Locator) -> Callable[[], list[str]]:
    """Gives what it has shown since, also what was there for a moment alone."""
    texts = place.evaluate_handle("""(node) => {
        const texts = [];
        new MutationObserver(() => texts.push(node.textContent)).observe(node, { childList: true });
        return texts;
    }""")
    return lambda: list(texts.json_value())


def with_live(page: Page, statement: str) -> None:
    """Run a statement on the page's own connection, while it is still being fetched."""
    module = 'document.querySelector("meta[name=piapi]").dataset.static + "live.js"'
    page.evaluate(f"async () => {{ const {{ live }} = await import({module}); {statement} }}")


class Questions:
    """What a page asks of these paths of the API, from now on: answered by the test, when it says."""

    def __init__(self, page: Page, *paths: str) -> None:
        self.routes: list[Route] = []
        self._page = page
        for path in paths:
            page.route(f"**/api/v1/{path}", self._hold)

    def _hold(self, route: Route) -> None:
        self.routes.append(route)
        self._page.evaluate("(name) => document.body.classList.add(name)", f"asked-{len(self.routes)}")

    def come(self, count: int) -> None:
        """Wait until there are so many."""
        expect(self._page.locator(f"body.asked-{count}")).to_have_count(1)

    def after(self, event: str) -> int:
        """Let something happen on the page's connection after which it asks. Gives the number of the question."""
        number = len(self.routes)
        with_live(self._page, f"live.dispatchEvent({event});")
        self.come(number + 1)
        return number


def entry(type: str, subject: str = "") -> str:
    """An entry of the journal, as an event of the page's connection."""
    return f'new CustomEvent("entry", {{ detail: {{ type: "{type}", subject: "{subject}" }} }})'
