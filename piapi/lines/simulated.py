"""The file of a simulated GPIO board: lines that outlive the program that drives them.

Raspberry Pi OS keeps driving a line whose owner has died, and so does this. A claim is a lock on one byte of the file,
held by an open file description (fcntl(2), F_OFD_SETLK): the kernel gives it back at the owner's death, as it does with
a line's handle, but direction and level stay.

Beside it there may be a history, `<file>.history`: one record for whatever was done to a line. It is kept only where
the file is there, as it grows without end.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import time

COUNT = 28
"""GPIO0 to GPIO27, those on the header of every Pi since the B+."""

INPUT, OUTPUT = 0, 1
PULL_NONE, PULL_UP, PULL_DOWN = 0, 1, 2
LET_GO, LOW, HIGH = 0, 1, 2

RECORD = struct.Struct("=qiBBBB")
"""Of the history: nanoseconds of CLOCK_BOOTTIME, process, what, line, level before, level after."""

CLAIMED_OUTPUT, CLAIMED_INPUT, WRITTEN, FREED, DRIVEN = range(5)
"""What: the last one is somebody outside, as a sensor."""

_HEADER = struct.Struct("=8s40s")
_MAGIC = b"piapigp1"
_LINE_BYTES = 4  # pull, direction, level driven by the owner, level driven from outside
_LOCKS_AT = 4096
_FLOCK = "hhqqi"  # struct flock on every Linux whose off_t has 64 bits


def _power_on() -> bytes:
    """Lines as a Pi has them when it is switched on: inputs, GPIO0–8 pulled up, the others down (BCM2835 ARM
    Peripherals, 6.2)."""
    pulls = (PULL_UP if line <= 8 else PULL_DOWN for line in range(COUNT))
    return b"".join(bytes((pull, INPUT, 0, LET_GO)) for pull in pulls)


def _header() -> bytes:
    with open("/proc/sys/kernel/random/boot_id", "rb") as file:  # noqa: PTH123 — pathlib is heavy for the guard
        return _HEADER.pack(_MAGIC, file.read().strip())


class Lines:
    """The lines, as one program sees them. They are switched on anew when the machine was."""

    count = COUNT

    def __init__(self, path: str, keep_history: bool = False) -> None:
        """Open the file, or make it. Raises OSError."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._history_path = path + ".history"
        self._history = -1
        try:
            if not stat.S_ISREG(os.fstat(self._fd).st_mode):
                raise OSError(errno.EINVAL, "not a file", path)
            self._switch_on()
            self._open_history(os.O_CREAT if keep_history else 0)
        except OSError:
            os.close(self._fd)
            raise

    def _open_history(self, create: int = 0) -> None:
        try:
            self._history = os.open(self._history_path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | create, 0o600)
        except FileNotFoundError:
            self._history = -1

    def _switch_on(self) -> None:
        header = _header()
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            if os.pread(self._fd, _HEADER.size, 0) != header:
                os.pwrite(self._fd, header + _power_on(), 0)
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def claim_output(self, line: int, level: bool) -> None:
        """Drive the line at this level, in one step. Raises OSError, EBUSY when somebody holds it."""
        self._lock(line)
        self._change(line, CLAIMED_OUTPUT, 1, bytes((OUTPUT, level)))

    def claim_input(self, line: int, pull: int) -> None:
        """Drive it no more. Raises OSError, EBUSY when somebody holds it."""
        self._lock(line)
        self._change(line, CLAIMED_INPUT, 0, bytes((pull, INPUT)))

    def write(self, line: int, level: bool) -> None:
        """Drive a claimed output at this level."""
        self._change(line, WRITTEN, 2, bytes((level,)))

    def free(self, line: int) -> None:
        """Give it back. Direction and level stay."""
        self._change(line, FREED, 0, b"")
        self._flock(fcntl.F_UNLCK, line)

    def drive(self, line: int, outside: int) -> None:
        """From outside, as a sensor: LOW, HIGH or LET_GO."""
        self._change(line, DRIVEN, 3, bytes((outside,)))

    def level(self, line: int) -> bool:
        """What would be measured at the line. Nothing drives it and there is no pull: low."""
        pull, direction, driven, outside = os.pread(self._fd, _LINE_BYTES, self._at(line))
        if direction == OUTPUT:
            return bool(driven)
        return outside == HIGH if outside != LET_GO else bool(pull == PULL_UP)

    def close(self) -> None:
        """Give back everything, as the kernel does at death."""
        os.close(self._fd)
        if self._history >= 0:
            os.close(self._history)

    def _at(self, line: int) -> int:
        if not 0 <= line < COUNT:
            raise OSError(errno.EINVAL, f"there is no GPIO{line}")
        return _HEADER.size + line * _LINE_BYTES

    def _change(self, line: int, what: int, field: int, values: bytes) -> None:
        before = self.level(line)
        os.pwrite(self._fd, values, self._at(line) + field)
        if self._history < 0:
            self._open_history()  # another program may keep one since
        if self._history >= 0:
            now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            os.write(self._history, RECORD.pack(now, os.getpid(), what, line, before, self.level(line)))

    def _lock(self, line: int) -> None:
        self._at(line)
        try:
            self._flock(fcntl.F_WRLCK, line)
        except (BlockingIOError, PermissionError):  # EAGAIN or EACCES, as the system likes
            raise OSError(errno.EBUSY, f"GPIO{line} is held by somebody") from None

    def _flock(self, kind: int, line: int) -> None:
        fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, kind, os.SEEK_SET, _LOCKS_AT + line, 1, 0))
