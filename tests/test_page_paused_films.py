"""Phones that have paused a film which is larger than all buffers on its way, while somebody comes home."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from playwright.sync_api import expect

from tests.browser import Visitor, add_user
from tests.service import Service, eventually, running
from tests.test_page_home import bring, commands, door_of, hold

CONFIG = """
[storage]
floor_bytes = 0

[cameras.snow]
backend = "av"
source = "{pictures}"

[gpio]
backend = "simulated"

[doors.garage]
relay = {{ gpio = "GPIO22" }}
closed_sensor = {{ gpio = "GPIO23" }}
open_sensor = {{ gpio = "GPIO24" }}
travel_s = 2
"""

PHONES = 8
LEAST_BYTES = 20_000_000
"""Of the film: the browser reads some 10 MB ahead, and the kernel keeps 4 MB for the sender (tcp_wmem)."""

# Nobody waits for it: the films are to be paused at the same time, as a browser hangs up after a quarter of a minute.
PLAY_AND_PAUSE = """(film) => {
  const video = Object.assign(document.createElement("video"), { src: film, muted: true });
  document.body.append(video);
  video.play().then(() => video.pause());
}"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("paused")
    (pictures := folder / "pictures").mkdir()
    draw_noise(pictures)
    with running(folder, CONFIG.format(pictures=pictures)) as service:
        add_user(service)
        add_user(service, "guest", scopes=["door:garage:view", "door:garage:open"])
        yield service


def draw_noise(folder: Path) -> None:
    """Pictures that no encoder makes small."""
    noise = np.random.default_rng(1)
    for number in range(8):
        pixels = noise.integers(0, 256, (720, 1280, 3), np.uint8)
        PIL.Image.fromarray(pixels).save(folder / f"{number}.jpg", quality=90)


def film_of(service: Service) -> str:
    """A finished film; its path."""
    token = service.token()
    plan = {"interval_s": 0.2, "count": 60, "video": {"fps": 0.2}}
    _, headers, _ = service.call("POST", "/api/v1/cameras/snow/timelapses", token, plan)

    def job() -> dict[str, Any]:
        return dict(json.loads(service.call("GET", headers["location"], token)[2]))

    eventually(lambda: job()["state"] == "finished", 60)
    assert job()["video"]["size_bytes"] >= LEAST_BYTES
    return str(job()["links"]["video"])


def stalled(service: Service) -> int:
    """Connections of the service with bytes that their clients have not taken (proc(5), /proc/net/tcp)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{service.port:04X}") and int(row[4].split(":")[0], 16) > 0 for row in rows)


def test_eight_paused_films_keep_no_door_waiting(visit: Callable[..., Visitor], service: Service) -> None:
    film = film_of(service)
    bring(service, "closed")
    phones = [visit().go("/login") for _ in range(PHONES)]
    visitor = visit("guest")  # without a live view, which keeps a busy machine's browser from all else
    home = visitor.go()
    button = door_of(home).get_by_role("button", name="Open")
    expect(button).to_be_enabled()
    for phone in phones:
        phone.evaluate(PLAY_AND_PAUSE, film)
    eventually(lambda: stalled(service) >= PHONES)

    def is_commanded() -> bool:
        if button.is_enabled():  # on a busy machine the page may think for a moment that piapi is lost, and let go
            hold(home, button)
        return bool(commands(visitor))

    with home.expect_response("**/doors/garage/target") as answered:
        eventually(is_commanded)
    assert answered.value.status == 202
    assert stalled(service) >= PHONES
    expect(door_of(home).locator(".door-state")).to_have_text("Open")
