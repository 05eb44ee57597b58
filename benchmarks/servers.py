"""What is measured: piapi as a user starts it, and what a user might start instead. Each on the server's core."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import config
from benchmarks.lab import Lab
from benchmarks.processes import Failed, Running, free_port, program, running, wait_for_answer
from benchmarks.tools import FPS, Webcam

_HERE = Path(__file__).parent
CAMERA = "bench"
STREAM_PATHS = {"piapi": f"/api/v1/cameras/{CAMERA}/stream", "ustreamer": "/stream", "Flask generator": "/stream"}
THREADS = config.Server().threads
"""Of piapi, by default; its peers get as many."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers."""

    name: str
    process: Running
    port: int
    token: str = ""

    def request(self, path: str) -> str:
        """A GET, as text to send."""
        token = f"Authorization: Bearer {self.token}\r\n" if self.token else ""
        return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n{token}\r\n"


def piapi_environment(folder: Path, port: int, camera: Webcam | None) -> dict[str, str]:
    """The environment of a piapi with its data in `folder`; with one webcam, or the demonstration's camera."""
    environment = {"PIAPI_HOST": "127.0.0.1", "PIAPI_PORT": str(port), "PIAPI_DATA": str(folder / "data")}
    if camera is None:
        return environment
    configuration = folder / "bench.toml"
    configuration.write_text(
        f'[cameras.{CAMERA}]\nbackend = "av"\nsource = "{camera.path}"\n'
        f"width = {camera.width}\nheight = {camera.height}\nfps = {FPS}\n"
    )
    return {**environment, "PIAPI_CONFIG": str(configuration), **camera.environment}


def piapi_command() -> list[str]:
    """What `make run` runs."""
    return [sys.executable, str(_HERE.parent / "run.py")]


def create_token(folder: Path) -> str:
    """An administrator's token, made as a user makes it."""
    done = subprocess.run(
        [str(Path(sys.executable).parent / "piapi"), "tokens", "create", "--name", "bench", "--role", "admin"],
        env={**os.environ, "PIAPI_DATA": str(folder / "data")},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Failed(f"piapi tokens create: {(done.stderr or done.stdout).strip()}")
    return done.stdout.strip()


@contextlib.contextmanager
def piapi(lab: Lab, camera: Webcam | None = None, folder: Path | None = None) -> Iterator[Server]:
    """piapi, with its camera ready. `folder` may hold data."""
    folder, port = folder or lab.new_folder("piapi"), free_port()
    token = create_token(folder)
    with running(piapi_command(), folder, environment=piapi_environment(folder, port, camera)) as process:
        server = Server("piapi", process, port, token)
        path = "/api/v1/" if camera is None else f"/api/v1/cameras/{CAMERA}/snapshot"
        wait_for_answer(process, port, path, f"Authorization: Bearer {token}\r\n")
        yield server


def gunicorn_command(app: str, port: int, threads: int) -> list[str]:
    """Plain gunicorn: one worker with threads, nothing else set, but that it does not wait long when it ends and opens
    no control socket, as piapi does not either."""
    options = ["--worker-class", "gthread", "--workers", "1", "--threads", str(threads), "--graceful-timeout", "1"]
    address = ["--bind", f"127.0.0.1:{port}", "--no-control-socket"]
    return [sys.executable, "-m", "gunicorn", *options, *address, "--chdir", str(_HERE / "peers"), app]


@contextlib.contextmanager
def bare_flask(lab: Lab, jpeg: Path) -> Iterator[Server]:
    """A view that returns the bytes of a file: what Flask and gunicorn do by themselves."""
    port = free_port()
    command = gunicorn_command("snapshot:app", port, THREADS)
    with running(command, lab.new_folder("flask"), environment={"PEER_JPEG": str(jpeg)}) as process:
        wait_for_answer(process, port, "/snapshot")
        yield Server("bare Flask", process, port)


@contextlib.contextmanager
def flask_generator(lab: Lab, camera: Webcam) -> Iterator[Server]:
    """The MJPEG server of the tutorials: a generator for each viewer, which holds a thread. It reads the same
    webcam, and passes its JPEGs on."""
    port = free_port()
    settings = {"PEER_DEVICE": str(camera.path), "PEER_SIZE": f"{camera.width}x{camera.height}"}
    command = gunicorn_command("generator:app", port, 64)
    with running(command, lab.new_folder("generator"), environment={**settings, **camera.environment}) as process:
        wait_for_answer(process, port, "/stream")
        yield Server("Flask generator", process, port)


@contextlib.contextmanager
def ustreamer(lab: Lab, camera: Webcam) -> Iterator[Server]:
    """ustreamer in its cheapest mode: the camera's JPEGs are passed on as they are."""
    port = free_port()
    source = ["-d", str(camera.path), "-r", f"{camera.width}x{camera.height}", "-m", "MJPEG", "-c", "HW"]
    command = [program("ustreamer", "ustreamer"), *source, "--host", "127.0.0.1", "--port", str(port)]
    with running(command, lab.new_folder("ustreamer"), environment=camera.environment) as process:
        wait_for_answer(process, port, "/stream")
        yield Server("ustreamer", process, port)


STREAM_PATHS = {"piapi": f"/api/v1/cameras/{CAMERA}/stream", "ustreamer": "/stream", "Flask generator": "/stream"}
