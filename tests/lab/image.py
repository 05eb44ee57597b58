"""The guest's disk: Debian trixie with the lines and cameras of a Pi, from Debian's packages, kept in a cache.

    python -m tests.lab.image [--fresh]

Stock kernels lack gpio-sim and vimc: both are built from Debian's own source of that kernel. Wheels for the guest's
Python are made with the guest's compiler. Needs root, for the chroots, and a few minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "piapi-lab"
SUITE, MIRROR = "trixie", "http://deb.debian.org/debian"
SITE = "usr/local/lib/python3.13/dist-packages"
TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
}
GUEST = (
    "linux-image-amd64 systemd systemd-sysv dbus udev kmod iproute2 e2fsprogs qemu-guest-agent ca-certificates strace "
    "python3-venv python3-numpy python3-pil python3-libcamera python3-prctl libcamera-ipa"
)
BUILDER = "linux-headers-amd64 linux-source gcc make xz-utils swig python3-dev python3-pip ca-certificates"
# What Raspberry Pi OS has from apt, and Debian not or older. What else picamera2 asks for nobody imports here.
FROM_PYPI = (
    *("gpiozero>=2.0.1.post3,<3", "colorzero>=2,<3", "lgpio==0.2.2.0", "picamera2==0.3.38", "PiDNG==4.0.9"),
    *("av>=14,<19", "simplejpeg>=1.6.6,<2", "libarchive-c", "piexif", "videodev2", "jsonschema", "tqdm"),
)
DISK_SIZE = "4G"


class LabError(Exception):
    """The lab cannot be built or run here; the text says what to do."""


def need(tools: Mapping[str, str]) -> None:
    """Raise LabError where a tool is missing (its name → its package), or root's rights."""
    missing = sorted({package for tool, package in tools.items() if shutil.which(tool) is None})
    if missing:
        raise LabError(f"the lab needs more of Debian: apt install {' '.join(missing)}")
    if os.geteuid() != 0:
        raise LabError("the lab's images are made with the owners that files have: that needs root")


def sh(*command: str | Path) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(map(str, command))} failed:\n{done.stdout[-4000:]}")


def dependencies() -> list[str]:
    return list(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])


def recipe() -> str:
    """A digest of all that decides what the image holds."""
    qemu = subprocess.run(("qemu-system-x86_64", "--version"), capture_output=True, check=True).stdout
    digest = hashlib.sha256("\n".join(dependencies()).encode() + qemu)  # whose snapshots other versions may not know
    for path in sorted([HERE / "image.py", HERE / "modules.mk", *(HERE / "overlay").rglob("*")]):
        if path.is_file() and path.suffix != ".pyc":
            digest.update(f"{path.relative_to(HERE)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def bootstrap(folder: Path, packages: str) -> None:
    sh(
        "mmdebstrap",
        "--variant=minbase",
        "--format=directory",
        "--dpkgopt=force-unsafe-io",
        f"--include={packages}",
        SUITE,
        folder,
        MIRROR,
    )
    folder.chmod(0o755)


def make_wheels(builder: Path, wheels: Path) -> None:
    """Wheels of piapi's own needs, for install.sh, and a folder of what picamera2 and gpiozero need beside Debian's."""
    for name in ("/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt"):
        shutil.copy(name, builder / name[1:])
    pip = ("chroot", builder, "env", "PYPI=1", "python3", "-m", "pip")
    sh(*pip, "wheel", "--quiet", "--wheel-dir=/build/wheels", *dependencies())
    sh(*pip, "install", "--quiet", "--target=/build/site", "--no-deps", *FROM_PYPI)
    shutil.copytree(builder / "build/wheels", wheels)


def make_modules(builder: Path, guest: Path) -> None:
    version = next((guest / "lib/modules").iterdir()).name
    shutil.copy(HERE / "modules.mk", builder / "build/Makefile")
    sh("chroot", builder, "make", "-C", "/build", f"VERSION={version}")
    extra = guest / "lib/modules" / version / "extra"
    extra.mkdir()
    for module in (builder / "build").glob("*/*.ko"):
        shutil.copy(module, extra)
    sh("chroot", guest, "depmod", version)


def furnish(guest: Path, builder: Path) -> None:
    """Our files over Debian's."""
    shutil.copytree(builder / "build/site", guest / SITE, dirs_exist_ok=True)
    shutil.copytree(HERE / "overlay", guest, dirs_exist_ok=True)
    (guest / "usr/local/sbin/lab-setup").chmod(0o755)
    sh("chroot", guest, "groupadd", "--system", "gpio")
    sh("chroot", guest, "systemctl", "enable", "lab.service")


def make_disk(guest: Path, disk: Path) -> None:
    raw = disk.with_suffix(".raw")
    sh("mke2fs", "-q", "-t", "ext4", "-d", guest, raw, DISK_SIZE)
    sh("qemu-img", "convert", "-O", "qcow2", raw, disk)
    raw.unlink()


def build(folder: Path) -> None:
    """Fills `folder` with disk, kernel, initrd and wheels.

    Raises:
        LabError: with the end of what the program printed that failed
    """
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        guest, builder = Path(scratch, "guest"), Path(scratch, "builder")
        bootstrap(guest, GUEST)
        bootstrap(builder, BUILDER)
        (builder / "build").mkdir()
        make_wheels(builder, folder / "wheels")
        make_modules(builder, guest)
        furnish(guest, builder)
        for name, path in (("vmlinuz", "boot/vmlinuz-*"), ("initrd", "boot/initrd.img-*")):
            shutil.copy(next(guest.glob(path)), folder / name)
        make_disk(guest, folder / "disk.qcow2")


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """No other process changes the cache meanwhile."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def kept(name: str, digest: str, build: Callable[[Path], None], *, fresh: bool) -> Path:
    """The folder of that name in the cache, as a recipe of this digest says; built if there is none."""
    folder = CACHE / name
    stamp = folder / "recipe"
    with alone():
        if fresh or not stamp.exists() or stamp.read_text() != digest:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            build(folder)
            stamp.write_text(digest)
    return folder


def image(*, fresh: bool = False) -> Path:
    """The folder of the trixie guest."""
    need(TOOLS)
    return kept(SUITE, recipe(), build, fresh=fresh)


def main(image: Callable[..., Path]) -> None:
    """Build one by hand."""
    parser = argparse.ArgumentParser(description="Builds an image of the lab.")
    parser.add_argument("--fresh", action="store_true", help="also where the cache has one")
    print(image(fresh=parser.parse_args().fresh))  # noqa: T201


if __name__ == "__main__":
    main(image)
