"""The local socket: who gets in there without a token, and what becomes of it when the service ends, or is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from piapi.cli.local import LocalConnection
from piapi.console import MOST_PATH, NAME, address_in, make_place, run_folder, user_at
from piapi.server.connection import USER
from tests.conftest import Api, assert_problem
from tests.local import ask
from tests.service import ROOT, Service, running

CONFIG = """
[storage]
floor_bytes = 0
[cameras.front]
backend = "simulated"
width = 320
height = 240
"""
TOKEN = {"name": "made here", "role": "viewer"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("console"), CONFIG) as service:
        yield service


def folder_of(service: Service) -> Path:
    return service.folder / "data" / "run"


# Who gets in


def test_the_services_user_is_an_admin_there_and_the_journal_calls_it_console(service: Service) -> None:
    status, made = ask(folder_of(service), "POST", "/api/v1/tokens", TOKEN)
    assert status == 201
    _, events = ask(folder_of(service), "GET", "/api/v1/events?type=token.created")
    assert [event["actor"] for event in events["items"] if event["data"]["id"] == made["id"]] == ["console"]


def test_a_token_counts_there_for_what_it_may(service: Service) -> None:
    _, made = ask(folder_of(service), "POST", "/api/v1/tokens", TOKEN)
    bearer = {"Authorization": f"Bearer {made['token']}"}
    assert ask(folder_of(service), "GET", "/api/v1/cameras", headers=bearer)[0] == 200
    assert ask(folder_of(service), "POST", "/api/v1/tokens", TOKEN, bearer)[0] == 403
    assert ask(folder_of(service), "GET", "/api/v1/cameras", headers={"Authorization": "Bearer wrong"})[0] == 401


@pytest.mark.parametrize(
    "header", ["Forwarded", "Via", *(f"X-Forwarded-{name}" for name in ("For", "Host", "Proto", "Prefix")), "X-Real-IP"]
)
def test_what_a_proxy_passes_on_is_not_the_console(service: Service, header: str) -> None:
    assert ask(folder_of(service), "GET", "/api/v1/cameras", headers={header: "192.0.2.1"})[0] == 401


def test_over_the_network_a_token_is_needed_as_ever(service: Service) -> None:
    assert service.call("GET", "/api/v1/cameras")[0] == 401
    assert service.call("POST", "/api/v1/tokens", body=TOKEN)[0] == 401


def test_a_foreign_host_is_refused_there_too(service: Service) -> None:
    assert ask(folder_of(service), "GET", "/api/v1/cameras", headers={"Host": "evil.example"})[0] == 400


@pytest.mark.parametrize(("user", "status"), [(0, 200), (os.geteuid(), 200), (os.geteuid() + 12345, 401), (-1, 401)])
def test_only_root_and_the_services_user_are_let_in(app: Flask, nobody: Api, user: int, status: int) -> None:
    response = nobody.get("/cameras", environ_overrides={USER: user})
    assert response.status_code == status


def test_no_header_makes_anybody_the_console(nobody: Api) -> None:
    for name in ("Piapi.User", "piapi.user", "Piapi-User"):
        assert_problem(nobody.get("/cameras", headers={name: "0"}), 401, "unauthenticated")


def test_others_cannot_even_open_it(service: Service) -> None:
    assert stat.S_IMODE((folder_of(service) / NAME).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder_of(service).stat().st_mode) == 0o700


def test_a_stream_and_a_photo_go_that_way_too(service: Service) -> None:
    status, photo = ask(folder_of(service), "POST", "/api/v1/cameras/front/photos", {"width": 64})
    assert status == 201
    status, data = ask(folder_of(service), "GET", photo["links"]["file"])
    assert status == 200 and len(data) == photo["size_bytes"]
    with contextlib.closing(LocalConnection(folder_of(service))) as connection:
        connection.request("GET", "/api/v1/cameras/front/stream")
        response = connection.getresponse()
        assert response.read(100).startswith(b"--frame\r\n")


# From start to end


def test_none_is_left_after_a_clean_stop_and_one_of_a_killed_service_is_replaced(tmp_path: Path) -> None:
    place = tmp_path / "data" / "run" / NAME
    with running(tmp_path, CONFIG) as service:
        assert ask(place.parent, "GET", "/api/v1/cameras")[0] == 200
        service.stop(signal.SIGKILL)
    assert place.is_socket()
    with pytest.raises(ConnectionRefusedError):
        ask(place.parent, "GET", "/api/v1/cameras")
    with running(tmp_path, CONFIG) as service:
        assert ask(place.parent, "GET", "/api/v1/cameras")[0] == 200
        assert service.stop() == 0
        assert b"Traceback" not in service.said, service.said.decode()
    assert not place.exists()


def test_a_second_service_on_the_folder_leaves_the_firsts_alone(service: Service) -> None:
    environ = {"PIAPI_DATA": str(service.folder / "data"), "PIAPI_PORT": "0"}
    second = subprocess.run([sys.executable, ROOT / "run.py"], env={**os.environ, **environ}, capture_output=True)
    assert second.returncode
    assert ask(folder_of(service), "GET", "/api/v1/cameras")[0] == 200


def test_a_data_folder_with_a_path_that_no_socket_takes_has_one_all_the_same(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 30)
    folder.mkdir()
    with running(folder, CONFIG) as service:
        assert len(str(folder_of(service) / NAME)) > MOST_PATH
        assert ask(folder_of(service), "GET", "/api/v1/cameras")[0] == 200
        assert service.stop() == 0
    assert not (folder_of(service) / NAME).exists()


def test_where_there_can_be_no_socket_the_service_says_so_and_runs(tmp_path: Path) -> None:
    place = tmp_path / "data" / "run" / NAME
    place.parent.mkdir(parents=True)
    place.write_text("precious")
    with running(tmp_path, CONFIG) as service:
        assert service.call("GET", "/api/v1/health/ready")[0] == 200
        assert b"no socket in" in service.said
        assert service.stop() == 0
    assert place.read_text() == "precious"


# The parts


def test_the_run_folder_is_systemds_or_in_the_data_folder(tmp_path: Path) -> None:
    assert run_folder(tmp_path, {}) == tmp_path / "run"
    assert run_folder(tmp_path, {"RUNTIME_DIRECTORY": "/run/piapi"}) == Path("/run/piapi")


def test_who_is_at_the_other_end_is_told_of_local_sockets_alone() -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other, socket.socket() as network:
        assert user_at(one) == os.geteuid()
        assert user_at(network) is None


@pytest.mark.parametrize("name", ["run", "deep" * 40])
def test_a_place_is_made_and_what_lay_there_goes_only_if_it_is_a_socket(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    before = len(list(Path("/proc/self/fd").iterdir()))
    make_place(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700 and list(folder.iterdir()) == []
    with address_in(folder) as address, socket.socket(socket.AF_UNIX) as stale:
        stale.bind(address)
    make_place(folder)
    assert list(folder.iterdir()) == []
    (folder / NAME).symlink_to("elsewhere")
    with pytest.raises(FileExistsError, match="no socket"):
        make_place(folder)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
