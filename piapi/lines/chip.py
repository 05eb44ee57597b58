"""The kernel's GPIO character device, as far as the guard and inputs need it, by the standard library alone.

linux/gpio.h, version 2 of the interface, in every kernel since 5.10. The guard uses this and not lgpio: it needs one
call, and lgpio brings threads that never rest, a FIFO, and no wheel for some Pythons.
"""

from __future__ import annotations

import fcntl
import os
import struct

LABELS = ("pinctrl-rp1", "pinctrl-bcm2711", "pinctrl-bcm2835")
"""Of the chips behind the header: Pi 5; Pi 4; all before, and the Zeros."""

_GET_CHIPINFO = 0x8044B401
_CHIPINFO = struct.Struct("=32s32sI")  # name, label, number of lines

_GET_LINE, _GET_VALUES = 0xC250B407, 0xC010B40E
_REQUEST_BYTES = 592
_CONSUMER_AT = 256
_FLAGS_AT = 288
_ATTRIBUTE_AT = 320
_COUNT_AT = 560
_FD_AT = 588
_FLAG_INPUT, _FLAG_OUTPUT = 1 << 2, 1 << 3
_FLAG_EDGES = 1 << 4 | 1 << 5
_FLAG_PULL = {"up": 1 << 8, "down": 1 << 9, "floating": 1 << 10}
_ATTRIBUTE_VALUES = 2
_VALUES = struct.Struct("=QQ")  # bits, mask

_EVENTS = 256
"""That the kernel keeps for a line until they are read; of more it drops the oldest."""


def request_of(line: int, level: bool, consumer: bytes) -> bytearray:
    """A `struct gpio_v2_line_request` for one line as an output at this level."""
    request = bytearray(_REQUEST_BYTES)
    struct.pack_into("=I", request, 0, line)
    struct.pack_into("=31s", request, _CONSUMER_AT, consumer)
    struct.pack_into("=QI", request, _FLAGS_AT, _FLAG_OUTPUT, 1)
    struct.pack_into("=IIQQ", request, _ATTRIBUTE_AT, _ATTRIBUTE_VALUES, 0, int(level), 1)
    struct.pack_into("=I", request, _COUNT_AT, 1)
    return request


def input_request_of(line: int, pull: str, consumer: bytes) -> bytearray:
    """A `struct gpio_v2_line_request` for one line as an input with this pull, and both its edges."""
    request = bytearray(_REQUEST_BYTES)
    struct.pack_into("=I", request, 0, line)
    struct.pack_into("=31s", request, _CONSUMER_AT, consumer)
    struct.pack_into("=Q", request, _FLAGS_AT, _FLAG_INPUT | _FLAG_EDGES | _FLAG_PULL[pull])
    struct.pack_into("=II", request, _COUNT_AT, 1, _EVENTS)
    return request


class GpioChip:
    """An opened chip. Lines that it has claimed are freed by the kernel when this process ends."""

    def __init__(self, number: int) -> None:
        """Raises OSError."""
        self._fd = os.open(f"/dev/gpiochip{number}", os.O_RDWR | os.O_CLOEXEC)
        self._handles: dict[int, int] = {}
        try:
            _, label, self.count = _CHIPINFO.unpack(fcntl.ioctl(self._fd, _GET_CHIPINFO, bytes(_CHIPINFO.size)))
        except OSError:
            os.close(self._fd)
            raise
        self.label = label.rstrip(b"\0").decode("ascii", "replace")

    def claim_output(self, line: int, level: bool) -> None:
        """Drive the line at this level, in one step. Raises OSError, EBUSY when somebody holds it."""
        self._claim(line, request_of(line, level, b"piapi guard"))

    def claim_input(self, line: int, pull: str) -> int:
        """Listen to the line with this pull (`up`, `down`, `floating`), in one step. The descriptor from which its
        edges are read. Raises OSError as above."""
        return self._claim(line, input_request_of(line, pull, b"piapi"))

    def _claim(self, line: int, request: bytearray) -> int:
        fcntl.ioctl(self._fd, _GET_LINE, request, True)
        (self._handles[line],) = struct.unpack_from("=i", request, _FD_AT)
        return self._handles[line]

    def level(self, line: int) -> bool:
        """Of a line that was claimed here. Raises OSError."""
        bits, _ = _VALUES.unpack(fcntl.ioctl(self._handles[line], _GET_VALUES, _VALUES.pack(0, 1)))
        return bool(bits & 1)

    def free(self, line: int) -> None:
        """Give it back, without changing its level."""
        os.close(self._handles.pop(line))

    def close(self) -> None:
        """Give back everything."""
        for line in list(self._handles):
            self.free(line)
        os.close(self._fd)


def find() -> int:
    """The number of the chip behind the header, by its label.

    Numbers are no use: the same chip of a Pi 5 is 0 or 4, as the kernel likes. Raises OSError: PermissionError and the
    like of a chip that could not be opened, else FileNotFoundError.
    """
    found: dict[str, int] = {}
    refused: OSError | None = None
    names = os.listdir("/dev")  # noqa: PTH208 — pathlib is heavy for the guard
    for number in sorted(int(name[8:]) for name in names if name.startswith("gpiochip") and name[8:].isdigit()):
        try:
            chip = GpioChip(number)
        except OSError as error:
            refused = refused or error
            continue
        chip.close()
        found.setdefault(chip.label, number)
    for label in LABELS:
        if label in found:
            return found[label]
    raise refused or FileNotFoundError("no GPIO chip of a Raspberry Pi")
