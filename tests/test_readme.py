"""README's own lines, run as a newcomer runs them: `make run` in one terminal, the block with curl in another."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.requirements import require
from tests.service import ROOT, Service, environment

README = (ROOT / "README.md").read_text(encoding="utf-8")
IGNORED = shutil.ignore_patterns(".git", ".venv*", ".*_cache", "__pycache__", "data", "*.egg-info", "piapi.toml")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of the project whose virtual environment is this one's packages, so that nothing is fetched."""
    require("make")
    require("curl")
    clone = tmp_path / "piapi"
    shutil.copytree(ROOT, clone, ignore=IGNORED)
    venv = clone / ".venv"
    venv.mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (venv / name).symlink_to(Path(sys.prefix) / name)
    (venv / ".run").touch()
    return clone


def blocks() -> list[str]:
    return re.findall(r"```sh\n(.*?)```", README, re.DOTALL)


def test_the_two_commands_come_first() -> None:
    first = blocks()[0]
    assert [line.split("#")[0].strip() for line in first.splitlines()] == ["make run", "make test"]


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_the_first_lines_lead_to_a_photo(clone: Path, sig: signal.Signals) -> None:
    process = subprocess.Popen(
        ["make", "run"],
        cwd=clone,
        env=environment(clone),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    service = Service(clone, process)
    try:
        service.wait_for_address()
        lines = next(block for block in blocks() if "curl" in block).replace(":8000", f":{service.port}")
        done = subprocess.run(
            ["bash", "-euc", lines.replace("curl ", "curl --fail-with-body -sS ")],
            cwd=clone,
            env={**environment(clone), "no_proxy": "127.0.0.1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert '"links"' in done.stdout and '"sha256"' in done.stdout
        assert Image.open(io.BytesIO((clone / "now.jpg").read_bytes())).size == (1280, 720)
        assert b"SIMULATED HARDWARE" in service.said
    finally:
        os.killpg(process.pid, sig)
        service.stop()
    assert not list(Path("/proc").glob(f"{process.pid}/task/*/children"))
    assert b"Traceback" not in service.said, service.said.decode()
