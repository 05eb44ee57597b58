"""A Raspberry Pi 3 for QEMU's own board of it: Debian's kernel with the Pi's real pin controller, and a userland that
starts from memory. Kept in a cache, without piapi.

    python -m tests.lab.raspi [--fresh]

Nothing of the guest's runs while it is built: packages and wheels for arm64 are unpacked. The kernel is trixie's; the
userland is bookworm's, whose Python is the last for which there is a wheel of lgpio.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.lab.image import MIRROR, dependencies, kept, main, need, sh

TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "cpio": "cpio",
    "fdtput": "device-tree-compiler",
    "qemu-system-aarch64": "qemu-system-arm",
    "qemu-img": "qemu-utils",
    "python3.11": "python3.11",
}
KERNEL_SUITE, KERNEL = "trixie", "linux-image-arm64"
SUITE, USERLAND = "bookworm", "python3,busybox,qemu-guest-agent"
SITE = "usr/local/lib/python3.11/dist-packages"
PINS = ("gpiozero>=2.0.1.post3,<3", "lgpio==0.2.2.0")
CAMERAS = ("av", "numpy", "simplejpeg")
"""What piapi imports for cameras alone, and there are none."""

BOARD = "bcm2837-rpi-3-b.dtb"
REVISION = "a02082"
"""Of a Pi 3B: the firmware tells the kernel, and gpiozero asks for it."""

DROPPED = (
    "usr/share/*",
    "usr/lib/*/perl*",
    "usr/lib/*/libperl*",
    "usr/lib/*/gconv",
    "usr/bin/perl*",
    "var/lib/*",
    "boot",
)
PASSWD = "root:x:0:0::/root:/bin/sh\npiapi:x:900:900::/var/lib/piapi:/bin/sh\n"
GROUP = "root:x:0:\npiapi:x:900:\ngpio:x:901:piapi\n"


def recipe() -> str:
    """A digest of all that decides what the image holds."""
    return hashlib.sha256("\n".join(dependencies()).encode() + Path(__file__).read_bytes()).hexdigest()


def unpack(suite: str, packages: str, folder: Path) -> None:
    kind = ("--variant=extract", "--architectures=arm64", "--format=directory")
    sh("mmdebstrap", *kind, f"--include={packages}", suite, folder, MIRROR)


def archive(folder: Path, file: Path) -> None:
    """A folder as the kernel unpacks it into its memory. Several of these may follow each other."""
    names = "\n".join(str(path.relative_to(folder)) for path in sorted(folder.rglob("*")))
    pack = ["cpio", "--quiet", "--create", "--format=newc", "--owner=0:0"]
    with file.open("wb") as output:
        subprocess.run(pack, cwd=folder, input=names.encode(), stdout=output, check=True)


def compile_python(folder: Path, *names: str) -> None:
    """Byte code of the guest's Python, which would need minutes for that at each start."""
    kind = ("-q", "--invalidation-mode", "unchecked-hash", "-s", folder, "-p", "/")
    sh("python3.11", "-m", "compileall", *kind, *(folder / name for name in names))


def take_kernel(scratch: Path, folder: Path) -> None:
    unpack(KERNEL_SUITE, KERNEL, scratch / "kernel")
    shutil.copy(next(scratch.glob("kernel/boot/vmlinuz-*")), folder / "vmlinuz")
    board = folder / "board.dtb"
    shutil.copy(next(scratch.glob(f"kernel/usr/lib/linux-image-*/broadcom/{BOARD}")), board)
    sh("fdtput", "-p", "-t", "x", board, "/system", "linux,revision", REVISION)


def make_userland(userland: Path) -> None:
    unpack(SUITE, USERLAND, userland)
    for pattern in DROPPED:
        for path in userland.glob(pattern):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    wheels = ("--only-binary=:all:", "--python-version=3.11", "--implementation=cp")
    platforms = [f"--platform=manylinux{glibc}_aarch64" for glibc in ("2014", "_2_28", "_2_34")]
    install = (sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", f"--target={userland / SITE}")
    sh(*install, *wheels, *platforms, *dependencies(), *PINS)
    for name in CAMERAS:
        for path in (userland / SITE).glob(f"{name}*"):
            shutil.rmtree(path)
    compile_python(userland, "usr/lib/python3.11", SITE)
    (userland / "etc/passwd").write_text(PASSWD)
    (userland / "etc/group").write_text(GROUP)


def build(folder: Path) -> None:
    """Fills `folder` with kernel, device tree and userland.

    Raises:
        LabError: with the end of what the program printed that failed
    """
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        take_kernel(Path(scratch), folder)
        make_userland(Path(scratch, "userland"))
        archive(Path(scratch, "userland"), folder / "userland.cpio")


def image(*, fresh: bool = False) -> Path:
    """The folder of the Pi 3."""
    need(TOOLS)
    return kept("raspi3b", recipe(), build, fresh=fresh)


if __name__ == "__main__":
    main(image)
