"""A webcam's own controls, through V4L2, under the names of `base.Capabilities`.

Offered is what can be said in our units: brightness, contrast, saturation and sharpness on the camera's scale, the
exposure time, white balance by its colour temperature, whether the lens focuses by itself, and where it stands (in the
camera's own steps: there is no other way to hold it). `gain`, `red_gain` and `blue_gain` are not: a webcam counts them
in steps too, which are no factors.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Mapping

from piapi.errors import CameraUnavailable, UnsupportedControl
from piapi.hardware import v4l2
from piapi.hardware.base import Control, ControlValue

_G_CTRL, _S_CTRL, _QUERYCTRL, _QUERYMENU = 0xC008561B, 0xC008561C, 0xC0445624, 0xC02C5625
_DISABLED = 0x0001 | 0x0004  # V4L2_CTRL_FLAG_DISABLED, V4L2_CTRL_FLAG_READ_ONLY

#: linux/v4l2-controls.h
_SCALES = {"brightness": 0x980900, "contrast": 0x980901, "saturation": 0x980902, "sharpness": 0x98091B}
_AUTO_WHITE_BALANCE, _WHITE_BALANCE_TEMPERATURE = 0x98090C, 0x98091A
_EXPOSURE_AUTO, _EXPOSURE_ABSOLUTE = 0x9A0901, 0x9A0902
_FOCUS_AUTO, _FOCUS_ABSOLUTE = 0x9A090C, 0x9A090A

_MANUAL_EXPOSURE = 1
_AUTOMATIC_EXPOSURES = (3, 0)  # aperture priority (a webcam has no iris, so the time alone is automatic), full
_EXPOSURE_UNIT_S = 1e-4

#: What a switch rules, and where the switch stands when that is set by hand.
_RULED = {
    _EXPOSURE_AUTO: _EXPOSURE_ABSOLUTE,
    _AUTO_WHITE_BALANCE: _WHITE_BALANCE_TEMPERATURE,
    _FOCUS_AUTO: _FOCUS_ABSOLUTE,
}
_BY_HAND = {_EXPOSURE_AUTO: _MANUAL_EXPOSURE, _AUTO_WHITE_BALANCE: 0, _FOCUS_AUTO: 0}

#: Colour temperatures in kelvin, as lamps and skies have them.
_LIGHTS = {"tungsten": 2800, "fluorescent": 4000, "daylight": 5500, "cloudy": 6500}


class WebcamControls:
    """The controls of one opened device. `offered` is what `Capabilities` lists; `hold` sets them."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._held: dict[int, int] = {}
        self._defaults: dict[int, int] = {}
        self._automatic_exposure = 0
        self.offered: dict[str, Control] = {}
        for name, cid in _SCALES.items():
            if (limits := self._query(cid)) is not None:
                self.offered[name] = Control(default=limits[2], min=limits[0], max=limits[1])
        self._offer_exposure()
        self._offer_white_balance()
        if self._query(_FOCUS_AUTO) is not None:
            self.offered["focus_mode"] = Control(default="continuous", choices=("continuous", "manual"))
            if (limits := self._query(_FOCUS_ABSOLUTE)) is not None:
                self.offered["focus_position"] = Control(default=None, min=limits[0], max=limits[1])

    def _offer_exposure(self) -> None:
        limits = self._query(_EXPOSURE_ABSOLUTE)
        automatic = [mode for mode in _AUTOMATIC_EXPOSURES if self._has_menu_item(_EXPOSURE_AUTO, mode)]
        if limits is None or not automatic or not self._has_menu_item(_EXPOSURE_AUTO, _MANUAL_EXPOSURE):
            return
        self._automatic_exposure = automatic[0]
        self.offered["exposure"] = Control(default="auto", choices=("auto", "manual"))
        shortest, longest = (round(limit * _EXPOSURE_UNIT_S, 6) for limit in limits[:2])
        self.offered["exposure_s"] = Control(default=None, min=shortest, max=longest)

    def _offer_white_balance(self) -> None:
        limits = self._query(_WHITE_BALANCE_TEMPERATURE)
        if limits is not None and self._query(_AUTO_WHITE_BALANCE) is not None:
            lights = [light for light, kelvin in _LIGHTS.items() if limits[0] <= kelvin <= limits[1]]
            self.offered["white_balance"] = Control(default="auto", choices=("auto", *lights, "manual"))
            self.offered["colour_temperature_k"] = Control(default=None, min=limits[0], max=limits[1])

    def check(self, controls: Mapping[str, ControlValue]) -> None:
        """Raise UnsupportedControl for the first of them that `hold` would not take."""
        for name, value in controls.items():
            if name not in self.offered:
                raise UnsupportedControl(name, "this camera does not have it")
            self.offered[name].check(name, value)

    def hold(self, controls: Mapping[str, ControlValue]) -> None:
        """Set these, and the others to their defaults. Raises UnsupportedControl, then having changed none, for one
        that is not offered; CameraUnavailable when the camera is gone."""
        self.check(controls)
        defaults = self._settings({})
        for cid, value in self._settings(controls).items():
            if self._held.get(cid) != value:
                self._set(cid, value, asked_for=defaults.get(cid) != value)
                self._held[cid] = value
                if value != _BY_HAND.get(cid, value):  # from now on the camera sets this one itself
                    self._held.pop(_RULED[cid], None)

    def in_force(self) -> dict[str, ControlValue]:
        """What the camera itself has set of exposure time, white balance and focus, where it tells. It takes some
        milliseconds to answer."""
        seen: dict[str, ControlValue] = {}
        for name, cid, unit in (
            ("exposure_s", _EXPOSURE_ABSOLUTE, _EXPOSURE_UNIT_S),
            ("colour_temperature_k", _WHITE_BALANCE_TEMPERATURE, 1.0),
            ("focus_position", _FOCUS_ABSOLUTE, 1.0),
        ):
            if name in self.offered:
                with contextlib.suppress(OSError):
                    _cid, value = v4l2.ioctl(self._fd, _G_CTRL, "=Ii", cid, 0)
                    seen[name] = round(float(value) * unit, 6)
        return seen

    def _settings(self, controls: Mapping[str, ControlValue]) -> dict[int, int]:
        """Numbers to set, in the order in which they take effect: a switch before what it sets free."""
        settings = {cid: self._defaults[cid] for name, cid in _SCALES.items() if name in self.offered}
        settings |= {_SCALES[name]: round(float(value)) for name, value in controls.items() if name in _SCALES}
        if "exposure" in self.offered:
            seconds = controls.get("exposure_s")
            manual = controls.get("exposure", "auto" if seconds is None else "manual") == "manual"
            settings[_EXPOSURE_AUTO] = _MANUAL_EXPOSURE if manual else self._automatic_exposure
            if manual and seconds is not None:
                settings[_EXPOSURE_ABSOLUTE] = max(1, round(float(seconds) / _EXPOSURE_UNIT_S))
        if "white_balance" in self.offered:
            kelvin = controls.get("colour_temperature_k")
            light = str(controls.get("white_balance", "auto" if kelvin is None else "manual"))
            settings[_AUTO_WHITE_BALANCE] = int(light == "auto")
            if light in _LIGHTS:
                settings[_WHITE_BALANCE_TEMPERATURE] = _LIGHTS[light]
            elif light == "manual" and kelvin is not None:
                settings[_WHITE_BALANCE_TEMPERATURE] = round(float(kelvin))
        if "focus_mode" in self.offered:
            position = controls.get("focus_position")
            manual = controls.get("focus_mode", "continuous" if position is None else "manual") == "manual"
            settings[_FOCUS_AUTO] = int(not manual)
            if manual and position is not None:
                settings[_FOCUS_ABSOLUTE] = round(float(position))
        return settings

    def _query(self, cid: int) -> tuple[int, int, int] | None:
        """Least, greatest and default value; None where the camera lacks the control or does not let it be set."""
        try:
            answer = v4l2.ioctl(self._fd, _QUERYCTRL, "=II32siiiiI8x", cid, 0, b"", 0, 0, 0, 0, 0)
        except OSError:
            return None
        _cid, _type, _name, least, greatest, _step, default, flags = (
            part if isinstance(part, int) else 0 for part in answer
        )
        if flags & _DISABLED or least >= greatest:
            return None
        self._defaults[cid] = default
        return least, greatest, default

    def _has_menu_item(self, cid: int, index: int) -> bool:
        try:
            v4l2.ioctl(self._fd, _QUERYMENU, "=II32s4x", cid, index, b"")
        except OSError:
            return False
        return True

    def _set(self, cid: int, value: int, *, asked_for: bool) -> None:
        try:
            v4l2.ioctl(self._fd, _S_CTRL, "=Ii", cid, value)
        except OSError as error:
            if error.errno == errno.ENODEV:
                raise CameraUnavailable("The camera has been unplugged.") from None
            if asked_for:  # a default that is refused, because another control rules it, is as good as set
                raise CameraUnavailable(f"The camera did not take a setting ({error.strerror}).") from None
