"""Programs under test: started, pinned to a core, measured through /proc, and ended whatever happens."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)

CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, CLIENT_CORE = CORES[0], CORES[-1]


class Missing(Exception):
    """Something that a benchmark needs is not on this machine; the message says what would help."""


class Failed(Exception):
    """A program under test did not do what it should."""


def program(name: str, package: str) -> str:
    """The path of a program. Raises Missing."""
    if path := shutil.which(name):
        return path
    raise Missing(f"apt install {package}")


def free_port() -> int:
    """A TCP port of the loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True)
class Running:
    """A program in a session of its own, with all its children."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def pids(self) -> list[int]:
        """Its processes: those of its session."""
        return [pid for pid, fields in _processes() if int(fields[3]) == self.popen.pid]

    @property
    def children(self) -> list[int]:
        """Those that its first process has started: a server's workers, and not the guard that one of them started."""
        return [pid for pid, fields in _processes() if int(fields[1]) == self.popen.pid]

    @property
    def cpu_s(self) -> float:
        """Seconds of CPU that its living processes have used, in user and kernel mode (proc(5), utime and stime)."""
        ticks = [int(fields[11]) + int(fields[12]) for _, fields in _processes() if int(fields[3]) == self.popen.pid]
        return sum(ticks) / _TICKS_PER_S

    def check(self) -> None:
        """Raise Failed when it has ended."""
        if self.popen.poll() is not None:
            lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
            raise Failed(f"{self.name} ended: {' / '.join(lines[-3:]) or self.popen.returncode}")


def _processes() -> Iterator[tuple[int, list[str]]]:
    """Each process with the fields of /proc/PID/stat after its name: state, parent, group, session, …"""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                yield int(entry.name), (entry / "stat").read_text().rpartition(")")[2].split()


@contextlib.contextmanager
def running(
    command: Sequence[str],
    folder: Path,
    *,
    core: int | None = SERVER_CORE,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Running]:
    """Run a program in `folder`, its output in a file there. Ended, with its children, when the block is left."""
    parent = os.getpid()

    def prepare() -> None:  # in the child
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # also when we are killed
        if os.getppid() != parent:
            os._exit(1)
        os.sched_setaffinity(0, CORES if core is None else {core})

    log = folder / "log.txt"
    with log.open("wb") as output:
        popen = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=prepare,
        )
    started = Running(folder.name, popen, log)
    try:
        yield started
    finally:
        _end(started)


def _end(process: Running) -> None:
    try:
        process.popen.terminate()
        process.popen.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        pass
    finally:
        for pid in process.pids:  # the session, if its first process has left some behind
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.popen.wait()


def wait_for_answer(process: Running, port: int, path: str, headers: str = "") -> float:
    """Ask until the answer is 200; the time of that answer, by time.monotonic(). Raises Failed."""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n{headers}\r\n".encode()
    give_up, answer = time.monotonic() + START_TIMEOUT_S, b"nothing"
    while time.monotonic() < give_up:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5.0) as connection:
            connection.sendall(request)
            answer = connection.recv(65536)
            if answer.split(b" ")[1:2] == [b"200"]:
                return time.monotonic()
        process.check()
        time.sleep(0.002)
    raise Failed(f"no 200 for {path} within {START_TIMEOUT_S:g} s, but {answer.splitlines()[0].decode()!r}")


@dataclass(frozen=True, slots=True)
class Memory:
    """What a program and its children hold, in bytes."""

    pss: int
    """Proportional set size: pages that other programs map too are shared with them in the sum."""
    alone: int
    """The same, were no other program running: pages of files count in full, once."""


def memory_of(process: Running) -> Memory:
    """The memory of a program, from /proc/PID/smaps_rollup and smaps."""
    pss, anonymous, files = 0, 0, dict[str, int]()
    for pid in process.pids:
        rollup = _kilobytes(Path(f"/proc/{pid}/smaps_rollup"))
        pss += rollup["Pss"]
        anonymous += rollup["Pss_Anon"] + rollup["Pss_Shmem"]
        for mapping, resident in _file_pages(pid):
            files[mapping] = max(files.get(mapping, 0), resident)
    return Memory(pss * 1024, (anonymous + sum(files.values())) * 1024)


def _kilobytes(path: Path) -> dict[str, int]:
    lines = (line.split() for line in path.read_text().splitlines()[1:])
    return {parts[0].rstrip(":"): int(parts[1]) for parts in lines if len(parts) == 3}


def _file_pages(pid: int) -> Iterator[tuple[str, int]]:
    """Each mapping of a file, with the kB of the file's own pages that are in memory."""
    name = ""
    figures: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        parts = line.split()
        if "-" in parts[0]:
            name = f"{parts[5]} at {parts[2]}" if len(parts) > 5 and parts[5].startswith("/") else ""
            figures = {}
        elif name and len(parts) == 3:
            figures[parts[0]] = int(parts[1])
            if parts[0] == "Anonymous:":
                yield name, figures["Rss:"] - figures["Anonymous:"]
