"""Starting and closing: nothing is left behind, and one part that fails stops no other."""

from __future__ import annotations

import os
import threading

import pytest

import config
from piapi.app import create_app
from piapi.errors import DatabaseUnusable
from tests.conftest import Api


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 — a listing without a descriptor of its own to count


def test_create_app_starts_nothing(settings: config.Settings) -> None:
    before = threading.active_count()
    create_app(settings)
    assert threading.active_count() == before
    assert not settings.storage.path.exists()


def test_fifty_starts_and_closes_leave_no_thread_and_no_descriptor(settings: config.Settings) -> None:
    counts = []
    for _ in range(50):
        app = create_app(settings)
        runtime = app.extensions["piapi"]
        runtime.start()
        _, token = runtime.services.access.create_token("x", role="admin")
        assert Api(app.test_client(), token).get("/cameras").status_code == 200
        runtime.close()
        runtime.close()
        counts.append((threading.active_count(), descriptors()))
    assert counts[-1] == counts[5]


def test_one_part_that_fails_to_close_stops_no_other(
    settings: config.Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runtime = create_app(settings).extensions["piapi"]
    runtime.start()
    first, second = runtime.services.cameras
    real = first.close

    def broken() -> None:
        real()
        raise ZeroDivisionError

    monkeypatch.setattr(first, "close", broken)
    runtime.close()
    assert "ZeroDivisionError" in caplog.text
    assert second.owner._thread is not None and not second.owner._thread.is_alive()
    with pytest.raises(DatabaseUnusable), runtime._database.write():
        pass


def test_it_is_ready_only_while_it_runs(settings: config.Settings) -> None:
    app = create_app(settings)
    client = Api(app.test_client(), None)
    assert client.get("/health/live").status_code == 200
    assert client.get("/health/ready").status_code == 503
    app.extensions["piapi"].start()
    assert client.get("/health/ready").get_json() == {"status": "ok"}
    app.extensions["piapi"].close()
    assert client.get("/health/ready").get_json() == {"status": "unavailable"}
