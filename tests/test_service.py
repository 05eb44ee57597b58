"""The whole service, as users start it: gunicorn, the worker that gives sockets away, signals, kills, a real camera."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from piapi.services.pairings import MOST_OPEN
from tests import footage
from tests.service import ROOT, Service, children_of, environment, eventually, running
from tests.test_pair_cli import pair

SIMULATED = """
[storage]
floor_bytes = 0
[server]
max_viewers = 4
[cameras.front]
backend = "simulated"
width = 640
height = 480
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("service"), SIMULATED) as service:
        yield service


@pytest.fixture(scope="module")
def token(service: Service) -> str:
    return service.token()


@contextlib.contextmanager
def watching(service: Service, token: str, query: str = "") -> Iterator[socket.socket]:
    """A connection on which a stream has begun."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        request = f"GET /api/v1/cameras/front/stream{query} HTTP/1.1\r\nHost: localhost\r\n"
        connection.sendall(f"{request}Authorization: Bearer {token}\r\n\r\n".encode())
        assert connection.recv(15).startswith(b"HTTP/1.1 200")
        yield connection


def viewers(service: Service, token: str) -> int:
    found: int = json.loads(service.call("GET", "/api/v1/cameras/front", token)[2])["viewers"]
    return found


# From a start to a photo ----------------------------------------------------------------------------------------------


def test_the_demonstration_says_so_loudly_and_takes_a_photo(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        assert b"SIMULATED HARDWARE" in service.said and b"tokens create" in service.said
        token = service.token()
        status, headers, body = service.call("POST", "/api/v1/cameras/demo/photos", token)
        assert status == 201
        photo = json.loads(body)
        assert photo["emulated"] is True and headers["location"] == photo["links"]["self"]
        status, headers, data = service.call("GET", photo["links"]["file"], token)
        assert status == 200 and hashlib.sha256(data).hexdigest() == photo["sha256"]
        root = json.loads(service.call("GET", "/api/v1/", token)[2])
        assert root["emulated"] is True
        assert service.stop() == 0
        assert b"ERROR" not in service.said and b"Traceback" not in service.said, service.said.decode()


def test_the_demonstration_prints_a_link_that_lets_one_phone_in(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        eventually(lambda: b"/pair#" in service.said)
        link = re.search(rb"http://127\.0\.0\.1:(\d+)/pair#([A-Z2-7]{32})\n", service.said)
        assert link is not None and int(link[1]) == service.port
        assert "▀" not in service.said.decode()  # no terminal
        status, _, body = service.call("POST", "/api/v1/pair", body={"code": link[2].decode()})
        assert status == 201 and json.loads(body)["role"] == "operator"
        assert service.call("POST", "/api/v1/pair", body={"code": link[2].decode()})[0] == 404


def test_the_demonstration_starts_where_no_pairing_can_be_made(tmp_path: Path) -> None:
    for _ in range(MOST_OPEN):
        assert pair(tmp_path / "data", "phone").exit_code == 0
    with running(tmp_path) as service:
        eventually(lambda: b"no link to pair a phone with" in service.said)
        assert service.call("GET", "/api/v1/health/ready")[0] == 200
        assert b"/pair#" not in service.said and service.stop() == 0


def test_a_link_to_real_hardware_is_not_printed(service: Service) -> None:
    assert service.call("GET", "/api/v1/health/ready")[0] == 200
    assert b"piapi pair phone" in service.said and b"/pair#" not in service.said


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_ends_cleanly_and_leaves_no_process(tmp_path: Path, sig: signal.Signals) -> None:
    with running(tmp_path, SIMULATED) as service:
        token = service.token()
        workers = children_of(service.process.pid)
        assert len(workers) == 1
        with watching(service, token) as stream:
            assert service.stop(sig) == 0
            while stream.recv(65536):
                pass
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
        assert b"Traceback" not in service.said, service.said.decode()


def test_a_closed_terminal_ends_it_in_order(tmp_path: Path) -> None:
    with running(tmp_path, SIMULATED) as service:
        assert service.call("GET", "/api/v1/health/ready")[0] == 200
        (worker,) = children_of(service.process.pid)
        os.killpg(service.process.pid, signal.SIGHUP)
        assert service.stop() == 0
        assert not Path(f"/proc/{worker}").exists()
        assert b"was sent SIGHUP" not in service.said, service.said.decode()


def test_no_signal_makes_a_second_owner_of_the_hardware(service: Service, token: str) -> None:
    workers = children_of(service.process.pid)
    for sig in (signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR2):
        service.process.send_signal(sig)
    for _ in range(20):
        assert service.call("GET", "/api/v1/cameras/front", token)[0] == 200
    assert children_of(service.process.pid) == workers


def test_it_ends_at_once_while_a_long_exposure_is_under_way(tmp_path: Path) -> None:
    with running(tmp_path, SIMULATED) as service, contextlib.closing(service.connect()) as waiting:
        token = service.token()
        controls = {"controls": {"exposure": "manual", "exposure_s": 1.0}}
        assert service.call("POST", "/api/v1/cameras/front/photos", token, controls)[0] == 201
        controls["controls"]["exposure_s"] = 30.0
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        waiting.request("POST", "/api/v1/cameras/front/photos", json.dumps(controls), headers)
        assert service.call("GET", "/api/v1/health/live")[0] == 200, "and so the photo, which came before, is under way"
        began = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - began < 8
        assert waiting.getresponse().status == 503


def test_cameras_that_keep_all_waiting_leave_threads_for_the_rest(tmp_path: Path) -> None:
    config = SIMULATED.replace("max_viewers = 4", "threads = 6")
    with running(tmp_path, config) as service, ThreadPoolExecutor(12) as pool:
        token = service.token()
        assert service.call("GET", "/api/v1/cameras/front/snapshot", token)[0] == 200
        controls = {"controls": {"exposure": "manual", "exposure_s": 3.0}}
        wishes = [{**controls, "width": 100 + number} for number in range(12)]
        began = time.monotonic()
        waiting = [pool.submit(service.call, "POST", "/api/v1/cameras/front/photos", token, wish) for wish in wishes]
        for _ in range(10):
            assert service.call("GET", "/api/v1/health/live")[0] == 200
        assert time.monotonic() - began < 3
        statuses = {one.result(60)[0] for one in waiting}
        assert 409 in statuses and 201 in statuses and statuses <= {201, 409, 504}


def test_what_lies_in_the_current_folder_is_not_taken_for_ours(tmp_path: Path) -> None:
    for name in ("config.py", "run.py", "piapi.py"):
        (tmp_path / name).write_text("raise SystemExit('not ours')\n")
    with running(tmp_path, SIMULATED) as service:
        assert service.call("GET", "/api/v1/health/ready")[0] == 200


def test_all_its_processes_stay_in_its_session(service: Service) -> None:
    for pid in (service.process.pid, *children_of(service.process.pid)):
        assert os.getsid(pid) == service.process.pid


def test_a_second_service_on_the_same_folder_is_refused_and_the_first_goes_on(service: Service, token: str) -> None:
    second = subprocess.run(
        [sys.executable, ROOT / "run.py"],
        cwd=service.folder,
        env=environment(service.folder, PIAPI_CONFIG=str(service.folder / "piapi.toml")),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode != 0 and "in use by another piapi" in second.stderr
    assert "Traceback" not in second.stderr
    assert service.call("GET", "/api/v1/", token)[0] == 200


def test_wrong_settings_stop_the_start_and_are_all_named(tmp_path: Path) -> None:
    file = tmp_path / "piapi.toml"
    file.write_text("[server]\nport = -1\nnmaes = []\n[cameras.front]\nbackend = 'x'\n")
    done = subprocess.run(
        [sys.executable, ROOT / "run.py"],
        cwd=tmp_path,
        env={**environment(tmp_path), "PIAPI_CONFIG": str(file)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0 and "Traceback" not in done.stderr
    for key in ("server.port", "server.nmaes", "cameras.front.backend"):
        assert key in done.stderr


def test_a_port_that_is_taken_is_said(service: Service, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "run.py"],
        cwd=tmp_path,
        env={**environment(tmp_path), "PIAPI_PORT": str(service.port)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0 and "in use" in done.stderr.lower()


# The command line beside it -------------------------------------------------------------------------------------------


def test_a_token_made_and_revoked_on_the_machine_is_known_at_once(service: Service) -> None:
    secret = service.token("--scope", "camera:front:view")
    assert service.call("GET", "/api/v1/cameras/front", secret)[0] == 200
    assert service.call("POST", "/api/v1/cameras/front/photos", secret)[0] == 403
    listed = subprocess.run(
        [Path(sys.executable).parent / "piapi", "tokens", "list"],
        env=environment(service.folder),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    id = listed.splitlines()[0].split()[0]
    with watching(service, secret) as stream:
        revoke = [Path(sys.executable).parent / "piapi", "tokens", "revoke", id]
        subprocess.run(revoke, env=environment(service.folder), check=True)
        began = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            while stream.recv(65536):
                pass
        assert time.monotonic() - began < 5
    assert service.call("GET", "/api/v1/cameras/front", secret)[0] == 401


# Live view over real sockets ------------------------------------------------------------------------------------------


def test_streams_hold_no_thread_of_the_pool(tmp_path: Path) -> None:
    config = SIMULATED.replace("max_viewers = 4", "max_viewers = 20\nthreads = 4")
    with running(tmp_path, config) as service, contextlib.ExitStack() as streams:
        token = service.token()
        for _ in range(12):
            streams.enter_context(watching(service, token, "?fps=5&width=160"))
        assert viewers(service, token) == 12
        for _ in range(5):
            assert service.call("GET", "/api/v1/cameras/front/snapshot?max_age_s=1", token)[0] == 200
        streams.close()
        eventually(lambda: viewers(service, token) == 0)


def test_many_viewers_may_come_at_once(tmp_path: Path) -> None:
    config = SIMULATED.replace("max_viewers = 4", "max_viewers = 40\nthreads = 4")
    with running(tmp_path, config) as service, contextlib.ExitStack() as streams, ThreadPoolExecutor(40) as pool:
        token = service.token()
        coming = [pool.submit(streams.enter_context, watching(service, token, "?width=160")) for _ in range(40)]
        for one in coming:
            assert one.result(30).recv(65536)


def test_one_viewer_too_many_is_503_with_retry_after(service: Service, token: str) -> None:
    with contextlib.ExitStack() as streams:
        for _ in range(4):
            streams.enter_context(watching(service, token))
        status, headers, body = service.call("GET", "/api/v1/cameras/front/stream", token)
        assert status == 503 and int(headers["retry-after"]) > 0
        assert json.loads(body)["type"] == "/problems/hardware-unavailable"
    eventually(lambda: viewers(service, token) == 0)
    with watching(service, token):
        pass


def test_a_photo_is_taken_while_somebody_looks_and_the_stream_goes_on(service: Service, token: str) -> None:
    with watching(service, token) as stream:
        reader = stream.makefile("rb")
        for _ in range(3):
            assert service.call("POST", "/api/v1/cameras/front/photos", token, {"width": 1920})[0] == 201
            for line in reader:
                if line.startswith(b"Content-Length: "):
                    break
            reader.readline()
            reader.readline()
            frame = reader.read(int(line.split()[1]))
            assert Image.open(io.BytesIO(frame)).size == (640, 480)
        reader.close()


# Requests that are no good --------------------------------------------------------------------------------------------


def raw(service: Service, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while data := connection.recv(65536):
                answer += data
        return answer


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"NONSENSE\r\n\r\n", b"400"),
        (b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", b"400"),
        (b"GET /api/v1/ HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"400"),
        (b"GET /api/v1/ HTTP/1.0\r\n\r\n", b"400"),
        (b"GET /x\x00y HTTP/1.1\r\nHost: localhost\r\n\r\n", b"400"),
        (b"GET /api/v1/nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b"404"),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"4"),
    ],
    ids=range(7),
)
def test_every_refusal_is_a_problem_document(service: Service, request_: bytes, status: bytes) -> None:
    answer = raw(service, request_)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split()[1].startswith(status), answer
    assert b"application/problem+json" in head, answer
    assert json.loads(body)["status"] == int(head.split()[1])
    assert b"Traceback" not in body


def test_a_chunked_body_that_is_too_large_is_refused_in_the_same_words(service: Service, token: str) -> None:
    head = (
        f"POST /api/v1/cameras/front/photos HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    answer = raw(
        service, head.encode() + b"10000\r\n" + b" " * 65536 + b"\r\n" + b"4000\r\n" + b" " * 16384 + b"\r\n0\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 413") and b"/problems/too-large" in answer, answer[:300]


@pytest.mark.parametrize("body", [b"zz\r\n\r\n0\r\n\r\n", b"5\r\n{}\r\n", b"2\r\n{}0\r\n\r\n"], ids=range(3))
def test_a_photo_is_not_taken_for_a_body_that_is_none(service: Service, token: str, body: bytes) -> None:
    def photos() -> bytes:
        return service.call("GET", "/api/v1/photos?limit=1", token)[2]

    before = photos()
    head = (
        f"POST /api/v1/cameras/front/photos HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    answer = raw(service, head.encode() + body)
    assert answer.startswith(b"HTTP/1.1 400") and b"/problems/bad-request" in answer, answer[:300]
    assert photos() == before


def test_a_body_of_a_megabyte_is_refused_and_the_answer_arrives(service: Service, token: str) -> None:
    for size in (70_000, 1_000_000, 5_000_000):
        head = (
            f"POST /api/v1/cameras/front/photos HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
        )
        answer = raw(service, head.encode() + b" " * size)
        assert answer.startswith(b"HTTP/1.1 413"), answer[:200]
        answer = raw(service, head.replace(token, "x").encode() + b" " * size)
        assert answer.startswith(b"HTTP/1.1 401"), answer[:200]


# The plug is pulled ---------------------------------------------------------------------------------------------------


def test_what_was_acknowledged_is_there_after_everything_is_killed(tmp_path: Path) -> None:
    kept: list[dict[str, str]] = []
    for _ in range(3):
        with running(tmp_path, SIMULATED) as service:
            token = service.token()
            for photo in kept:
                status, _, data = service.call("GET", f"/api/v1/photos/{photo['id']}/file", token)
                assert status == 200 and hashlib.sha256(data).hexdigest() == photo["sha256"]
            for _ in range(5):
                status, _, body = service.call("POST", "/api/v1/cameras/front/photos", token)
                assert status == 201
                kept.append(json.loads(body))
            for pid in (*children_of(service.process.pid), service.process.pid):
                os.kill(pid, signal.SIGKILL)
            service.process.wait(30)


def test_a_worker_that_is_killed_is_replaced_and_answers_again(tmp_path: Path) -> None:
    with running(tmp_path, SIMULATED) as service:
        token = service.token()
        assert service.call("POST", "/api/v1/cameras/front/photos", token)[0] == 201
        (worker,) = children_of(service.process.pid)
        os.kill(worker, signal.SIGKILL)
        eventually(lambda: children_of(service.process.pid) not in ([], [worker]))
        assert service.call("GET", "/api/v1/photos", token)[0] == 200
        assert service.call("POST", "/api/v1/cameras/front/photos", token)[0] == 201


# A real camera: a second program on the network -----------------------------------------------------------------------


def test_the_photo_from_a_network_camera_is_its_footage(tmp_path: Path) -> None:
    with footage.network_camera() as address:
        config = f'[storage]\nfloor_bytes = 0\n[cameras.front]\nbackend = "av"\nsource = "{address}"\n'
        with running(tmp_path, config) as service:
            token = service.token()

            def is_ready() -> bool:
                return bool(json.loads(service.call("GET", "/api/v1/cameras/front", token)[2])["state"] == "ready")

            eventually(is_ready)
            status, _, body = service.call("POST", "/api/v1/cameras/front/photos", token)
            assert status == 201, body
            photo = json.loads(body)
            assert photo["emulated"] is False
            _, _, data = service.call("GET", photo["links"]["file"], token)
            assert footage.matches(data) > footage.ALIKE
            with watching(service, token) as stream:
                reader = stream.makefile("rb")
                for line in reader:
                    if line.startswith(b"Content-Length: "):
                        break
                reader.readline()
                reader.readline()
                assert footage.matches(reader.read(int(line.split()[1]))) > footage.ALIKE
                reader.close()
