"""Programs beside Python that some tests run. Without them those tests are skipped, unless PIAPI_TEST_REQUIRE=all."""

from __future__ import annotations

import os
import shutil

import pytest


def require(program: str) -> str:
    """The path of a program; else the test is skipped, or fails where all of them are required."""
    path = shutil.which(program)
    if path is not None:
        return path
    reason = f"{program} is not installed (apt install {program})"
    if os.environ.get("PIAPI_TEST_REQUIRE") == "all":
        pytest.fail(reason)
    pytest.skip(reason)
