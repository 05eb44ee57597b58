"""The data folder: whether it can be written, how fast it syncs, how much is free."""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from piapi.clock import Clock
from piapi.errors import PiApiError
from piapi.selftest.results import Result, failed, ok, skipped
from piapi.selftest.site import Site
from piapi.storage.files import write_durably
from piapi.storage.marker import require_disk

WRITES = 20
WRITE_BYTES = 4096

#: A door is not pressed when its intent took longer to write down (docs/safety.md).
SLOWEST_S = 3.0
#: Seconds in the middle of all writes from which on a card is worn out, or no card for a Pi.
SLOW_S = 0.5

NEW_CARD = "the card is slow or worn: another one (class A1 or A2), or an SSD"

Write = Callable[[Path, bytes, Path], None]


def disk(site: Site) -> Iterator[Result]:
    """The data folder's disk. What is written is removed again."""
    if site.settings is None:
        yield skipped("data folder", "it is not known, as the configuration is not sound")
        return
    storage = site.settings.storage
    try:
        require_disk(storage.path, storage.on_own_disk)
    except (PiApiError, OSError) as error:
        yield failed("data folder", str(error), "mount its disk; and use `sudo piapi selftest`")
        return
    if not storage.path.is_dir():
        yield failed("data folder", f"{storage.path} is not there", "start piapi once: it makes it")
        return
    if os.statvfs(storage.path).f_flag & os.ST_RDONLY:
        yield read_only(storage.path)
        return
    yield space(storage.path, shutil.disk_usage(storage.path).free, storage.floor_bytes)
    with site.as_owner_of(storage.path):
        speed = sync_speed(storage.path, site.clock)
    yield speed


def read_only(folder: Path) -> Result:
    """The result for a disk that takes nothing."""
    return failed(
        "data folder",
        f"{folder} is on a disk that is read-only",
        "`dmesg` tells whether the kernel made it so after errors: then save what is on it, and take a new card",
    )


def space(folder: Path, free_bytes: int, floor_bytes: int) -> Result:
    """What is free above the floor."""
    free = f"{free_bytes / 1e9:.1f} GB free on the disk of {folder}, {floor_bytes / 1e9:.1f} GB of it are the floor"
    if free_bytes < floor_bytes:
        return failed(
            "free space",
            f"{free}: no photo is kept",
            "remove photos and time-lapses, or lower floor_bytes in [storage]",
        )
    return ok("free space", free)


def sync_speed(folder: Path, clock: Clock, write: Write = write_durably) -> Result:
    """How long it takes until a few bytes are on the disk: file, fsync, rename, fsync of the folder, as for a photo."""
    try:
        times = sorted(_times(folder, clock, write))
    except (PiApiError, OSError) as error:
        return failed(
            "sync to disk",
            f"nothing can be written in {folder}: {error}",
            "`sudo piapi selftest`; and the folder has to belong to piapi's user",
        )
    middle, worst = statistics.median(times), times[-1]
    found = f"median {middle * 1000:.1f} ms, worst {worst * 1000:.1f} ms of {len(times)} writes of {WRITE_BYTES} bytes"
    if worst >= SLOWEST_S:
        return failed("sync to disk", f"{found}: a door is not pressed after {SLOWEST_S:g} s", NEW_CARD)
    return failed("sync to disk", found, NEW_CARD) if middle >= SLOW_S else ok("sync to disk", found)


def _times(folder: Path, clock: Clock, write: Write) -> Iterator[float]:
    data = os.urandom(WRITE_BYTES)
    with tempfile.TemporaryDirectory(prefix=".selftest-", dir=folder) as made:
        for number in range(WRITES):
            began = clock.monotonic()
            write(Path(made, str(number)), data, Path(made))
            yield clock.monotonic() - began
