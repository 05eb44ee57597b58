"""The controls and metadata of libcamera, under the names of `base.Capabilities`.

libcamera's own are described in its control_ids_core.yaml. Some leave no trace in a frame's metadata (brightness and
the like), because they are applied to the very frame whose request carried them; those of the sensor and of the lens
come some frames later, and the metadata of each frame says what was really in force.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from piapi.errors import UnsupportedControl
from piapi.hardware.base import Control, ControlValue

#: Of each control: least, greatest and default value, as picamera2's `camera_controls` has them.
Ranges = Mapping[str, tuple[Any, Any, Any]]

_SCALES = {
    "brightness": ("Brightness", 0.0),
    "contrast": ("Contrast", 1.0),
    "saturation": ("Saturation", 1.0),
    "sharpness": ("Sharpness", 1.0),
}
"""And what is neutral, should libcamera name no default."""

#: In the order of AwbModeEnum; the last of it, custom, is left out.
_WHITE_BALANCES = ("auto", "incandescent", "tungsten", "fluorescent", "indoor", "daylight", "cloudy")

_LEAST_COLOUR_GAIN = 0.1  # libcamera takes 0 as automatic

#: In the order of AfModeEnum.
_FOCUS_MODES = ("manual", "auto", "continuous")
_SCANNING, _FOCUSED, _FAILED = 1, 2, 3  # AfStateEnum
_TRIGGER_START = 0  # AfTriggerEnum
_SEARCHING = 1  # AeStateEnum

_METADATA = {
    "ExposureTime": ("exposure_s", 1e-6),
    "AnalogueGain": ("gain", 1.0),
    "DigitalGain": ("digital_gain", 1.0),
    "Lux": ("lux", 1.0),
    "ColourTemperature": ("colour_temperature_k", 1.0),
    "LensPosition": ("focus_position", 1.0),
    "SensorTemperature": ("sensor_temperature_c", 1.0),
}


def offered(ranges: Ranges) -> dict[str, Control]:
    """What a camera with these ranges can be asked for. A lens that moves focuses by itself unless told otherwise."""
    controls: dict[str, Control] = {}
    for name, (theirs, neutral) in _SCALES.items():
        if theirs in ranges:
            least, greatest, default = ranges[theirs]
            controls[name] = Control(float(neutral if default is None else default), float(least), float(greatest))
    if "ExposureTime" in ranges:
        least, greatest, _ = ranges["ExposureTime"]
        controls["exposure"] = Control("auto", choices=("auto", "manual"))
        controls["exposure_s"] = Control(None, max(least, 1) / 1e6, greatest / 1e6)
    if "AnalogueGain" in ranges:
        controls["gain"] = Control(None, float(ranges["AnalogueGain"][0]), float(ranges["AnalogueGain"][1]))
    if "AwbMode" in ranges:
        held = ("manual",) if "ColourGains" in ranges else ()
        controls["white_balance"] = Control("auto", choices=(*_WHITE_BALANCES[: ranges["AwbMode"][1] + 1], *held))
        if held:
            least, greatest, _ = ranges["ColourGains"]
            for name in ("red_gain", "blue_gain"):
                controls[name] = Control(None, max(float(least), _LEAST_COLOUR_GAIN), float(greatest))
    if "AfMode" in ranges:
        controls["focus_mode"] = Control("continuous", choices=_FOCUS_MODES[: ranges["AfMode"][1] + 1])
    if "LensPosition" in ranges:
        least, greatest, _ = ranges["LensPosition"]
        controls["focus_position"] = Control(None, float(least), float(greatest))
    return controls


def check(controls: Mapping[str, ControlValue], known: Mapping[str, Control]) -> None:
    """Raise UnsupportedControl for one that is not known, or a value out of its range."""
    for name, value in controls.items():
        if name not in known:
            raise UnsupportedControl(name, f"this camera has no such control; it has {', '.join(known) or 'none'}")
        known[name].check(name, value)


def values_of(held: Mapping[str, ControlValue], ranges: Ranges, metered_us: int, fps: float) -> dict[str, Any]:
    """What to tell libcamera, so that `held` is in force and everything else at its default.

    `exposure_s` or `gain` without `exposure` means manual; manual without `gain` means 1, and without `exposure_s`
    the time that is in force now (`metered_us`, microseconds).
    """
    values: dict[str, Any] = {}
    known = offered(ranges)
    for name, (theirs, _) in _SCALES.items():
        if name in known:
            values[theirs] = float(held.get(name, known[name].default or 0.0))
    values |= _exposure(held, ranges, metered_us)
    if "FrameDurationLimits" in ranges:  # as long as the exposure needs, and no shorter than the frame rate asks for
        least, greatest, _ = ranges["FrameDurationLimits"]
        values["FrameDurationLimits"] = (min(max(int(least), round(1e6 / fps)), int(greatest)), int(greatest))
    if "white_balance" in known:
        values |= _white_balance(held, ranges)
    if "focus_mode" in known:
        values |= _focus(held, ranges)
    return values


def _exposure(held: Mapping[str, ControlValue], ranges: Ranges, metered_us: int) -> dict[str, Any]:
    """picamera2 sets libcamera's ExposureTimeMode and AnalogueGainMode by these: 0 gives them back to the camera."""
    manual = held.get("exposure", "manual" if {"exposure_s", "gain"} & set(held) else "auto") == "manual"
    values: dict[str, Any] = {}
    if "AeEnable" in ranges:
        values["AeEnable"] = not manual
    if "ExposureTime" in ranges:
        least, greatest, _ = ranges["ExposureTime"]
        wanted = round(float(held["exposure_s"]) * 1e6) if "exposure_s" in held else metered_us
        values["ExposureTime"] = min(max(wanted, int(least), 1), int(greatest)) if manual else 0
    if "AnalogueGain" in ranges:
        least, greatest, _ = ranges["AnalogueGain"]
        values["AnalogueGain"] = min(max(float(held.get("gain", 1.0)), least), greatest) if manual else 0.0
    return values


def _white_balance(held: Mapping[str, ControlValue], ranges: Ranges) -> dict[str, Any]:
    """Gains without a choice mean manual. Without gains libcamera keeps those that it has; one left out is 1."""
    gains = {"red_gain", "blue_gain"} & set(held)
    choice = str(held.get("white_balance", "manual" if gains else "auto"))
    manual = choice == "manual"
    values: dict[str, Any] = {"AwbMode": 0 if manual else _WHITE_BALANCES.index(choice)}
    if "AwbEnable" in ranges:
        values["AwbEnable"] = not manual
    if manual and gains:
        values["ColourGains"] = float(held.get("red_gain", 1.0)), float(held.get("blue_gain", 1.0))
    elif not manual and "ColourGains" in ranges and "AwbEnable" not in ranges:
        values["ColourGains"] = 0.0, 0.0  # gives them back to the camera
    return values


def _focus(held: Mapping[str, ControlValue], ranges: Ranges) -> dict[str, Any]:
    """A position without a mode means manual."""
    mode = str(held.get("focus_mode", "manual" if "focus_position" in held else "continuous"))
    values: dict[str, Any] = {"AfMode": _FOCUS_MODES.index(mode)}
    if mode == "auto" and "AfTrigger" in ranges:
        values["AfTrigger"] = _TRIGGER_START
    if mode == "manual" and "focus_position" in held:
        values["LensPosition"] = float(held["focus_position"])
    return values


def are_shown(values: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
    """Whether a frame was taken with these exposure and lens values, as exactly as sensors can set them.

    A time comes in whole lines (long ones in blocks of them), a gain in steps: the OV5647's are 1/16.
    """

    def near(name: str, share: float, least: float) -> bool:
        wanted, seen = values.get(name), metadata.get(name)
        return wanted is None or seen is None or abs(seen - wanted) <= max(wanted * share, least)

    automatic = not values.get("ExposureTime")
    exposed = automatic or (near("ExposureTime", 0.02, 100) and near("AnalogueGain", 0.07, 0.01))
    return exposed and near("LensPosition", 0.02, 0.05)


def is_focused(values: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
    """Whether the lens has come to rest, sharp or not."""
    state = metadata.get("AfState")
    if values.get("AfMode") == _FOCUS_MODES.index("auto"):
        return state is None or state in (_FOCUSED, _FAILED)
    return values.get("AfMode") != _FOCUS_MODES.index("continuous") or state != _SCANNING


def is_metered(values: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
    """Whether automatic exposure has found what it looked for (AeState; before libcamera 0.5: AeLocked)."""
    if values.get("ExposureTime"):
        return True
    return metadata.get("AeState") != _SEARCHING and bool(metadata.get("AeLocked", True))


def exposed_at(metadata: Mapping[str, Any], otherwise: float) -> float:
    """When the exposure of a frame began, in seconds of CLOCK_BOOTTIME; `otherwise` if the camera does not say.

    On a Pi SensorTimestamp is when the first line arrived, so after its exposure; picamera2's `flush` reckons likewise.
    The kernel takes it from CLOCK_MONOTONIC, which on a Pi, that never sleeps, is CLOCK_BOOTTIME.
    """
    if "SensorTimestamp" not in metadata:
        return otherwise
    return float(metadata["SensorTimestamp"] - 1000 * metadata.get("ExposureTime", 0)) / 1e9


def described(metadata: Mapping[str, Any]) -> dict[str, ControlValue]:
    """What libcamera says of a frame, under our names and in our units."""
    gains = metadata.get("ColourGains") or ()
    said: dict[str, ControlValue] = {
        ours: round(metadata[theirs] * unit, 6) if unit != 1.0 else round(float(metadata[theirs]), 3)
        for theirs, (ours, unit) in _METADATA.items()
        if metadata.get(theirs) is not None
    }
    return said | {ours: round(float(gain), 3) for ours, gain in zip(("red_gain", "blue_gain"), gains, strict=False)}
