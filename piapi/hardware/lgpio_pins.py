"""gpiozero's pins on lgpio, without the clicks. Imported when the board is opened: `import lgpio` starts threads.

gpiozero's own pin claims every line as an input, then as an output at 0, and only then writes the level that was asked
for: an active-low relay clicks at each start. When it is closed it claims the line as an input, which drops what was to
be kept. Here a line is claimed once, as what it is for and at its level, and is given back as it is. Inputs are claimed
from the kernel itself: lgpio would look for their edges 2,000 times a second (`piapi.lines.edges`).
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from typing import Any

import lgpio
from gpiozero import GPIOZeroError
from gpiozero.pins.lgpio import LGPIOFactory, LGPIOPin

from piapi.errors import BoardUnavailable, LineBusy, PiApiError
from piapi.hardware.gpio_claims import taken
from piapi.lines import chip as kernel
from piapi.lines.edges import Edges

_USED = 1
"""Bit of lgpio's gpio_get_mode()."""


class Pin(LGPIOPin):
    """One line of the chip. It is claimed at most once between two frees: lgpio does nothing, in silence, when a line
    that is an output already is claimed at another level."""

    def __init__(self, factory: Any, info: Any) -> None:
        super(LGPIOPin, self).__init__(factory, info)  # not LGPIOPin's own, which claims
        self._pwm: tuple[float, float] | None = None
        self._bounce = 0
        self._edges = lgpio.BOTH_EDGES
        self._input: int | None = None
        self._is_sending = False

    @property
    def is_taken(self) -> bool:
        """Whether somebody has the line, as the kernel says (GPIO_V2_LINE_FLAG_USED)."""
        return bool(lgpio.gpio_get_mode(self.factory._handle, self._number) & _USED)

    def output_with_state(self, state: float) -> None:
        """An output at this level, in one call."""
        lgpio.gpio_claim_output(self.factory._handle, self._number, int(bool(state)))

    def input_with_pull(self, pull: str) -> None:
        """An input with this pull, and its edges from now on, in one call."""
        self._input = self.factory.inputs.claim_input(self._number, pull)

    def close(self) -> None:
        """Given back as it is."""
        if self._input is None:
            lgpio.gpio_free(self.factory._handle, self._number)
            return
        self._disable_event_detect()
        self._input = None
        self.factory.inputs.free(self._number)

    def _get_state(self) -> Any:
        return super()._get_state() if self._input is None else self.factory.inputs.level(self._number)

    def _set_bounce(self, value: float | None) -> None:
        """Microseconds, as gpiozero's own pin keeps it."""
        self._bounce = round((value or 0) * 1e6)

    def _enable_event_detect(self) -> None:
        self.factory.edges.listen(self._input, self._get_state(), 1000 * self._bounce, self._moved)

    def _disable_event_detect(self) -> None:
        self.factory.edges.forget(self._input)

    def _moved(self, level: bool, at_ns: int) -> None:
        if (changed := self.when_changed) is not None:  # its line may have been given back a moment ago
            changed(at_ns / 1e9, level)

    def _set_frequency(self, value: float | None) -> None:
        """Pulses from now on, once there is a state between 0 and 1; None ends them, at whatever level."""
        self._stop()
        self._pwm = None if value is None else (value, 0.0)

    def _set_state(self, value: float) -> None:
        """A level, or a share of each period; gpiozero's pin rounds that to whole percents, which leaves a servo six
        positions. At 0 and 1 nothing is sent, and the level is written."""
        if self._pwm is not None:
            self._pwm = (self._pwm[0], value * 100)
            if 0 < value < 1:
                lgpio.tx_pwm(self.factory._handle, self._number, *self._pwm)
                self._is_sending = True
                return
            self._stop()
        lgpio.gpio_write(self.factory._handle, self._number, int(value >= 1))

    def _stop(self) -> None:
        if self._is_sending:  # lgpio takes it for an error when nothing is sent
            lgpio.tx_pwm(self.factory._handle, self._number, 0, 0)
            self._is_sending = False


class Factory(LGPIOFactory):
    """The pins of one chip."""

    def __init__(self, chip: int) -> None:
        with contextlib.ExitStack() as opened:
            self.inputs = kernel.GpioChip(chip)
            opened.callback(self.inputs.close)
            self.edges = Edges()
            opened.callback(self.edges.close)
            super().__init__(chip)
            self.pins: dict[Any, Any] = {}  # not those of the class, which all factories share
            self.pin_class = Pin
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Give the chip back."""
        with self._opened:
            super().close()


@contextlib.contextmanager
def explained(line: int | None = None) -> Iterator[None]:
    """Give an error of lgpio or gpiozero its name; a fault of theirs that nobody foresaw is one of the chip, too."""
    try:
        yield
    except PiApiError:
        raise
    except lgpio.error as error:
        if line is not None and error.value == lgpio.error_text(lgpio.GPIO_BUSY):
            raise LineBusy(taken(line)) from None
        raise BoardUnavailable(f"The GPIO chip failed: {error.value}.") from None
    except OSError as error:
        if line is not None and error.errno == errno.EBUSY:
            raise LineBusy(taken(line)) from None
        raise BoardUnavailable(f"The GPIO chip failed: {error.strerror or error}.") from None
    except GPIOZeroError as error:
        raise BoardUnavailable(f"gpiozero failed: {error}.") from None
    except Exception as error:  # noqa: BLE001 — one pin must not end photos and all other pins
        raise BoardUnavailable(f"The GPIO library failed, by a fault that piapi does not know: {error!r}.") from error
