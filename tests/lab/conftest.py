"""What the scenarios share: a guest on which piapi was installed, as README tells an owner to."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import secrets
import shlex
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.lab.guest import Guest, booted, pause_after
from tests.lab.image import HERE, image
from tests.lab.writes import LoggedDisk
from tests.service import Answer, exchange

DATA_MOUNT = "/var/lib/piapi"
LINES = "/sys/devices/platform/gpio-sim.0/gpiochip0"
INSTALL = "PIP_NO_INDEX=1 PIP_FIND_LINKS=/mnt/wheels /mnt/piapi/systemd/install.sh"
SETTINGS = (HERE / "piapi.toml").read_text()
PICTURES = """
import os
from PIL import Image
os.makedirs("/srv/yard", exist_ok=True)
for number in range(20):
    Image.effect_noise((320, 240), 80).save(f"/srv/yard/{number:02}.jpg")
"""
"""What the camera `yard` shows."""

FOUND = """
import json, sys, urllib.request
asked = urllib.request.Request("http://127.0.0.1:8000/api/v1/cameras")
asked.add_header("Authorization", f"Bearer {sys.argv[1]}")
print(*(camera["id"] for camera in json.load(urllib.request.urlopen(asked))["items"]))
"""
"""The cameras of one that answers the machine alone, as a new one does."""

PATIENCE_S = 90.0
"""The guest is some twelve times slower than a Pi, and its host may be busy."""

TIMEOUT_S = 1800


def eventually(condition: Callable[[], Any], what: str, seconds: float = PATIENCE_S) -> Any:
    """What `condition` answers, once that is true."""
    began = time.monotonic()
    while not (found := condition()):
        waited_s = time.monotonic() - began
        assert waited_s < seconds, f"not within {seconds:.0f} s: {what}"
        pause_after(waited_s)
    return found


class Pi:
    """The guest as its owner has it: piapi over HTTP, and its lines as the kernel sees them."""

    def __init__(self, guest: Guest, disk: LoggedDisk) -> None:
        self.guest, self.disk, self.token = guest, disk, ""
        self.found: list[str] = []
        """The cameras that piapi had when it was new, with settings that it had made for itself."""
        self._port = guest.port()

    def connect(self) -> http.client.HTTPConnection:
        """A connection of one's own."""
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One request on a connection of its own. A path may come without /api/v1."""
        with contextlib.closing(self.connect()) as connection:
            where = path if path.startswith("/") else f"/api/v1/{path}"
            return exchange(connection, method, where, self.token, body, **headers)

    def ask(self, method: str, path: str, body: Any = None, *, expected: int = 200) -> Any:
        """The JSON of an answer that has to have the expected status. A POST has a key of its own."""
        keys = {"Idempotency-Key": secrets.token_hex(8)} if method == "POST" else {}
        status, _, said = self.call(method, path, body, **keys)
        assert status == expected, said
        return json.loads(said) if said else None

    def get(self, path: str) -> Any:
        return self.ask("GET", path)

    def answers(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.call("GET", "health/ready")[0] == 200
        return False

    def level(self, line: int) -> bool:
        """A line as gpio-sim has it, which is not piapi."""
        return self.guest.run(f"cat {LINES}/sim_gpio{line}/value").strip() == "1"

    def drive(self, line: int, level: bool) -> None:
        """A line from outside: what is wired to it pulls it up or down."""
        self.guest.run(f"echo pull-{'up' if level else 'down'} >{LINES}/sim_gpio{line}/pull")

    def configure(self, settings: str) -> None:
        """Give it other settings, and start it with them."""
        self.guest.write("/etc/piapi/piapi.toml", settings)
        self.guest.run("systemctl restart piapi", timeout_s=300)

    def log(self) -> str:
        return self.guest.run("journalctl --unit piapi --unit piapi-guard --output cat --no-pager | tail -n 60")

    def main(self) -> int:
        """The process of gunicorn's master."""
        return int(self.guest.run("systemctl show --property MainPID --value piapi"))

    def worker(self) -> int:
        """Its child that serves; 0 while there is none."""
        main = "$(systemctl show --property MainPID --value piapi)"
        children = self.guest.run(f"main={main}; cat /proc/$main/task/$main/children 2>/dev/null || true").split()
        return int(children[-1]) if children else 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.timeout(TIMEOUT_S))


@pytest.fixture(scope="session")
def is_smoke(pytestconfig: pytest.Config) -> bool:
    """Whether there is time for a few of a kind alone."""
    return str(pytestconfig.getoption("markexpr")) == "smoke"


@pytest.fixture(scope="session")
def pi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pi]:
    """One guest for all scenarios that leave it as they found it. What piapi prints stands under a test that failed."""
    folder = tmp_path_factory.mktemp("guest")
    with booted(image(), folder) as guest:
        disk = LoggedDisk(folder)
        disk.plug_into(guest)
        guest.run(
            f"echo '/dev/sda {DATA_MOUNT} ext4 noatime 0 2' >>/etc/fstab; mkdir -p {DATA_MOUNT}; mount {DATA_MOUNT}"
        )
        guest.run(f"python3 -c {shlex.quote(PICTURES)}")
        print(guest.run(INSTALL, timeout_s=900))  # noqa: T201
        pi = Pi(guest, disk)
        said = guest.run("piapi tokens create --name lab --role admin")
        pi.token = re.search(r"piapi_\S+", said)[0]  # type: ignore[index]
        pi.found = guest.run(f"python3 -c {shlex.quote(FOUND)} {pi.token}").split()
        guest.write("/etc/piapi/piapi.toml", SETTINGS)
        guest.run("/mnt/piapi/systemd/install.sh --settings", timeout_s=300)
        yield pi


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    for name in {"pi", "pi3"} & getattr(item, "funcargs", {}).keys() if report.failed else ():
        with contextlib.suppress(Exception):
            report.sections.append(("the guest's console", item.funcargs[name].guest.console()[-3000:]))
            report.sections.append(("piapi in the guest", item.funcargs[name].log()))
    return report
