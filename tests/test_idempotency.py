"""Idempotency-Key: done once at most, answered again, and whatever crashes in between."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, g, make_response
from werkzeug.test import TestResponse

import config
from piapi.api.idempotency import made_at, once
from piapi.api.services import Services
from piapi.app import create_app
from piapi.clock import boot_id
from piapi.errors import KeyInFlight, KeyReused, PiApiError, StorageError, StorageFull, TooManyRequests
from piapi.hardware.camera_simulated import Faults
from piapi.models import Caller, PhotoFilter
from piapi.services import idempotency
from piapi.services.idempotency import KEPT_S, Keys
from piapi.storage import photos as library
from piapi.storage.database import Database
from piapi.storage.idempotency import Answer, KeyRow, KeyRows, RequestName
from tests.conftest import Api, assert_problem
from tests.fakes import FakeClock

PHOTOS = "/cameras/demo/photos"
SMALL = {"width": 32}
KEY = {"Idempotency-Key": "5f1d7a84"}


def take(api: Api, key: str = "5f1d7a84", path: str = PHOTOS, **wanted: Any) -> TestResponse:
    return api.post(path, json={**SMALL, **wanted}, headers={"Idempotency-Key": key})


def is_replay(response: TestResponse) -> bool:
    return response.headers.get("Idempotency-Replayed") == "true"


def cut_off(*_: object) -> None:
    raise StorageFull("no space")


def photos_of(services: Services) -> int:
    return len(services.photos.page(PhotoFilter(), 200, None))


def rows(settings: config.Settings) -> list[sqlite3.Row]:
    connection = sqlite3.connect(settings.storage.path / "piapi.db")
    connection.row_factory = sqlite3.Row
    try:
        return connection.execute("SELECT * FROM idempotency ORDER BY seq").fetchall()
    finally:
        connection.close()


# Answered again -------------------------------------------------------------------------------------------------------


def test_the_same_key_and_body_get_the_first_answer_again_and_no_second_photo(api: Api, services: Services) -> None:
    first, second = take(api), take(api)
    assert first.status_code == second.status_code == 201
    assert first.get_json() == second.get_json()
    for name in ("Location", "ETag", "Content-Type", "Cache-Control", "X-Content-Type-Options"):
        assert first.headers[name] == second.headers[name]
    assert is_replay(second) and not is_replay(first)
    assert photos_of(services) == 1


def test_the_first_answer_is_given_again_though_the_thing_has_changed_or_gone(api: Api) -> None:
    first = take(api, label="tomatoes")
    api.patch(first.headers["Location"], json={"label": "cucumbers"})
    assert take(api, label="tomatoes").get_json() == first.get_json()
    api.delete(first.headers["Location"])
    assert take(api, label="tomatoes").get_json() == first.get_json()


def test_another_spelling_of_the_same_body_is_the_same_body(api: Api) -> None:
    bodies = ['{"width": 32, "label": "é"}', ' {"label":"\\u00e9",\n"width":32}']
    answers = [
        api.post(PHOTOS, data=body.encode(), content_type="application/json", headers=KEY).get_json() for body in bodies
    ]
    assert answers[0] == answers[1]
    empty = {"Idempotency-Key": "empty"}
    assert api.post(PHOTOS, headers=empty).get_json() == api.post(PHOTOS, json={}, headers=empty).get_json()


def test_another_body_with_the_same_key_is_refused_and_nothing_is_done(api: Api, services: Services) -> None:
    first = take(api)
    assert_problem(take(api, label="other"), 422, "idempotency-key-reused")
    assert take(api).get_json() == first.get_json()
    assert photos_of(services) == 1


def test_without_a_key_each_request_is_a_photo(api: Api, services: Services, settings: config.Settings) -> None:
    locations = {api.post(PHOTOS, json=SMALL).headers["Location"] for _ in range(2)}
    assert len(locations) == photos_of(services) == 2
    assert rows(settings) == []


def test_a_key_belongs_to_caller_and_path(client_with: Callable[..., Api], services: Services) -> None:
    one, other = client_with(role="admin"), client_with(role="admin")
    answers = [take(one), take(other), take(one, path="/cameras/back/photos")]
    assert not any(map(is_replay, answers))
    assert photos_of(services) == 3
    token = one.post("/tokens", json={"name": "x", "role": "viewer"}, headers=KEY)
    assert token.status_code == 201 and not is_replay(token)


def test_a_key_belongs_to_the_method(services: Services) -> None:
    names = [RequestName("token:1", method, "/x", b"k") for method in ("POST", "PUT")]
    assert len({services.keys.claim(name, b"").seq for name in names}) == 2


def test_many_at_once_make_one_photo(api: Api, app: Flask, services: Services) -> None:
    begin = threading.Barrier(8)

    def ask(number: int) -> TestResponse:
        begin.wait(30)
        return take(Api(app.test_client(), api.token))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    done = [answer for answer in answers if answer.status_code == 201]
    assert sum(not is_replay(answer) for answer in done) == 1
    assert len({answer.headers["Location"] for answer in done}) == 1
    for answer in answers:
        if answer.status_code != 201:
            assert_problem(answer, 409, "idempotency-in-flight")
    assert photos_of(services) == 1
    assert is_replay(take(api))


def test_while_the_first_one_runs_the_next_is_told_so(
    api: Api, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[TestResponse] = []
    keep = library.PhotoLibrary.add

    def ask_meanwhile(*arguments: Any) -> Any:
        answers.extend([take(api), take(api, label="other")])
        return keep(*arguments)

    monkeypatch.setattr(library.PhotoLibrary, "add", ask_meanwhile)
    assert take(api).status_code == 201
    assert_problem(answers[0], 409, "idempotency-in-flight")
    assert_problem(answers[1], 422, "idempotency-key-reused")
    assert photos_of(services) == 1


# What was not done is not kept ----------------------------------------------------------------------------------------


def test_a_request_that_failed_is_done_anew(
    api: Api, faults: Faults, services: Services, settings: config.Settings
) -> None:
    faults.absent = True
    services.cameras.get("demo").close()
    assert take(api).status_code == 503
    assert rows(settings) == []


def test_a_disk_that_was_full_is_tried_again(api: Api, monkeypatch: pytest.MonkeyPatch, services: Services) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(library, "require_space", cut_off)
        assert_problem(take(api), 507, "insufficient-storage")
    answer = take(api, label="another body: nothing was done for the first")
    assert answer.status_code == 201 and not is_replay(answer)
    assert photos_of(services) == 1


def test_what_was_made_before_a_failure_is_not_made_again(
    api: Api, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_photo = services.photos.take

    def take_and_fail(*arguments: Any, **named: Any) -> Any:
        take_photo(*arguments, **named)
        raise RuntimeError("after the photo was kept")

    with monkeypatch.context() as patch:
        patch.setattr(services.photos, "take", take_and_fail)
        assert_problem(take(api), 500, "internal-error")
    answer = take(api)
    assert answer.status_code == 201 and is_replay(answer)
    assert photos_of(services) == 1


def test_an_answer_that_cannot_be_stored_is_given_all_the_same(
    api: Api, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(KeyRows, "keep", cut_off)
        first = take(api)
    second = take(api)
    assert first.status_code == 201 and is_replay(second)
    assert second.get_json() == first.get_json() and second.headers["ETag"] == first.headers["ETag"]
    assert photos_of(services) == 1


# Bad keys, and who may not --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "a\tb", "é", "\x7f"])
def test_a_key_that_is_none_is_refused(api: Api, services: Services, key: str) -> None:
    document = assert_problem(take(api, key), 400, "bad-request")
    assert "1 to 255 visible ASCII characters" in document["detail"]
    assert photos_of(services) == 0


@pytest.mark.parametrize("key", ["x", "x" * 255, '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "~!"])
def test_any_visible_characters_are_a_key(api: Api, key: str) -> None:
    assert take(api, key).status_code == 201
    assert is_replay(take(api, key))


def test_a_key_opens_nothing_and_is_not_taken_by_who_may_not(
    nobody: Api, client_with: Callable[..., Api], api: Api, settings: config.Settings
) -> None:
    take(api)
    assert_problem(take(nobody), 401, "unauthenticated")
    assert_problem(take(client_with("camera:demo:view")), 403, "forbidden")
    assert_problem(take(api, width="5"), 422, "invalid")
    assert_problem(api.post(PHOTOS, data=b"{", content_type="application/json", headers=KEY), 400, "malformed-json")
    assert len(rows(settings)) == 1


def test_the_keys_of_a_caller_are_bounded_and_retries_still_answered(
    client_with: Callable[..., Api], monkeypatch: pytest.MonkeyPatch, settings: config.Settings
) -> None:
    monkeypatch.setattr(idempotency, "MOST_KEYS", 3)
    busy, other = client_with(role="operator"), client_with(role="operator")
    for number in range(3):
        assert take(busy, str(number)).status_code == 201
    refused = take(busy, "3")
    assert_problem(refused, 429, "too-many-requests")
    assert int(refused.headers["Retry-After"]) > 0
    assert is_replay(take(busy, "0"))
    assert take(other, "3").status_code == 201
    assert busy.post(PHOTOS, json=SMALL).status_code == 201
    assert len(rows(settings)) == 4


# Secrets --------------------------------------------------------------------------------------------------------------


def test_a_secret_is_shown_once_and_kept_nowhere(api: Api, settings: config.Settings, services: Services) -> None:
    wanted = {"name": "tablet", "role": "viewer"}
    first, second = (api.post("/tokens", json=wanted, headers=KEY) for _ in range(2))
    secret = first.get_json()["token"]
    assert second.status_code == 201 and is_replay(second)
    assert second.headers["Location"] == first.headers["Location"]
    assert second.headers["Cache-Control"] == "no-store"
    assert second.get_json() == {name: value for name, value in first.get_json().items() if name != "token"}
    assert len([token for token in services.access.tokens(200) if token.name == "tablet"]) == 1
    for file in settings.storage.path.glob("piapi.db*"):
        assert secret.encode() not in file.read_bytes()
        assert KEY["Idempotency-Key"].encode() not in file.read_bytes()


def test_a_token_made_before_a_crash_is_answered_without_its_secret(
    api: Api, monkeypatch: pytest.MonkeyPatch, services: Services
) -> None:
    wanted = {"name": "tablet", "scopes": ["camera:demo:view"]}
    with monkeypatch.context() as patch:
        patch.setattr(KeyRows, "keep", cut_off)
        first = api.post("/tokens", json=wanted, headers=KEY)
    second = api.post("/tokens", json=wanted, headers=KEY)
    assert is_replay(second) and "token" not in second.get_json()
    assert second.headers["Location"] == first.headers["Location"]


# Crashes: what is on disk at a moment is copied, and a second service starts on the copy ------------------------------


@pytest.fixture
def restarted(settings: config.Settings, tmp_path: Path) -> Iterator[Callable[[], Flask]]:
    """Starts a service on the folder `crashed`."""
    apps: list[Flask] = []
    storage = config.Storage(path=tmp_path / "crashed", floor_bytes=0)

    def restart() -> Flask:
        apps.append(create_app(replace(settings, storage=storage)))
        apps[-1].extensions["piapi"].start()
        return apps[-1]

    yield restart
    for app in apps:
        app.extensions["piapi"].close()


BEFORE_THE_CAPTURE, AFTER_THE_FILE, AFTER_THE_ROW, BEFORE_THE_ANSWER = range(4)


@pytest.mark.parametrize(
    ("moment", "is_made"),
    [(BEFORE_THE_CAPTURE, False), (AFTER_THE_FILE, False), (AFTER_THE_ROW, True), (BEFORE_THE_ANSWER, True)],
    ids=["before the capture", "after the file", "after the row", "before the answer is stored"],
)
def test_a_retry_after_a_crash_finds_the_photo_or_takes_it(
    moment: int,
    is_made: bool,
    api: Api,
    services: Services,
    settings: config.Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    restarted: Callable[[], Flask],
) -> None:
    def crash() -> None:
        shutil.copytree(settings.storage.path, tmp_path / "crashed", dirs_exist_ok=True)

    def at(owner: Any, name: str, *, after: bool = False) -> None:
        real = getattr(owner, name)

        def wrapped(*arguments: Any, **named: Any) -> Any:
            if not after:
                crash()
            result = real(*arguments, **named)
            if after:
                crash()
            return result

        monkeypatch.setattr(owner, name, wrapped)

    if moment == BEFORE_THE_CAPTURE:
        at(services.photos, "take")
    elif moment == AFTER_THE_FILE:
        at(library, "write_durably", after=True)
    elif moment == AFTER_THE_ROW:
        at(library.PhotoLibrary, "add", after=True)
    else:
        at(KeyRows, "keep")
    lost = take(api)
    monkeypatch.undo()
    app = restarted()
    again = Api(app.test_client(), api.token)
    answer = take(again)
    assert answer.status_code == 201
    assert is_replay(answer) is is_made
    if is_made:
        assert answer.get_json() == lost.get_json()
        assert (answer.headers["Location"], answer.headers["ETag"]) == (lost.headers["Location"], lost.headers["ETag"])
    else:
        assert answer.headers["Location"] != lost.headers["Location"]
    assert photos_of(app.extensions["piapi"].services) == 1
    assert is_replay(take(again)) and take(again).get_json() == answer.get_json()


def test_a_key_that_was_cut_off_before_it_made_anything_may_come_with_another_body(
    api: Api, services: Services, settings: config.Settings, restarted: Callable[[], Flask], tmp_path: Path
) -> None:
    services.keys.claim(RequestName("x", "POST", "/", b"k"), b"one body")
    shutil.copytree(settings.storage.path, tmp_path / "crashed")
    keys = restarted().extensions["piapi"].services.keys
    assert keys.claim(RequestName("x", "POST", "/", b"k"), b"another").answer is None


def test_an_answer_is_given_again_after_a_restart(
    api: Api, app: Flask, settings: config.Settings, restarted: Callable[[], Flask], tmp_path: Path
) -> None:
    first = take(api)
    app.extensions["piapi"].close()
    shutil.copytree(settings.storage.path, tmp_path / "crashed")
    second = take(Api(restarted().test_client(), api.token))
    assert is_replay(second) and second.get_json() == first.get_json()


def test_what_was_made_and_removed_since_is_not_made_again(
    api: Api, monkeypatch: pytest.MonkeyPatch, services: Services
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(KeyRows, "keep", cut_off)
        first = take(api)
    api.delete(first.headers["Location"])
    assert_problem(take(api), 404, "not-found")
    assert photos_of(services) == 0


# A view that moves something ------------------------------------------------------------------------------------------


class Gate:
    """What a garage door will be: an intent, then a movement, which may be cut off."""

    def __init__(self, app: Flask) -> None:
        self.moved = 0
        self.fails = False
        self.database = app.extensions["piapi"]._database
        self.view = once(self.again, required=True)(self.press)

    def press(self) -> Response:
        with self.database.write() as connection:
            made_at("/api/v1/operations/1")(connection)
        if self.fails:
            raise PiApiError("the power went")
        self.moved += 1
        return self.answer("succeeded", 202)

    def again(self, location: str) -> Response:
        assert location == "/api/v1/operations/1"
        return self.answer("unknown", 202)

    def answer(self, state: str, status: int) -> Response:
        response = make_response({"state": state}, status)
        response.headers["Location"] = "/api/v1/operations/1"
        return response


@pytest.fixture
def gate(app: Flask, services: Services) -> Gate:
    gate = Gate(app)

    def view() -> Any:
        g.caller = Caller("1", "test", ())
        return gate.view()

    view._is_open_to_all = True  # type: ignore[attr-defined]
    app.add_url_rule("/gate", view_func=view, methods=["POST"])
    return gate


def test_what_moves_something_needs_a_key(gate: Gate, nobody: Api) -> None:
    assert_problem(nobody.post("/gate", outside=True), 428, "idempotency-key-required")
    assert gate.moved == 0
    for _ in range(2):
        assert nobody.post("/gate", outside=True, headers=KEY).get_json() == {"state": "succeeded"}
    assert gate.moved == 1


def test_a_movement_that_was_cut_off_is_unknown_and_not_repeated(gate: Gate, nobody: Api) -> None:
    gate.fails = True
    assert_problem(nobody.post("/gate", outside=True, headers=KEY), 500, "internal-error")
    gate.fails = False
    for _ in range(2):
        answer = nobody.post("/gate", outside=True, headers=KEY)
        assert answer.status_code == 202 and answer.get_json() == {"state": "unknown"}
        assert is_replay(answer) and answer.headers["Location"] == "/api/v1/operations/1"
    assert gate.moved == 0


# Age ------------------------------------------------------------------------------------------------------------------

NAME = RequestName("token:1", "POST", "/x", b"key")
ANSWER = Answer(201, {"Location": "/x/1"}, b"{}")
YEAR_S = 365 * 86_400


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "piapi.db")
    database.open()
    yield database
    database.close()


def answered(keys: Keys, name: RequestName = NAME) -> None:
    keys.keep(keys.claim(name, b"").seq, ANSWER)


def test_a_key_is_kept_for_a_day(database: Database) -> None:
    clock = FakeClock()
    keys = Keys(KeyRows(database), clock, "boot")
    answered(keys)
    clock.advance(KEPT_S - 1)
    keys.forget_old()
    assert keys.claim(NAME, b"").answer == ANSWER
    clock.advance(1)
    assert keys.claim(NAME, b"other").answer is None


@pytest.mark.parametrize("jump", [YEAR_S, -YEAR_S])
def test_within_a_boot_a_jump_of_the_clock_frees_no_key(database: Database, jump: int) -> None:
    clock = FakeClock()
    keys = Keys(KeyRows(database), clock, "boot")
    answered(keys)
    clock.jump(jump)
    keys.forget_old()
    assert keys.claim(NAME, b"").answer == ANSWER
    clock.advance(KEPT_S)
    assert keys.claim(NAME, b"").answer is None


def test_over_boots_age_is_by_the_wall_clock(database: Database) -> None:
    before, after = FakeClock(), FakeClock()
    answered(Keys(KeyRows(database), before, "boot 1"))
    keys = Keys(KeyRows(database), after, "boot 2")
    after.jump(KEPT_S - 1)
    keys.forget_old()
    assert keys.claim(NAME, b"").answer == ANSWER
    after.jump(1)
    keys.forget_old()
    assert KeyRows(database).find(NAME) is None


def test_a_machine_that_wakes_up_in_the_past_frees_no_key_and_keeps_none_for_ever(database: Database) -> None:
    before, after = FakeClock(), FakeClock()
    before.jump(YEAR_S)
    answered(Keys(KeyRows(database), before, "boot 1"))
    keys = Keys(KeyRows(database), after, "boot 2")
    assert keys.claim(NAME, b"").answer == ANSWER
    keys.forget_old()
    after.advance(KEPT_S - 1)
    keys.forget_old()
    assert keys.claim(NAME, b"").answer == ANSWER
    after.advance(1)
    keys.forget_old()
    assert KeyRows(database).find(NAME) is None


def test_old_keys_are_removed_in_small_batches(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    rows, sizes = KeyRows(database), list[int]()
    keys = Keys(rows, clock, "boot")
    for number in range(7):
        answered(keys, RequestName("token:1", "POST", "/x", bytes([number])))
    clock.advance(KEPT_S)
    answered(keys)
    remove = rows.remove
    monkeypatch.setattr(idempotency, "_BATCH", 3)
    monkeypatch.setattr(rows, "remove", lambda seqs: (sizes.append(len(seqs)), remove(seqs)))
    keys.forget_old()
    assert sizes == [3, 3, 1]
    assert rows.count("token:1") == 1


def test_a_key_in_flight_and_a_key_reused_are_told_apart(database: Database) -> None:
    keys = Keys(KeyRows(database), FakeClock(), "boot")
    claimed = keys.claim(NAME, b"one")
    with pytest.raises(KeyInFlight):
        keys.claim(NAME, b"one")
    with pytest.raises(KeyReused):
        keys.claim(NAME, b"two")
    keys.release(claimed.seq)
    assert keys.claim(NAME, b"two").seq != claimed.seq


def test_a_request_that_ends_while_its_retry_looks_for_it_is_not_done_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = KeyRows(database)
    keys = Keys(rows, FakeClock(), "boot")
    first = keys.claim(NAME, b"")
    find = rows.find

    def find_and_be_late(name: RequestName) -> KeyRow | None:
        found = find(name)
        with database.write() as connection:
            keys.tie(first.seq, "/x/1")(connection)
        keys.keep(first.seq, ANSWER)
        return found

    monkeypatch.setattr(rows, "find", find_and_be_late)
    with pytest.raises(KeyInFlight):
        keys.claim(NAME, b"")
    monkeypatch.undo()
    assert keys.claim(NAME, b"").answer == ANSWER


def test_nothing_is_made_for_a_key_that_has_gone(database: Database) -> None:
    keys = Keys(KeyRows(database), FakeClock(), "boot")
    claimed = keys.claim(NAME, b"")
    KeyRows(database).remove([claimed.seq])
    with pytest.raises(StorageError), database.write() as connection:
        connection.execute("INSERT INTO camera_settings VALUES ('x', 0, '{}')")
        keys.tie(claimed.seq, "/x/1")(connection)
    assert database.read("SELECT * FROM camera_settings") == []


def test_too_many_keys_are_refused_before_anything_is_written(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "MOST_KEYS", 1)
    keys = Keys(KeyRows(database), FakeClock(), "boot")
    answered(keys)
    with pytest.raises(TooManyRequests):
        keys.claim(RequestName("token:1", "POST", "/y", b"key"), b"")
    assert keys.claim(NAME, b"").answer == ANSWER


def test_a_boot_has_a_name() -> None:
    assert len(boot_id()) == 36 and boot_id() == boot_id()


# The document ---------------------------------------------------------------------------------------------------------


def test_every_post_of_a_known_caller_takes_a_key_and_says_so(api: Api) -> None:
    document = json.loads(api.get("/openapi.json").get_data())
    posts = {path: item["post"] for path, item in document["paths"].items() if "post" in item}
    known = {path: post for path, post in posts.items() if post.get("security") != []}
    assert {"/api/v1/cameras/{id}/photos", "/api/v1/tokens"} <= set(known)
    for path, operation in known.items():
        names = [item["name"] for item in operation.get("parameters", []) if item.get("in") == "header"]
        assert "Idempotency-Key" in names, path
        answers = operation["responses"]
        assert all("Idempotency-Replayed" in answers[status]["headers"] for status in answers if status < "3"), path
        for status, slug in (("409", "in-flight"), ("422", "key-reused")):
            assert f"`idempotency-{slug}`" in answers[status]["description"], path
        assert "`too-many-requests`" in answers["429"]["description"], path
