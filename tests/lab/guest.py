"""A guest under QEMU: started from a snapshot, told what to do through QEMU's guest agent, seen through its monitor.

TCG is always asked for: /dev/kvm may exist and not work. What runs in the guest is some twelve times slower than here.
"""

from __future__ import annotations

import base64
import contextlib
import json
import shlex
import shutil
import socket
import subprocess
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.image import ROOT, LabError, alone

COMMAND_LINE = "console=ttyS0 root=/dev/vda rw panic=-1 mitigations=off preempt=full quiet"
"""What the kernel is told. Preemptible, as that of 64-bit Raspberry Pi OS: else vimc, which makes its pictures in the
kernel, keeps a processor from everything else for so long that a press of 0.3 s is over when the line is looked at."""

BOOTED = f"booted-{zlib.crc32(COMMAND_LINE.encode()):08x}"
"""The snapshot of a guest that has booted so and does nothing."""

ANSWER_S, SNAPSHOT_S = 60.0, 300.0
"""The agent of a guest that has much to do; QEMU, that has to write all of its memory to a disk that is busy."""


def pause(seconds: float) -> None:
    """Between two looks at a guest, which cannot wake who waits for it."""
    threading.Event().wait(seconds)


def pause_after(waited_s: float) -> None:
    """Before one looks again, who has waited so long already. To be asked keeps the guest from what it is asked for, so
    that comes at most a twentieth later."""
    pause(min(max(0.1, waited_s / 20), 1.0))


class Channel:
    """Lines of JSON over a socket, as QMP and the guest agent speak them."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout_s)
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                self._socket.connect(str(path))
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise LabError(f"{path.name} is not answered: {error}") from error
                pause(0.05)
        self._lines = self._socket.makefile("rb")

    def call(self, command: str, **arguments: Any) -> Any:
        names = {name.replace("_", "-"): value for name, value in arguments.items()}
        self._socket.sendall(json.dumps({"execute": command, "arguments": names}).encode() + b"\n")
        return self._answer(command)

    def _answer(self, command: str) -> Any:
        for line in self._lines:
            said = json.loads(line.lstrip(b"\xff"))
            if "error" in said:
                raise LabError(f"{command}: {said['error']['desc']}")
            if "return" in said:
                return said["return"]
        raise LabError(f"{command}: QEMU has ended")

    def sync(self) -> None:
        """What the guest agent still had to say to somebody before is over."""
        number = time.monotonic_ns() % 2**31
        said = self.call("guest-sync-delimited", id=number)
        while said != number:
            said = self._answer("guest-sync-delimited")

    def be_patient(self, timeout_s: float) -> None:
        """An answer may take so long from now on."""
        self._socket.settimeout(timeout_s)

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


@dataclass
class Guest:
    """A guest that runs. `folder` holds its disk, its sockets and what its console printed."""

    folder: Path
    process: subprocess.Popen[bytes]
    monitor: Channel
    agent: Channel = field(init=False)

    # What happens inside

    def connect(self, timeout_s: float) -> None:
        """Reach the agent, which answers when the guest has booted.

        Raises:
            LabError: it does not within `timeout_s`
        """
        deadline = time.monotonic() + timeout_s
        while True:
            agent = Channel(self.folder / "agent.sock", 5)
            try:
                agent.sync()
                agent.be_patient(ANSWER_S)
                self.agent = agent
                return
            except (LabError, TimeoutError) as error:
                agent.close()
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise LabError(f"the guest does not answer; it printed\n{self.console()[-3000:]}") from error

    def run(self, script: str, *, timeout_s: float = 120.0) -> str:
        """Run a shell script as root, wait for its end, and give what it printed.

        Raises:
            LabError: it failed, or has not ended within `timeout_s`
        """
        started = self.agent.call("guest-exec", path="/bin/sh", arg=["-c", f"exec 2>&1; {script}"], capture_output=True)
        began = time.monotonic()
        while not (now := self.agent.call("guest-exec-status", pid=started["pid"]))["exited"]:
            waited_s = time.monotonic() - began
            if waited_s > timeout_s:
                raise LabError(f"after {timeout_s:.0f} s still running: {script}")
            pause_after(waited_s)
        printed = base64.b64decode(now.get("out-data", "")).decode(errors="replace")
        if now.get("exitcode") != 0:
            raise LabError(f"{script}\nended with {now.get('exitcode', 'a signal')} and printed\n{printed[-3000:]}")
        return printed

    def write(self, path: str, text: str) -> None:
        encoded = base64.b64encode(text.encode()).decode()
        self.run(f"mkdir -p $(dirname {shlex.quote(path)}); echo {encoded} | base64 -d >{shlex.quote(path)}")

    def reboot(self, timeout_s: float = 600.0) -> None:
        """Shut it down as its owner would, and wait until it has booted again."""
        before, deadline = self._boot_id(), time.monotonic() + timeout_s
        self.monitor.call("set-action", reboot="reset")
        self.run("(sleep 1; systemctl reboot) >/dev/null 2>&1 &")  # else nobody may be left to say how that went
        now = before
        while now == before:  # it goes on answering for a while
            self.agent.close()
            self.connect(deadline - time.monotonic())
            with contextlib.suppress(LabError, TimeoutError):
                now = self._boot_id()
        self.mount_shares()

    def _boot_id(self) -> str:
        return self.run("cat /proc/sys/kernel/random/boot_id")

    def mount_shares(self) -> None:
        """The tree at /mnt/piapi, wheels at /mnt/wheels."""
        for tag in ("piapi", "wheels"):
            self.run(f"mkdir -p /mnt/{tag} && mount -t 9p -o ro,trans=virtio,msize=262144 {tag} /mnt/{tag}")

    def set_clock(self, seconds: float) -> None:
        """Set wall time, in seconds since 1970."""
        self.run(f"date --set=@{seconds:.3f}")

    # What happens around it

    def console(self) -> str:
        path = self.folder / "console.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def port(self) -> int:
        """The port of loopback here that leads to port 8000 there."""
        for line in self.say("info usernet").splitlines():
            if "HOST_FORWARD" in line:
                return int(line.split()[3])
        raise LabError("QEMU forwards no port")

    def say(self, line: str) -> str:
        """A line to QEMU's human monitor."""
        return str(self.monitor.call("human-monitor-command", command_line=line))

    def save(self, snapshot: str) -> None:
        if said := self.say(f"savevm {snapshot}").strip():
            raise LabError(f"savevm: {said}")

    def load(self, snapshot: str) -> None:
        """Go on as it was when it was saved. It may not be answering anything at either time."""
        if said := self.say(f"loadvm {snapshot}").strip():
            raise LabError(f"loadvm: {said}")

    def close(self) -> None:
        """Nothing is held open here. QEMU goes on."""
        for channel in (self.monitor, getattr(self, "agent", None)):
            if channel is not None:
                channel.close()


def arguments(image: Path, folder: Path, *more: str) -> list[str]:
    def shared(path: Path, tag: str) -> str:
        return f"local,path={path},mount_tag={tag},security_model=none,readonly=on"

    return [
        *("qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024"),
        *("-nodefaults", "-display", "none", "-no-reboot"),
        *("-kernel", str(image / "vmlinuz"), "-initrd", str(image / "initrd")),
        *("-append", COMMAND_LINE),
        *("-drive", f"file={folder / 'disk.qcow2'},if=virtio,format=qcow2,cache=unsafe"),
        *("-device", "virtio-scsi-pci,id=scsi"),
        *("-netdev", "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:0-10.0.2.15:8000"),
        *("-device", "virtio-net-pci,netdev=net"),
        *("-virtfs", shared(ROOT, "piapi"), "-virtfs", shared(image / "wheels", "wheels")),
        *("-serial", f"file:{folder / 'console.log'}"),
        *("-qmp", f"unix:{folder / 'monitor.sock'},server=on,wait=off"),
        *("-chardev", f"socket,path={folder / 'agent.sock'},server=on,wait=off,id=agent"),
        *("-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
        *more,
    ]


@contextlib.contextmanager
def running(command: list[str], folder: Path) -> Iterator[Guest]:
    """QEMU with its sockets in `folder`, ended at the end whatever happened."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    guest = None
    try:
        monitor = Channel(folder / "monitor.sock", 30)
        guest = Guest(folder, process, monitor)
        monitor.call("qmp_capabilities")
        monitor.be_patient(SNAPSHOT_S)
        yield guest
    finally:
        process.kill()
        process.wait()
        if guest is not None:
            guest.close()


def make_snapshot(image: Path) -> None:
    """Boot the image's disk once, and keep the guest as it is then."""
    with running(arguments(image, image), image) as guest:
        guest.connect(180)
        guest.run("systemctl is-system-running --wait || { systemctl --failed; false; }", timeout_s=180)
        guest.save(BOOTED)
    for name in ("monitor.sock", "agent.sock"):
        (image / name).unlink(missing_ok=True)
    (image / BOOTED).touch()


@contextlib.contextmanager
def booted(image: Path, folder: Path) -> Iterator[Guest]:
    """A guest of its own, a moment after it booted: the tree at /mnt/piapi, wheels at /mnt/wheels, the right date."""
    with alone():
        if not (image / BOOTED).exists():
            make_snapshot(image)
    shutil.copy(image / "disk.qcow2", folder / "disk.qcow2")
    with running(arguments(image, folder, "-loadvm", BOOTED), folder) as guest:
        guest.connect(30)
        guest.set_clock(time.time())
        guest.mount_shares()
        yield guest
