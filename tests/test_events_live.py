"""The journal live, from the service as users start it."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service import Service, running


class Live:
    """A client of the live journal. `next` waits for an event."""

    def __init__(self, service: Service, token: str, query: str = "", last_id: int | None = None) -> None:
        self.connection = service.connect()
        headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
        if last_id is not None:
            headers["Last-Event-ID"] = str(last_id)
        self.connection.request("GET", f"/api/v1/events{query}", headers=headers)
        self.response = self.connection.getresponse()
        assert self.response.status == 200, self.response.read()
        assert self.response.readline() == b"retry: 3000\n"
        assert self.response.readline() == b"\n"

    def next(self) -> tuple[str, int | None, dict[str, Any]]:
        """Its type, id and data; comments are passed over. Raises EOFError at the end."""
        fields: dict[str, str] = {}
        while "data" not in fields:
            line = self.response.readline().decode()
            if not line:
                raise EOFError
            name, _, value = line.rstrip("\n").partition(": ")
            fields[name] = value
        assert self.response.readline() == b"\n"
        return fields["event"], int(fields["id"]) if "id" in fields else None, json.loads(fields["data"])

    def until(self, type: str) -> list[int]:
        """The ids up to the next event of this type."""
        seen = []
        while True:
            found, id, data = self.next()
            assert id == data["id"] and found == data["type"]
            seen.append(id)
            if found == type:
                return seen

    def close(self) -> None:
        self.response.close()
        self.connection.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("live")) as service:
        yield service


@pytest.fixture(scope="module")
def token(service: Service) -> str:
    return service.token()


def take(service: Service, token: str, label: str) -> str:
    status, _, body = service.call("POST", "/api/v1/cameras/demo/photos", token, {"label": label, "width": 64})
    assert status == 201, body
    return str(json.loads(body)["id"])


def newest(service: Service, token: str) -> int:
    _, _, body = service.call("GET", "/api/v1/events?limit=1", token)
    return int(json.loads(body)["items"][0]["id"])


def test_entries_come_as_they_are_written_to_many_at_once(service: Service, token: str) -> None:
    readers = [Live(service, token, "?type=photo.captured") for _ in range(100)]
    photo = take(service, token, "live")
    for reader in readers:
        type, _, entry = reader.next()
        assert (type, entry["data"]["id"], entry["actor"]) == ("photo.captured", photo, "token:test")
        reader.close()


def test_a_reader_who_comes_back_misses_nothing_and_sees_nothing_twice(service: Service, token: str) -> None:
    first = newest(service, token)
    seen: list[int] = []
    for number in range(5):
        for _ in range(3):
            take(service, token, f"resume {number}")
        with contextlib.closing(Live(service, token, last_id=seen[-1] if seen else first)) as reader:
            for _ in range(2):
                seen += reader.until("photo.captured")
    with contextlib.closing(Live(service, token, last_id=seen[-1])) as reader:
        while seen[-1] < newest(service, token):
            found = reader.next()[1]
            assert found is not None
            seen.append(found)
    assert seen == [*range(first + 1, seen[-1] + 1)]


def test_what_the_command_line_writes_comes_too(service: Service, token: str) -> None:
    with contextlib.closing(Live(service, token, "?type=token.created")) as reader:
        service.token("--role", "viewer")
        type, _, entry = reader.next()
        assert (type, entry["actor"], entry["subject"]) == ("token.created", "console", "system:tokens")


def test_a_gap_is_told_before_it_goes_on(service: Service, token: str) -> None:
    at = newest(service, token)
    with contextlib.closing(Live(service, token, "?type=photo.captured", last_id=at + 1000)) as reader:
        assert reader.next() == ("gap", None, {"from": at + 1, "to": at + 1000})
        photo = take(service, token, "after the gap")
        assert reader.next()[2]["data"]["id"] == photo


def test_a_revoked_token_ends_its_stream(service: Service, token: str) -> None:
    other = service.token("--scope", "camera:nothing:view")
    _, _, body = service.call("GET", "/api/v1/tokens?limit=1", token)
    id = json.loads(body)["items"][0]["id"]
    with contextlib.closing(Live(service, other)) as reader:
        assert service.call("DELETE", f"/api/v1/tokens/{id}", token)[0] == 204
        with pytest.raises((EOFError, http.client.HTTPException, ConnectionResetError)):
            reader.next()


def test_a_reader_who_pauses_goes_on_where_it_was(service: Service, token: str) -> None:
    first = newest(service, token)
    with contextlib.closing(Live(service, token, last_id=0)) as paused:
        for number in range(30):
            take(service, token, f"{number} " + "x" * 90)
        seen = [paused.next()[1] for _ in range(first + 30)]
    assert seen == [*range(1, first + 31)]


def test_a_stream_ends_when_the_service_does(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        reader = Live(service, service.token())
        assert service.stop() == 0
        with pytest.raises(EOFError):
            while True:
                reader.next()
        reader.close()
    assert b"Traceback" not in service.said
