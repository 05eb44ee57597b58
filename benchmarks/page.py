"""The page in a real browser: from a finger to the relay, and from a door's sensor to the eye."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import statistics
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.lab import Lab
from benchmarks.load import Caller, spread
from benchmarks.processes import Failed, Missing, free_port
from benchmarks.servers import Server
from benchmarks.switching import piapi_with_pins, request_of
from benchmarks.table import Row, within

DOOR = """
[doors.gate]
relay = { gpio = "GPIO22" }
closed_sensor = { gpio = "GPIO23" }
travel_s = 1
press_s = 0.2
min_gap_s = 0.2
"""
SENSOR = 23
HOLD_MS = 800
PATIENCE_MS = 15_000

_ROOT = Path(__file__).parent.parent

# Notes the moment, in ms since 1970, at which the door's card shows another state, and at which a finger went down.
_WATCH = """() => {
  const door = document.querySelector('[data-door="gate"]'), now = () => performance.timeOrigin + performance.now();
  window.seen = []; window.downs = [];
  new MutationObserver(() => window.seen.push([door.dataset.state, now()]))
    .observe(door, {attributes: true, attributeFilter: ["data-state"]});
  door.addEventListener("pointerdown", () => window.downs.push(now()), true);
}"""


def measure(lab: Lab) -> list[Row]:
    """All figures, in Debian's Chromium on this machine."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise Missing("pip install playwright") from None
    chromium = shutil.which("chromium")
    if chromium is None:
        raise Missing("apt install chromium")
    port, folder = free_port(), lab.new_folder("page")
    command = [sys.executable, "-m", "gunicorn", "--config", str(_ROOT / "gunicorn.conf.py"), "benchmarks.wired:app"]
    with (
        piapi_with_pins(folder, DOOR, command, environment={"WIRED_PORT": str(port)}) as server,
        sync_playwright() as playwright,
        contextlib.closing(playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])) as browser,
    ):
        page, first_load = _page_of(browser, server)
        edges = list(_to_the_eye_ms(page, port, int(lab.take(30, 5))))
        taps = list(_to_the_relay_ms(page, server, int(lab.take(15, 3))))
    target = "≤ 150 ms"
    return [
        first_load,
        Row("page: tap → press of the relay, without the 0.8 s of holding: p50", f"{spread(taps)} of {len(taps)} taps"),
        Row(
            "page: edge of a door's sensor → the new state on the page: p50",
            f"{spread(edges)} of {len(edges)} edges",
            target=target,
            met=within(statistics.median(edges), target),
        ),
    ]


def _page_of(browser: Any, server: Server) -> tuple[Any, Row]:
    """The first page, in step with piapi, and what loading it for the first time has taken."""
    context = browser.new_context(base_url=f"http://127.0.0.1:{server.port}", viewport={"width": 360, "height": 800})
    made = context.request.post("/api/v1/session", data={"username": "token", "password": server.token})
    if made.status != 201:
        raise Failed(f"no session: {made.text()}")
    page = context.new_page()
    wire = context.new_cdp_session(page)
    wire.send("Network.enable")
    sizes: list[float] = []
    asked: list[str] = []
    wire.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    wire.on("Network.requestWillBeSent", lambda event: asked.append(event["request"]["url"]))
    page.goto("/")
    page.wait_for_selector('[data-door="gate"]:not([data-look="lost"])')
    page.evaluate(_WATCH)
    wire.detach()
    return page, _first_load_of(sum(sizes) / 1000, [url for url in asked if not url.startswith("data:")])


def _first_load_of(kilobytes: float, urls: list[str]) -> Row:
    hosts = len({url.split("/")[2] for url in urls})
    target = "≤ 150 kB"
    return Row(
        "page: first load, nothing kept yet, until the door is live: over the wire",
        f"{kilobytes:.0f} kB in {len(urls)} requests to {hosts} host{'s' if hosts > 1 else ''}",
        target=target,
        met=within(kilobytes, target) and hosts == 1,
    )


def _to_the_eye_ms(page: Any, port: int, count: int) -> Iterator[float]:
    """The sensor lets go of a closed door, and later holds it again."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as driver:
        driver.connect(("127.0.0.1", port))
        driver.settimeout(5)
        for _ in range(count):
            edge_ms = _drive(driver, level=0)
            yield _first_sight_ms(page, "state !== 'closed'") - edge_ms
            _drive(driver, level=1)
            _first_sight_ms(page, "state === 'closed'")


def _drive(driver: socket.socket, level: int) -> float:
    """Gives when, in ms since 1970."""
    driver.send(b"%d %d" % (SENSOR, level))
    boot_ns = int(driver.recv(64))
    return (boot_ns + time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)) / 1e6


def _first_sight_ms(page: Any, what: str) -> float:
    """When the page has first shown this since the last look."""
    find = f"() => window.seen.find(([state]) => {what})?.[1]"
    seen = page.wait_for_function(find, timeout=PATIENCE_MS).json_value()
    page.evaluate("() => { window.seen = []; }")
    return float(seen)


def _to_the_relay_ms(page: Any, server: Server, count: int) -> Iterator[float]:
    """When the operation says that it pressed, after the hold was long enough."""
    for number in range(count):
        button = page.get_by_role("button", name="Close" if number % 2 else "Open")
        button.wait_for(timeout=PATIENCE_MS)
        page.wait_for_function("button => !button.disabled", arg=button.element_handle(), timeout=PATIENCE_MS)
        button.hover()
        with page.expect_response("**/target"):
            page.mouse.down()
        page.mouse.up()
        yield _pressed_ms(server) - page.evaluate("() => window.downs.at(-1)") - HOLD_MS


def _pressed_ms(server: Server) -> float:
    with contextlib.closing(Caller(server)) as caller:
        while True:
            door = json.loads(caller.exchange(request_of(server, "GET", "/api/v1/doors/gate", None)))
            found = json.loads(caller.exchange(request_of(server, "GET", door["links"]["operation"], None)))
            if found["pressed_at"]:
                return datetime.fromisoformat(found["pressed_at"]).timestamp() * 1000
