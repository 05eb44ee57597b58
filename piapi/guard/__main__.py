"""The guard's process: `python -m piapi.guard --socket PATH (--chip auto|N | --simulated FILE) [options]`.

--stay            goes on without clients, as a unit of its own does; READY=1 goes to $NOTIFY_SOCKET (sd_notify(3))
--background      back at once, when the socket is there; the guard goes on in the same session
--linger SECONDS  how long it waits for a client before it ends

It ends with 69 where the machine has no such chip: to start it again would be no use.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import stat
import sys

from piapi.guard.loop import LINGER_S, MAX_CLIENTS, Guard
from piapi.guard.owners import say

NO_CHIP = 69  # EX_UNAVAILABLE of sysexits.h

NICENESS = -10
"""Ahead of those who encode films (setpriority(2)), as in the unit."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from piapi.lines.chip import GpioChip
    from piapi.lines.simulated import Lines


def main(arguments: list[str]) -> int:
    """Runs until it is over; gives the exit status. It is 0 as well when another guard is there already."""
    try:
        options = parse(arguments)
    except ValueError as error:
        say(f"{error}; see the top of {__file__}")
        return 2
    come_first()
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        lines = open_lines(options["--chip"], options["--simulated"])
    except (OSError, ValueError) as error:
        say(f"cannot start: {error}")
        return NO_CHIP if isinstance(error, FileNotFoundError) and options["--chip"] else 1
    try:
        server = listen(options["--socket"])
    except OSError as error:
        say(f"cannot start: {error}")
        return 1
    if server is None:
        return 0
    if options["--background"] and os.fork():
        os._exit(0)
    about = f"chip {options['--chip']}" if options["--chip"] else f"simulated {options['--simulated']}"
    guard = Guard(server, lines, bool(options["--stay"]), float(options["--linger"]), about)
    guard.heed_sigterm()
    if options["--stay"]:
        tell_ready()
    guard.serve()
    remove(options["--socket"])
    return 0


def parse(arguments: list[str]) -> dict[str, str]:
    """The options, all of them texts; argparse would take longer than all the rest. Raises ValueError."""
    options = {"--socket": "", "--chip": "", "--simulated": "", "--linger": str(LINGER_S)}
    options |= {"--stay": "", "--background": ""}
    rest = list(arguments)
    while rest:
        name = rest.pop(0)
        if name in ("--stay", "--background"):
            options[name] = "yes"
        elif name in options and rest:
            options[name] = rest.pop(0)
        else:
            raise ValueError(f"{name} is not understood")
    if not options["--socket"] or bool(options["--chip"]) is bool(options["--simulated"]):
        raise ValueError("it needs --socket, and either --chip or --simulated")
    float(options["--linger"])
    return options


def come_first() -> None:
    """Be run before others when everything is busy. Only root may; the unit gives it to a guard of its own."""
    if os.getpriority(os.PRIO_PROCESS, 0) > NICENESS:  # an owner may have given it more
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, NICENESS)


def open_lines(chip: str, simulated: str) -> GpioChip | Lines:
    """What the guard releases lines of. Raises OSError, ValueError."""
    if simulated:
        from piapi.lines.simulated import Lines

        return Lines(simulated)
    from piapi.lines.chip import GpioChip, find

    return GpioChip(find() if chip == "auto" else int(chip))


def listen(path: str) -> socket.socket | None:
    """The socket, for this user alone; None when another guard has it. Raises OSError."""
    lock = os.open(path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)  # held until the process ends
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    remove(path)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    before = os.umask(0o177)
    try:
        server.bind(path)
    finally:
        os.umask(before)
    server.listen(MAX_CLIENTS)
    return server


def tell_ready() -> None:
    """The supervisor, if there is one: whoever is started next finds the socket."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.settimeout(1.0)
            channel.sendto(b"READY=1", "\0" + address[1:] if address.startswith("@") else address)
    except OSError as error:
        say(f"the supervisor is not told: {error}")


def remove(path: str) -> None:
    """The socket, if there is one; nothing else."""
    try:
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)  # noqa: PTH108 — pathlib is heavy
    except FileNotFoundError:
        pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
