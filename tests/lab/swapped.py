"""Another data disk in the guest, and another boot for piapi, as if it had been switched off and on again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.lab.conftest import DATA_MOUNT, Pi, eventually

START_S, STOP_S = 300, 180
DROP_IN = "/run/systemd/system/piapi.service.d/boot.conf"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
BOOT = f"[Service]\nBindReadOnlyPaths=/run/boot_id:{BOOT_ID}\n"
"""The kernel's own stays as it is for as long as the guest runs."""


@contextlib.contextmanager
def other_boots(pi: Pi) -> Iterator[None]:
    """piapi, stopped, may be told of another boot at each start. At the end it runs on its own disk in the real one."""
    pi.guest.run("systemctl stop piapi piapi-guard", timeout_s=STOP_S)
    pi.guest.write(DROP_IN, BOOT)
    pi.guest.run("systemctl daemon-reload")
    try:
        yield
    finally:
        pi.guest.run(f"rm {DROP_IN}; systemctl daemon-reload; systemctl start piapi", timeout_s=START_S)


@contextlib.contextmanager
def started_on(pi: Pi, disk: Path) -> Iterator[None]:
    """piapi runs, for the first time in its boot, on this disk, which the guest's own kernel has mounted."""
    guest = pi.guest
    guest.run(f"umount {DATA_MOUNT}")
    guest.monitor.call(
        "blockdev-add",
        **{"driver": "raw", "node-name": "cut"},
        file={"driver": "file", "filename": str(disk), "cache": {"no-flush": True}},
    )
    guest.monitor.call("device_add", driver="scsi-hd", drive="cut", bus="scsi.0", id="cut")
    try:
        eventually(lambda: "there" in guest.run("test -b /dev/sdb && echo there || true"), "the disk is plugged in")
        guest.run(f"mount -o noatime /dev/sdb {DATA_MOUNT} && cat /proc/sys/kernel/random/uuid >/run/boot_id")
        try:
            guest.run("systemctl start piapi", timeout_s=START_S)
            yield
        finally:
            guest.run(f"systemctl stop piapi piapi-guard; umount {DATA_MOUNT}", timeout_s=STOP_S)
    finally:
        guest.monitor.call("device_del", id="cut")
        eventually(lambda: "gone" in guest.run("test -e /dev/sdb || echo gone"), "the disk is unplugged")
        guest.monitor.call("blockdev-del", **{"node-name": "cut"})
        guest.run(f"mount -o noatime /dev/sda {DATA_MOUNT}")
