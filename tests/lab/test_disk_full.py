"""Somebody else fills the data disk, below piapi's floor and then to the last block, and gives the space back."""

from __future__ import annotations

import contextlib
import hashlib
import shlex
from collections.abc import Iterator
from typing import Any

from tests.lab.conftest import DATA_MOUNT, Pi, eventually
from tests.lab.lapses import Lapse, lapse

PORCH = 17
FLOOR_MB = 20
HOG = f"{DATA_MOUNT}/hog"
FREE = f"stat --file-system --format='%a %S' {DATA_MOUNT}"
"""Blocks that piapi may still write, and their size."""

TO_THE_LAST_BLOCK = f"for size in 1M 4k 1k; do dd if=/dev/zero bs=$size >>{HOG} 2>/dev/null; done; sync -f {HOG}"
"""As root, who may take the blocks that the file system reserves, too."""


INTEGRITY = f"""
import sqlite3
database = sqlite3.connect("file:{DATA_MOUNT}/piapi.db?mode=ro", uri=True)
print(*database.execute("PRAGMA integrity_check").fetchone())
"""


def free_bytes(pi: Pi) -> int:
    blocks, size = pi.guest.run(FREE).split()
    return int(blocks) * int(size)


@contextlib.contextmanager
def space_taken(pi: Pi, leave_mb: int) -> Iterator[None]:
    """By a file that is not piapi's."""
    pi.guest.run(f"fallocate --length {free_bytes(pi) - leave_mb * 1_000_000} {HOG}")
    try:
        yield
    finally:
        pi.guest.run(f"rm -f {HOG}; sync -f {DATA_MOUNT}")


def assert_what_needs_no_space_works(pi: Pi, photo: Any, running: Lapse) -> None:
    status, _, said = pi.call("POST", "cameras/webcam/photos", {})
    assert status == 507, said
    assert b"insufficient-storage" in said
    status, _, picture = pi.call("GET", photo["links"]["file"])
    assert (status, hashlib.sha256(picture).hexdigest()) == (200, photo["sha256"])
    assert pi.call("GET", photo["links"]["thumbnail"])[0] == 200
    status, _, film = pi.call("GET", running.links["video"])
    assert (status, film[4:8]) == (200, b"ftyp")


def switch(pi: Pi, value: bool) -> None:
    assert pi.ask("PUT", "pins/porch/value", {"value": value})["value"] is value
    assert pi.level(PORCH) is value


def assert_sound(pi: Pi) -> None:
    assert pi.guest.run(f"python3 -c {shlex.quote(INTEGRITY)}").strip() == "ok"


def test_a_full_disk_refuses_what_needs_space_and_goes_on_by_itself(pi: Pi) -> None:
    photo = pi.ask("POST", "cameras/webcam/photos", {}, expected=201)
    main, worker = pi.main(), pi.worker()
    with lapse(pi, "webcam", interval_s=3, count=500) as running:
        running.wait_for_frames(3)
        with space_taken(pi, FLOOR_MB - 1):
            assert "floor" in running.wait_for_state("paused")["state_reason"]
            assert_what_needs_no_space_works(pi, photo, running)
            switch(pi, False)
            switch(pi, True)
            pi.guest.run(TO_THE_LAST_BLOCK)
            assert free_bytes(pi) == 0
            assert_what_needs_no_space_works(pi, photo, running)
            switch(pi, False)
            pi.ask("DELETE", photo["links"]["self"], expected=204)
            assert_sound(pi)
        running.wait_for_state("running")
        running.wait_for_frames(2)
        ledger = running.ledger()
        causes = [row["cause"] for row in ledger if row["status"] == "missed"]
        print(f"{len(causes)} of {len(ledger)} ticks missed, {causes.count('storage')} of them for want of space")  # noqa: T201
        assert "storage" in causes
        pi.ask("POST", "cameras/webcam/photos", {}, expected=201)
    assert (pi.main(), pi.worker()) == (main, worker)
    assert_sound(pi)
    told = [entry["type"] for entry in pi.get("events?subject=system:storage")["items"]]
    assert told[:2] == ["storage.ok", "storage.low"]


def test_a_service_that_starts_on_a_full_disk_switches_and_shows(pi: Pi) -> None:
    """Whoever cannot get in restarts the Pi. What only root may use of the disk is left."""
    photo = pi.ask("POST", "cameras/webcam/photos", {}, expected=201)
    with space_taken(pi, 0):
        pi.guest.run("systemctl restart piapi")
        for value in (True, False):
            switch(pi, value)
        assert pi.call("GET", photo["links"]["file"])[0] == 200
        pi.ask("DELETE", photo["links"]["self"], expected=204)
        assert_sound(pi)


def test_a_service_that_starts_where_root_has_filled_the_disk_switches_and_shows(pi: Pi) -> None:
    """As a log does that grows: it has the blocks, too, that the file system keeps for root."""
    photo, other = (pi.ask("POST", "cameras/webcam/photos", {}, expected=201) for _ in range(2))
    with space_taken(pi, 0):
        pi.guest.run(f"{TO_THE_LAST_BLOCK}; systemctl restart piapi")
        main = pi.main()
        assert "is not shared until the next start" in pi.guest.run("journalctl -b -u piapi | tail -20")
        for value in (True, False):
            switch(pi, value)
        assert pi.call("POST", "cameras/webcam/photos", {})[0] == 507
        assert pi.call("GET", photo["links"]["file"])[0] == 200
        pi.ask("DELETE", photo["links"]["self"], expected=204)
    eventually(lambda: pi.call("POST", "cameras/webcam/photos", {})[0] == 201, "there is room")
    assert pi.main() == main
    pi.guest.run("systemctl restart piapi")
    assert_sound(pi)
    assert (pi.call("GET", photo["links"]["self"])[0], pi.call("GET", other["links"]["self"])[0]) == (404, 200)
