"""Schemathesis over the whole document: whatever it makes up, answers are as documented, and nobody gets in.

Streams have no end, so they have tests of their own (test_cameras.py, test_service.py).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import positive_data_acceptance

import config
from piapi.app import create_app
from piapi.clock import SystemClock
from piapi.models import PhotoFilter
from piapi.services.attempts import Attempts
from piapi.services.passwords import Passwords
from piapi.services.photos import PhotoRequest
from piapi.timelapse import Plan
from tests.people import CHEAP, PASSWORD

OPEN_TO_POST = ("/session", "/pair")
ENDLESS = "/api/v1/cameras/{id}/stream"

EXPECTED = {
    "": "a change has to name something to change",
    "cursor": "a cursor is opaque: only those from links.next are good, and no schema can say which these are",
    "/controls": "which controls there are, and their ranges, depends on the camera",
    "/width": "the sensor decides how wide a picture can be",
    "/height": "the sensor decides how high a picture can be",
    "width": "the sensor decides how wide a snapshot can be",
    **dict.fromkeys(
        ("camera", "label", "type", "subject"),
        "in a query, schemathesis passes over the pattern that leaves control characters out",
    ),
    "/format": "dng needs a sensor that gives raw pictures, and the simulated one does not",
}
"""Where a request that fits the schema may be refused with 422, and why."""

ANYTHING = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[object, str]]:
    folder = tmp_path_factory.mktemp("schemathesis")
    app = create_app(
        config.Settings(
            storage=config.Storage(path=folder, floor_bytes=0),
            cameras={"demo": config.Camera(backend="simulated", width=160, height=120)},
        )
    )
    runtime = app.extensions["piapi"]
    runtime.start()
    _, token = runtime.services.access.create_token("schemathesis", role="admin")
    runtime.services.users._passwords = Passwords(SystemClock(), cost=CHEAP)  # its wrong passwords are many
    yield app, token
    runtime.close()


@pytest.fixture
def document(running):  # type: ignore[no-untyped-def]
    app, token = running
    return schemathesis.openapi.from_wsgi("/api/v1/openapi.json", app, headers={"Authorization": f"Bearer {token}"})


def something_real(path: str, app) -> str:  # type: ignore[no-untyped-def]
    """The id of a thing that is there, of the kind that a path is about."""
    services = app.extensions["piapi"].services
    if "/photos/" in path:
        found = services.photos.page(PhotoFilter(), 1, None)
        return (found[0] if found else services.photos.take(services.cameras.get("demo"), PhotoRequest())).id
    if "/timelapses/" in path:
        jobs = services.timelapses.page(None, 1, None)
        plan = Plan(interval_s=60, count=2)
        return (jobs[0] if jobs else services.timelapses.create(services.cameras.get("demo"), plan)).id
    if "/tokens/" in path:
        return str(services.access.create_token("x", role="viewer")[0].id)
    if "/pairings/" in path:
        found = services.pairings.pairings(1)
        return (found[0] if found else services.pairings.create("x", role="viewer", by="console")[0]).id
    if "/users/" in path:
        found = services.users.users(1)
        return (found[0] if found else services.users.create("anna", PASSWORD, role="viewer", by="console")).name
    return "demo"


def is_expected(response: schemathesis.Response) -> bool:
    """Whether this is a refusal that is named above, for nothing but reasons named above."""
    if response.status_code != 422:
        return False
    if response.json()["type"] == "/problems/idempotency-key-reused":  # what is made up comes up again
        return True
    places = [error.get("pointer", error.get("parameter")) for error in response.json()["errors"]]
    return all(any(place == known or place.startswith(known + "/") for known in EXPECTED) for place in places)


schema = schemathesis.pytest.from_fixture("document").exclude(path=ENDLESS)
authenticated = schemathesis.pytest.from_fixture("document").exclude(path=ENDLESS)


@authenticated.auth()
class Bearer:
    """Schemathesis holds the token itself, so that it can try without it and with a wrong one."""

    def get(self, case, context):  # type: ignore[no-untyped-def]
        return case.operation.app.extensions["piapi"].services.access.create_token("x", role="admin")[1]

    def set(self, case, data, context):  # type: ignore[no-untyped-def]
        case.headers["Authorization"] = f"Bearer {data}"


@authenticated.parametrize()
@ANYTHING
def test_with_a_token_every_answer_is_as_documented(case, running) -> None:  # type: ignore[no-untyped-def]
    for name, made_up in (case.path_parameters or {}).items():
        if made_up and len(str(made_up)) % 2 == 0:  # the other half of the names stays as it was made up
            real = "0" if name == "index" else something_real(case.path, running[0])
            case.path_parameters = {**case.path_parameters, name: real}
    running[0].extensions["piapi"].services.users._attempts = Attempts(SystemClock())  # 429 is for test_users.py
    response = case.call()
    excluded = [positive_data_acceptance] if is_expected(response) else []
    if response.status_code == 507:  # so much can be asked for that no disk has it, and that is no fault of ours
        excluded = [positive_data_acceptance, not_a_server_error]
    case.validate_response(response, excluded_checks=excluded)


@schema.parametrize()
@ANYTHING
def test_without_a_token_nothing_but_health_answers(case) -> None:  # type: ignore[no-untyped-def]
    response = case.call()
    denied = (401, 404, 405)
    if case.path.endswith(OPEN_TO_POST):
        denied += (400, 413, 415, 422, 429)
    assert response.status_code in ((200, 405) if "/health/" in case.path else denied), response.text
