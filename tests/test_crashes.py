"""SIGKILL at any moment, while four clients take photos: what was acknowledged is there, and nothing is there twice."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import itertools
import json
import os
import random
import signal
import sqlite3
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.service import BIN, Service, children_of, environment, eventually, running

KILLS = 200
KILLS_OF_ALL = 10
CLIENTS = 4
CAMERA = """
[storage]
floor_bytes = 0
[cameras.front]
backend = "simulated"
width = 160
height = 120
"""

#: Later is fine: the camera is not open yet, or too many wait for it.
LATER = (409, 429, 503, 504)


@dataclass
class Ledger:
    """What the clients were told."""

    port: int
    acknowledged: dict[str, str] = field(default_factory=dict)
    """The SHA-256 of each photo, by id."""
    keyed: dict[str, str] = field(default_factory=dict)
    """The id of the photo, by the key (and label) of its request."""
    retried: set[str] = field(default_factory=set)
    news: threading.Condition = field(default_factory=threading.Condition)
    is_up: threading.Event = field(default_factory=threading.Event)
    is_over: bool = False

    def note(self, photo: dict[str, Any], key: str | None) -> None:
        with self.news:
            self.acknowledged[photo["id"]] = photo["sha256"]
            if key:
                self.keyed[key] = photo["id"]
            self.news.notify_all()

    def wait_for_more(self, count: int) -> None:
        with self.news:
            target = len(self.acknowledged) + count
            assert self.news.wait_for(lambda: len(self.acknowledged) >= target, 60), "no photo in a minute"

    def let_pass(self, seconds: float) -> None:
        """Some moment of the work that goes on meanwhile."""
        with self.news:
            self.news.wait_for(lambda: self.is_over, seconds)


class Client:
    """Takes photos until it is over, each second one under a key, for which it asks until it has an answer."""

    def __init__(self, ledger: Ledger, name: str, token: str) -> None:
        self._ledger = ledger
        self._name = name
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._connection = http.client.HTTPConnection("127.0.0.1", ledger.port, timeout=60)

    def run(self) -> None:
        for number in itertools.count():
            if self._ledger.is_over:
                break
            label = f"{self._name}-{number}"
            self._take(label, label if number % 2 else None)
        self._connection.close()

    def _take(self, label: str, key: str | None) -> None:
        while True:
            assert self._ledger.is_up.wait(60)
            try:
                status, body = self._post(label, key)
            except (OSError, http.client.HTTPException):  # it was killed meanwhile
                self._connection.close()
                if key is None:
                    return  # what became of it nobody knows
                self._ledger.retried.add(key)
                continue
            if status == 201:
                return self._ledger.note(json.loads(body), key)
            assert status in LATER, body
            self._ledger.let_pass(0.02)

    def _post(self, label: str, key: str | None) -> tuple[int, bytes]:
        headers = {**self._headers, "Idempotency-Key": key} if key else self._headers
        self._connection.request("POST", "/api/v1/cameras/front/photos", json.dumps({"label": label}), headers)
        response = self._connection.getresponse()
        return response.status, response.read()


def kill_worker(service: Service) -> None:
    before = children_of(service.process.pid)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: children_of(service.process.pid) not in ([], before))


def kill_all(service: Service) -> None:
    os.killpg(service.process.pid, signal.SIGKILL)
    service.process.wait(30)


def fsck(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [BIN / "piapi", "fsck"]
    return subprocess.run(command, env=environment(folder), cwd=folder, capture_output=True, text=True, check=False)


def assert_sound(folder: Path) -> None:
    with contextlib.closing(sqlite3.connect(folder / "data" / "piapi.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert list((folder / "data").rglob("*.part")) == []
    done = fsck(folder)
    assert done.returncode == 0, done.stdout + done.stderr


def assert_kept(service: Service, ledger: Ledger, token: str) -> None:
    """Each photo that was acknowledged is there whole, and each key has just one."""
    headers = {"Authorization": f"Bearer {token}"}
    with contextlib.closing(service.connect()) as connection:

        def get(path: str) -> bytes:
            connection.request("GET", f"/api/v1/photos{path}", headers=headers)
            response = connection.getresponse()
            body = response.read()
            assert response.status == 200, body
            return body

        for id, sha256 in ledger.acknowledged.items():
            assert hashlib.sha256(get(f"/{id}/file")).hexdigest() == sha256
        for key, id in ledger.keyed.items():
            assert [photo["id"] for photo in json.loads(get(f"?label={key}"))["items"]] == [id]


@pytest.mark.slow
def test_what_was_acknowledged_is_whole_and_nothing_is_done_twice_after_200_kills(tmp_path: Path) -> None:
    chance, port = random.Random(2026), "0"
    with contextlib.ExitStack() as services, ThreadPoolExecutor(CLIENTS) as pool:

        def start() -> Service:
            return services.enter_context(running(tmp_path, CAMERA, PIAPI_PORT=port))

        service = start()
        port = str(service.port)
        tokens = [service.token("--role", "operator") for _ in range(CLIENTS)]
        ledger = Ledger(service.port)
        services.callback(setattr, ledger, "is_over", True)  # also where this fails
        clients = [pool.submit(Client(ledger, f"client{n}", token).run) for n, token in enumerate(tokens)]
        ledger.is_up.set()
        for number in range(KILLS):
            ledger.wait_for_more(chance.randint(1, 8))
            ledger.let_pass(chance.uniform(0, 0.04))
            kill_worker(service)
            if number % (KILLS // KILLS_OF_ALL) == 0:
                ledger.wait_for_more(chance.randint(1, 8))
                ledger.is_up.clear()
                kill_all(service)
                service = start()
                ledger.is_up.set()
        ledger.is_over = True
        for client in clients:
            client.result(120)
        kill_all(service)
        service = start()
        assert len(ledger.retried) > 20 and ledger.retried <= set(ledger.keyed)
        assert_kept(service, ledger, tokens[0])
        assert service.stop() == 0
        assert_sound(tmp_path)
