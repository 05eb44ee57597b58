"""What tests share: an application on a simulated camera in a folder of its own, and clients with tokens."""

from __future__ import annotations

import contextlib
import gc
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Browser
from werkzeug.test import TestResponse

import config
from piapi.api.services import Services
from piapi.app import create_app
from piapi.clock import SystemClock
from piapi.hardware.base import CameraConfig
from piapi.hardware.camera_simulated import Faults, SimulatedCamera
from tests.browser import NAME, Visitor, chromium
from tests.network import Network
from tests.requirements import require
from tests.service import Service

PREFIX = "/api/v1"
SLOW_TIMEOUT_S = 2400  # the month of a time-lapse takes some ten minutes of one core


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(SLOW_TIMEOUT_S))
        if item.path.name.startswith("test_page_"):
            item.add_marker("page")


def pytest_collection_finish() -> None:
    """Modules and tests are here to stay: a camera that closes collects garbage, and need not look through all."""
    gc.collect()
    gc.freeze()


@dataclass
class Api:
    """A client of the API with a token: `api.get("/cameras")`."""

    client: FlaskClient
    token: str | None

    def open(self, method: str, path: str, **kwargs: Any) -> TestResponse:
        headers = dict(kwargs.pop("headers", {}))
        if self.token and "Authorization" not in headers:
            headers["Authorization"] = f"Bearer {self.token}"
        kwargs.setdefault("buffered", True)  # reads and closes the body; a test of a stream says False
        outside = kwargs.pop("outside", False)
        if not outside and not path.startswith(PREFIX):
            path = PREFIX + path
        return self.client.open(path, method=method, headers=headers, **kwargs)

    def get(self, path: str, **kwargs: Any) -> TestResponse:
        return self.open("GET", path, **kwargs)

    def post(self, path: str, **kwargs: Any) -> TestResponse:
        return self.open("POST", path, **kwargs)

    def patch(self, path: str, **kwargs: Any) -> TestResponse:
        return self.open("PATCH", path, **kwargs)

    def delete(self, path: str, **kwargs: Any) -> TestResponse:
        return self.open("DELETE", path, **kwargs)


def assert_problem(response: TestResponse, status: int, slug: str, *more: str) -> dict[str, Any]:
    """The one shape of every error, with `more` members where a problem has some of its own. Gives the document."""
    assert response.status_code == status, response.get_data(as_text=True)
    assert response.content_type == "application/problem+json"
    document: dict[str, Any] = response.get_json(force=True)
    assert document["type"] == f"/problems/{slug}"
    assert document["status"] == status
    assert set(document) - set(more) <= {"type", "title", "status", "detail", "instance", "errors"}
    assert all(isinstance(document[name], str) and document[name] for name in ("title", "detail", "instance"))
    assert "Traceback" not in document["detail"]
    for error in document.get("errors", []):
        assert set(error) in ({"pointer", "detail"}, {"parameter", "detail"})
    return document


def faults_of(document: dict[str, Any]) -> set[str]:
    """Where the faults are: pointers and parameters."""
    return {error.get("pointer", error.get("parameter")) for error in document["errors"]}


def wish_id(value: object) -> str:
    """A parameter's name in the report; sets have none, as their order is not the same in two processes."""
    return "" if isinstance(value, set) else str(value)


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder on tmpfs, where there is one."""
    shm = Path("/dev/shm")  # noqa: S108 — a folder of its own in it
    with tempfile.TemporaryDirectory(dir=shm if os.access(shm, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture
def settings(tmp_path: Path) -> config.Settings:
    """Two simulated cameras, data in a folder of its own, no floor of free space."""
    camera = config.Camera(backend="simulated", width=640, height=480)
    return config.Settings(
        server=config.Server(names=("pi.example",), max_viewers=3),
        storage=config.Storage(path=tmp_path / "data", floor_bytes=0),
        cameras={"demo": camera, "back": camera},
    )


@pytest.fixture
def faults() -> Faults:
    """What can be made to go wrong with the camera `demo`."""
    return Faults()


@pytest.fixture
def app(settings: config.Settings, faults: Faults) -> Iterator[Flask]:
    """The application, running."""
    clock = SystemClock()
    cameras = {
        name: SimulatedCamera(
            CameraConfig(name=name, backend="simulated", width=640, height=480),
            clock,
            faults if name == "demo" else None,
        )
        for name in settings.cameras
    }
    app = create_app(settings, cameras, clock)
    app.extensions["piapi"].start()
    yield app
    app.extensions["piapi"].close()


@pytest.fixture
def services(app: Flask) -> Services:
    """Its services."""
    found: Services = app.extensions["piapi"].services
    return found


@pytest.fixture
def client_with(app: Flask, services: Services) -> Callable[..., Api]:
    """Makes a client whose token has just these scopes: `client_with("camera:demo:view")`."""

    def make(*scopes: str, role: str | None = None) -> Api:
        _, secret = services.access.create_token("test", scopes=scopes, role=role)
        return Api(app.test_client(), secret)

    return make


@pytest.fixture
def api(client_with: Callable[..., Api]) -> Api:
    """A client that may do everything."""
    return client_with(role="admin")


@pytest.fixture
def nobody(app: Flask) -> Api:
    """A client without a token."""
    return Api(app.test_client(), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's chromium. One a module, as Playwright's event loop is not to run on while others are tested."""
    require("chromium")
    with chromium() as browser:
        yield browser


@pytest.fixture
def network(service: Service) -> Iterator[Network]:
    """One that can be cut: `visit(at=network)`."""
    with contextlib.closing(Network(service.port)) as network:
        yield network


@pytest.fixture
def visit(browser: Browser, service: Service, network: Network) -> Iterator[Callable[..., Visitor]]:
    """Makes visitors of the module's `service` (or of another, or through the `network`, which outlives them), logged
    in with a name or with none, and closes them: no browser may have complained."""
    made: list[Visitor] = []

    def visit(name: str | None = NAME, at: Service | Network = service, **device: Any) -> Visitor:
        made.append(visitor := Visitor(browser, at, **device))
        if name is not None:
            visitor.log_in(name)
        return visitor

    yield visit
    for visitor in made:
        visitor.close()


@pytest.fixture
def anna(visit: Callable[..., Visitor]) -> Visitor:
    """An admin with a phone."""
    return visit()
