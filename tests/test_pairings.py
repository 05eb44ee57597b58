"""Pairings: a code from an admin, good for one token."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import segno

from piapi import invitation
from piapi.api.services import Services
from piapi.errors import NotFound, TooManyRequests
from piapi.models import Token
from piapi.services.access import Access
from piapi.services.pairings import MOST_OPEN, OPEN_S, Pairings
from piapi.storage.pairings import PairingRows
from piapi.storage.tokens import TokenRows
from tests.conftest import Api, assert_problem, faults_of, wish_id
from tests.people import House
from tests.test_access import bearer

WANTED = {"name": "tablet", "scopes": ["camera:demo:view"], "expires_in_s": 3600}
HERE = "192.0.2.1"


class Counter(House):
    """Pairings on a database of their own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.access = Access(TokenRows(self.database), self.events, self.clock)
        self.pairings = self.in_boot("one")

    def in_boot(self, boot_id: str) -> Pairings:
        return Pairings(PairingRows(self.database), self.access, self.events, self.clock, boot_id)

    def code(self) -> str:
        return self.pairings.create("tablet", role="viewer", by="token:me")[1]


@pytest.fixture
def counter(tmp_path: Path) -> Iterator[Counter]:
    counter = Counter(tmp_path)
    yield counter
    counter.database.close()


def test_a_code_is_made_seen_redeemed_once_and_gone(api: Api, nobody: Api) -> None:
    made = api.post("/pairings", json=WANTED, base_url="http://pi.example:8000")
    assert made.status_code == 201 and made.headers["Cache-Control"] == "no-store"
    pairing = made.get_json()
    code = pairing.pop("code")
    assert len(code) == 32 and pairing.pop("page") == f"/pair#{code}"
    assert pairing.pop("link") == (link := f"http://pi.example:8000/pair#{code}")
    assert pairing.pop("qr") == segno.make(link).svg_data_uri(scale=4)
    assert made.headers["Location"] == pairing["links"]["self"]
    assert api.get("/pairings").get_json()["items"] == [pairing] == [api.get(pairing["links"]["self"]).get_json()]
    assert pairing["created_by"] == "token:test"
    paired = nobody.post("/pair", json={"code": code.lower()})
    assert paired.status_code == 201 and paired.headers["Cache-Control"] == "no-store"
    token = paired.get_json()
    assert (token["name"], token["scopes"], token["role"]) == ("tablet", ["camera:demo:view"], None)
    assert token["expires_at"] is not None and paired.headers["Location"] == token["links"]["self"]
    assert nobody.get("/cameras/demo", headers=bearer(token["token"])).status_code == 200
    assert_problem(nobody.get("/cameras/back", headers=bearer(token["token"])), 403, "forbidden")
    assert_problem(nobody.post("/pair", json={"code": code}), 404, "not-found")
    assert api.get("/pairings").get_json()["items"] == []
    assert_problem(api.get(pairing["links"]["self"]), 404, "not-found")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9000", "[::1]:9000", "LOCALHOST"])
@pytest.mark.parametrize(
    ("listens_on", "address"),
    [("0.0.0.0", "198.51.100.4"), ("::", "198.51.100.4"), ("192.0.2.7", "192.0.2.7"), ("fd00::7", "[fd00::7]")],
)
def test_an_address_of_this_machine_alone_stands_in_no_link(
    api: Api, monkeypatch: pytest.MonkeyPatch, host: str, listens_on: str, address: str
) -> None:
    monkeypatch.setattr(invitation, "own_address", lambda: "198.51.100.4")
    server = {"SERVER_NAME": listens_on, "SERVER_PORT": "8080"}
    made = api.post("/pairings", json=WANTED, base_url=f"http://{host}", environ_overrides=server).get_json()
    assert made["link"] == f"http://{address}:8080/pair#{made['code']}"
    assert made["qr"] == segno.make(made["link"]).svg_data_uri(scale=4)


@pytest.mark.parametrize("listens_on", ["127.0.0.1", "::1", "localhost"])
def test_there_is_no_link_where_no_other_device_gets_there(api: Api, listens_on: str) -> None:
    made = api.post("/pairings", json=WANTED, environ_overrides={"SERVER_NAME": listens_on}).get_json()
    assert (made["link"], made["qr"]) == (None, None)
    assert made["page"] == f"/pair#{made['code']}"


def test_a_pairing_can_be_closed(api: Api, nobody: Api) -> None:
    pairing = api.post("/pairings", json=WANTED).get_json()
    assert api.delete(pairing["links"]["self"]).status_code == 204
    assert_problem(api.delete(pairing["links"]["self"]), 404, "not-found")
    assert_problem(nobody.post("/pair", json={"code": pairing["code"]}), 404, "not-found")


def test_only_an_admin_has_to_do_with_pairings(nobody: Api, client_with: Callable[..., Api]) -> None:
    operator = client_with(role="operator")
    for method, path in (
        ("GET", "/pairings"),
        ("POST", "/pairings"),
        ("GET", "/pairings/x"),
        ("DELETE", "/pairings/x"),
    ):
        assert "system:*:admin" in assert_problem(operator.open(method, path), 403, "forbidden")["detail"]
        assert_problem(nobody.open(method, path), 401, "unauthenticated")


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, {"/name", ""}),
        ({**WANTED, "role": "viewer"}, {""}),
        ({**WANTED, "scopes": ["oven"]}, {"/scopes/0"}),
        ({**WANTED, "expires_in_s": "1"}, {"/expires_in_s"}),
    ],
    ids=wish_id,
)
def test_a_wrong_pairing_request_names_what_is_wrong(api: Api, body: dict[str, object], where: set[str]) -> None:
    assert faults_of(assert_problem(api.post("/pairings", json=body), 422, "invalid")) == where
    assert api.get("/pairings").get_json()["items"] == []


def test_a_redemption_is_checked_as_any_body(nobody: Api) -> None:
    assert faults_of(assert_problem(nobody.post("/pair", json={}), 422, "invalid")) == {"/code"}
    assert faults_of(assert_problem(nobody.post("/pair", json={"code": 5}), 422, "invalid")) == {"/code"}
    assert_problem(nobody.post("/pair", json={"code": "x" * 101}), 422, "invalid")
    assert_problem(nobody.post("/pair", data={"code": "x"}), 415, "unsupported-media-type")
    assert_problem(nobody.post("/pair", data=b"{" * 70_000, content_type="application/json"), 413, "too-large")
    elsewhere = {"Sec-Fetch-Site": "cross-site"}
    assert_problem(nobody.post("/pair", json={"code": "x"}, headers=elsewhere), 403, "forbidden")
    assert_problem(nobody.get("/pair"), 405, "method-not-allowed")


def test_wrong_codes_are_404_and_then_slowed(nobody: Api, api: Api) -> None:
    answers = [nobody.post("/pair", json={"code": f"WRONG{number}"}) for number in range(12)]
    assert [answer.status_code for answer in answers] == [404] * 10 + [429] * 2
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert api.get("/cameras").status_code == 200


def test_an_answer_that_is_given_again_has_no_code(api: Api, services: Services) -> None:
    key = {"Idempotency-Key": "k"}
    first = api.post("/pairings", json=WANTED, headers=key).get_json()
    again = api.post("/pairings", json=WANTED, headers=key)
    assert again.status_code == 201 and again.headers["Idempotency-Replayed"] == "true"
    assert again.get_json() == {
        name: value for name, value in first.items() if name not in ("code", "page", "link", "qr")
    }
    assert len(services.pairings.pairings(10)) == 1


def test_two_that_redeem_at_the_same_instant_get_one_token(counter: Counter) -> None:
    code, start = counter.code(), threading.Barrier(8)
    tokens: list[Token] = []
    refused: list[NotFound] = []

    def redeem(number: int) -> None:
        start.wait(30)
        try:
            tokens.append(counter.pairings.redeem(code, f"192.0.2.{number}")[0])
        except NotFound as error:
            refused.append(error)

    threads = [threading.Thread(target=redeem, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(tokens) == 1 and len(refused) == 7 and len({str(error) for error in refused}) == 1
    assert [token.id for token in counter.access.tokens(10)] == [tokens[0].id]
    assert counter.journal() == ["pairing.created", "token.created", "pairing.redeemed"]


def test_a_code_is_over_after_five_minutes_whatever_the_wall_clock_says(counter: Counter) -> None:
    first, second = counter.code(), counter.code()
    counter.clock.jump(86_400)
    counter.clock.advance(OPEN_S - 1)
    assert counter.pairings.redeem(first, HERE)
    counter.clock.jump(-2 * 86_400)
    counter.clock.advance(1)
    with pytest.raises(NotFound):
        counter.pairings.redeem(second, HERE)
    assert counter.pairings.pairings(10) == []
    counter.pairings.forget_old()
    assert counter.database.read("SELECT * FROM pairings") == []


def test_a_code_is_not_good_in_another_boot(counter: Counter) -> None:
    code = counter.code()
    with pytest.raises(NotFound):
        counter.in_boot("two").redeem(code, HERE)


def test_no_more_than_twenty_are_open(counter: Counter) -> None:
    for _ in range(MOST_OPEN):
        counter.code()
        counter.clock.advance(1)
    with pytest.raises(TooManyRequests) as refused:
        counter.code()
    assert refused.value.retry_after_s == OPEN_S - MOST_OPEN
    counter.clock.advance(refused.value.retry_after_s)
    counter.code()


def test_the_code_is_nowhere_in_the_database(counter: Counter, tmp_path: Path) -> None:
    code = counter.code()
    assert all(code.encode() not in path.read_bytes() for path in tmp_path.iterdir())
