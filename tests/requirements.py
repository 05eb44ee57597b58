"""Programs beside Python that some tests run. Without them those tests are skipped, unless PIAPI_TEST_REQUIRE=all."""

from __future__ import annotations

import os
import shutil
import subprocess

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


def mount(*arguments: object) -> None:
    """mount(8), as root. Where that is not allowed the test is skipped, or fails where all of them are required."""
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    if os.environ.get("PIAPI_TEST_REQUIRE") == "all":
        pytest.fail(done.stderr)
    pytest.skip(done.stderr)
