"""A Pi 3 that runs: piapi's guard and service started in it as their units say, without systemd.

Its clock counts its instructions, so that it does not matter how busy the host is: 2 ns for each, of all four cores
together, where a real one has 1.2 GHz for each core. While nothing runs, time goes by as it does here.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.lab import raspi
from tests.lab.conftest import eventually
from tests.lab.guest import Guest, running
from tests.lab.image import HERE, ROOT, sh
from tests.lab.pin_controller import PinController, logged

HOME = "opt/piapi/current"
SCRIPTS = "/usr/local/lib/lab"
READY = "ready"
"""The snapshot of a guest whose piapi is ready."""

COMMAND_LINE = "console=ttyAMA0 panic=-1 quiet pinctrl_bcm2835.persist_gpio_outputs=1 iomem=relaxed"
NS_LOG2 = 1
"""Nanoseconds that an instruction takes, as a power of two."""

START_S = 300
"""That piapi may take to start, by the clock here: its host may be busy."""


def make_initrd(image: Path, folder: Path, settings: str) -> None:
    """The image's userland, and over it piapi as it is now: the kernel unpacks one after the other."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        home = root / HOME
        shutil.copytree(HERE / "raspi-root", root, dirs_exist_ok=True)
        shutil.copytree(ROOT / "piapi", home / "piapi", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("config.py", "run.py", "gunicorn.conf.py"):
            shutil.copy(ROOT / name, home)
        (home / "venv/bin").mkdir(parents=True)
        (home / "venv/bin/python").symlink_to("/usr/bin/python3")
        (root / raspi.SITE).mkdir(parents=True)
        (root / raspi.SITE / "piapi.pth").write_text(f"/{HOME}\n")
        (root / "etc/piapi").mkdir(parents=True)
        (root / "etc/piapi/piapi.toml").write_text(settings)
        raspi.compile_python(root, HOME)
        raspi.archive(root, folder / "piapi.cpio")
    with (folder / "initrd").open("wb") as initrd:
        for part in (image / "userland.cpio", folder / "piapi.cpio"):
            initrd.write(part.read_bytes())


def arguments(image: Path, folder: Path) -> list[str]:
    return [
        *("qemu-system-aarch64", "-M", "raspi3b", "-accel", "tcg,thread=single", "-icount", f"shift={NS_LOG2}"),
        *("-nodefaults", "-display", "none", "-no-reboot"),
        *("-kernel", str(image / "vmlinuz"), "-dtb", str(image / "board.dtb"), "-initrd", str(folder / "initrd")),
        *("-append", COMMAND_LINE),
        *("-drive", f"if=none,id=snapshots,format=qcow2,cache=unsafe,file={folder / 'snapshots.qcow2'}"),
        *("-serial", f"file:{folder / 'console.log'}"),
        *("-serial", f"unix:{folder / 'agent.sock'},server=on,wait=off"),
        *("-qmp", f"unix:{folder / 'monitor.sock'},server=on,wait=off"),
        *logged(folder),
    ]


class Unit:
    """One of systemd/*.service, as far as it matters for a process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._text = (ROOT / "systemd" / f"{name}.service").read_text()

    def _all(self, key: str, otherwise: str = "") -> str:
        return " ".join(re.findall(rf"^{key}=(.*)$", self._text, re.M)) or otherwise

    @property
    def environment(self) -> str:
        return self._all("Environment")

    def start(self) -> str:
        """A script that does what systemd would; it writes /run/NAME.pid and /run/NAME.log."""
        program, _, rest = self._all("ExecStart").partition(" ")
        return (
            f"export {self.environment}; start-stop-daemon --start --background --make-pidfile "
            f"--pidfile /run/{self.name}.pid --output /run/{self.name}.log "
            f"--chuid {self._all('User')}:{self._all('Group')} --umask {self._all('UMask')} "
            f"--nicelevel {self._all('Nice', '0')} --chdir {self._all('WorkingDirectory', '/')} "
            f"--startas {program} -- {rest}"
        )

    def stop(self) -> str:
        """A script that ends it as systemd does, and waits for that."""
        return f"start-stop-daemon --stop --pidfile /run/{self.name}.pid --retry TERM/20/KILL/5 --remove-pidfile"


GUARD, SERVICE = Unit("piapi-guard"), Unit("piapi")


class Pi3:
    """The guest as its owner has it, and its pin controller as QEMU has it."""

    def __init__(self, guest: Guest) -> None:
        self.guest, self.token = guest, ""
        self.controller = PinController(guest)

    def start_guard(self) -> None:
        self.guest.run(f"{GUARD.start()}; until [ -S /run/piapi-guard/guard.sock ]; do sleep 0.2; done")

    def start(self) -> None:
        """Start the service, and wait until it is ready."""
        self.guest.run(SERVICE.start())
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        asked = "wget -q -O /dev/null http://127.0.0.1:8000/api/v1/health/ready 2>/dev/null"
        self.guest.run(f"until {asked}; do sleep 1; done", timeout_s=START_S)

    def stop(self) -> None:
        self.guest.run(SERVICE.stop())

    def kill_worker(self) -> None:
        """SIGKILL; gunicorn's master starts another. Back when that one is ready."""
        worker = "$(cat /proc/$main/task/$main/children)"
        self.guest.run(f"main=$(cat /run/piapi.pid); old={worker}; kill -9 $old; while [ -e /proc/$old ]; do :; done")
        self.wait_until_ready()

    def restart(self) -> None:
        """As `systemctl restart` does."""
        self.stop()
        self.start()

    def run_python(self, script: str, *arguments: str) -> str:
        """What one of our scripts in the guest prints."""
        return self.guest.run(f"cd /run; python3 {SCRIPTS}/{script} {shlex.join(arguments)}")

    def ask(self, method: str, path: str, body: Any) -> None:
        """One request that has to succeed, from within."""
        self.run_python("ask.py", self.token, method, path, json.dumps(body))

    def make_token(self) -> None:
        program = f"/{HOME}/venv/bin/python -P -c 'from piapi.cli import main; main()'"
        said = self.guest.run(f"export {SERVICE.environment}; {program} tokens create --name lab --role admin")
        self.token = re.search(r"piapi_\S+", said)[0]  # type: ignore[index]

    def log(self) -> str:
        """What was printed, and where in the kernel each thread of ours is."""
        threads = (
            "for task in /proc/[0-9]*/task/*; do echo $task $(cat $task/comm $task/wchan) $(cat $task/syscall); done"
        )
        return self.guest.run(f"tail -n 30 /run/piapi-guard.log /run/piapi.log; {threads} | grep -E 'python|gunicorn'")


@contextlib.contextmanager
def booted(folder: Path, settings: str) -> Iterator[Pi3]:
    """A Pi 3 of its own that has booted, with nothing of piapi started."""
    image = raspi.image()
    make_initrd(image, folder, settings)
    sh("qemu-img", "create", "-q", "-f", "qcow2", folder / "snapshots.qcow2", "64M")
    with running(arguments(image, folder), folder) as guest:
        eventually(lambda: "the agent listens" in guest.console(), "it boots", START_S)
        guest.connect(30)
        guest.run(f"date -s @{time.time():.0f}")  # of busybox
        yield Pi3(guest)
