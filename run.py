"""`app` for gunicorn. Run by hand (`python run.py`), it starts gunicorn with the settings of gunicorn.conf.py."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import config
from piapi.errors import ConfigurationError


def main() -> None:
    """Become gunicorn: the same process, so that signals reach it."""
    os.environ[config.BY_HAND] = "1"
    here = Path(__file__).resolve().parent
    arguments = [sys.executable, "-m", "gunicorn", "--config", str(here / "gunicorn.conf.py"), "run:app"]
    os.execv(sys.executable, arguments)  # noqa: S606 — no shell is wanted


if __name__ == "__main__":
    main()
else:
    from piapi.app import create_app

    try:
        app = create_app(config.in_force())
    except ConfigurationError as error:
        sys.exit(str(error))
