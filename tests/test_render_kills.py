"""SIGKILL while a render is being made: no orphan, no remains, and the next start makes it."""

from __future__ import annotations

import json
import os
import select
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.gates import Gate, is_filmed, renderers
from tests.service import Service, children_of, eventually, running
from tests.test_crashes import assert_sound, kill_all, kill_worker
from tests.test_timelapse_crashes import CAMERA, get


def rendering(service: Service, folder: Path, token: str) -> tuple[str, Gate]:
    """A render that waits at the third frame of a time-lapse of four; where it is, and the gate."""
    wanted = {"interval_s": 0.1, "count": 4}
    status, headers, body = service.call("POST", "/api/v1/cameras/front/timelapses", token, wanted)
    assert status == 202, body
    url = headers["location"]
    eventually(lambda: bool(get(service, url, token)["state"] == "finished"))
    eventually(lambda: is_filmed(get(service, url, token)))
    third = sorted((folder / "data" / "timelapses").glob("*/frames/*/*.jpg"))[-1]
    gate = Gate(third)
    status, headers, body = service.call("POST", f"{url}/renders", token, {})
    assert status == 202, body
    gate.wait()
    return headers["location"], gate


@pytest.mark.parametrize("kill", [kill_worker, kill_all])
def test_a_render_that_a_kill_cuts_off_is_made_at_the_next_start(
    tmp_path: Path, kill: Callable[[Service], None]
) -> None:
    with running(tmp_path, CAMERA) as service:
        token = service.token()
        url, gate = rendering(service, tmp_path, token)
        (child,) = [pid for worker in children_of(service.process.pid) for pid in renderers(worker)]
        handle = os.pidfd_open(child)
        try:
            kill(service)
            assert select.select([handle], [], [], 30)[0], "the child lives on"
        finally:
            os.close(handle)
        gate.open()
        if kill is kill_worker:
            finishes(service, url, token)
        else:
            assert list((tmp_path / "data").rglob("*.part")), "nothing was cut off"
            with running(tmp_path, CAMERA, PIAPI_PORT="0") as again:
                finishes(again, url, token)
                assert again.stop() == 0
        folder = tmp_path / "data" / "timelapses"
        assert [path.name for path in folder.glob("*/renders/*")] == [f"{url.rpartition('/')[2]}.mp4"]
        service.stop()
    assert_sound(tmp_path)


def finishes(service: Service, url: str, token: str) -> None:
    def found() -> dict[str, Any]:
        status, _, body = service.call("GET", url, token)
        return dict(json.loads(body)) if status == 200 else {"state": "running"}

    eventually(lambda: found()["state"] not in ("queued", "running"))
    assert found()["state"] == "finished", found()
    assert service.call("GET", f"{url}/file", token)[0] == 200
