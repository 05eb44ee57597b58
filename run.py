"""`app` for gunicorn. Run by hand (`python run.py`), it starts gunicorn with the settings of gunicorn.conf.py.

Without any configuration it is a demonstration on simulated hardware, and says so; on a Raspberry Pi it uses the
cameras found there.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import config
from piapi.errors import ConfigurationError

BY_HAND = "PIAPI_BY_HAND"
"""Set in the environment by `python run.py`: only then may missing configuration mean a demonstration."""

DEMONSTRATION_CAMERAS = {"demo": config.Camera(backend="simulated", width=1280, height=720)}
FOUND_CAMERAS = {"camera": config.Camera()}


def settings() -> config.Settings:
    """The settings in force. Raises ConfigurationError."""
    loaded = config.load()
    if loaded.file is not None or not os.environ.get(BY_HAND):
        return loaded
    if is_raspberry_pi():
        return replace(loaded, cameras=FOUND_CAMERAS)
    return replace(loaded, cameras=DEMONSTRATION_CAMERAS, demonstration=True)


def is_raspberry_pi(model: Path = Path("/proc/device-tree/model")) -> bool:
    """Whether this machine says that it is one."""
    try:
        return "Raspberry Pi" in model.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def main() -> None:
    """Become gunicorn: the same process, so that signals reach it."""
    os.environ[BY_HAND] = "1"
    here = Path(__file__).resolve().parent
    arguments = [sys.executable, "-m", "gunicorn", "--config", str(here / "gunicorn.conf.py"), "run:app"]
    os.execv(sys.executable, arguments)  # noqa: S606 — no shell is wanted


if __name__ == "__main__":
    main()
else:
    from piapi.app import create_app

    try:
        app = create_app(settings())
    except ConfigurationError as error:
        sys.exit(str(error))
