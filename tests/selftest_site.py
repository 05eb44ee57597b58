"""A machine for the self-test: files of its own for /proc and /sys, a service and a person that do what a test says."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

import config
from piapi import __version__
from piapi.selftest.results import Outcome, Result
from piapi.selftest.site import API, Site, Unanswered
from tests.fakes import FakeClock

UNITS = {
    "piapi.service": "LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\n"
    "WatchdogUSec=1min 30s\nNRestarts=0\nResult=success\nUser=\nSupplementaryGroups=\n",
    "piapi-guard.service": "LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=static\n"
    "WatchdogUSec=infinity\nNRestarts=0\nResult=success\n",
}


class PatientClock(FakeClock):
    """Waiting takes no time, and the clock goes on by as much."""

    def wait(self, condition: threading.Condition, timeout: float | None) -> bool:
        self.advance(timeout or 0.0)
        return False


class FakeService:
    """An API with the cameras, pins and doors of a test; it keeps what was asked of it, and what is on."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.keys: list[str] = []
        self.version = __version__
        self.items: dict[str, list[dict[str, Any]]] = {"cameras": [], "pins": [], "doors": []}
        self.picture: bytes | Exception = jpeg(128)
        self.refusal: Unanswered | None = None
        self.operation: dict[str, Any] = {"id": "op1", "state": "succeeded", "detail": None}
        self.actuation: dict[str, Any] = {"id": "act1", "state": "done", "on_s": 1.0}
        self.at: dict[str, Callable[[], None]] = {}
        """What happens when a path is asked, after it has had its effect."""

    def commands(self) -> list[tuple[str, str, Any]]:
        """All that was asked and is no GET."""
        return [asked for asked in self.asked if asked[0] != "GET"]

    def ask(self, method: str, path: str, body: Any = None, key: str = "") -> Any:
        self.asked.append((method, path, body))
        if key:
            self.keys.append(key)
        if method == "POST" and self.refusal:
            raise self.refusal
        answer = self._answer(method, path, body)
        if f"{method} {path}" in self.at:
            self.at[f"{method} {path}"]()
        return answer

    def _answer(self, method: str, path: str, body: Any) -> Any:
        parts = path.removeprefix(f"{API}/").partition("?")[0].split("/")
        match method, parts:
            case "GET", ["system"]:
                return {"version": self.version}
            case "GET", [("cameras" | "pins" | "doors") as collection]:
                return {"items": self.items[collection], "links": {}}
            case "GET", [("pins" | "doors") as collection, name]:
                return dict(self._item(collection, name))
            case "POST", ["pins", name, "pulses"]:
                self._item("pins", name)["value"] = True
                return self.actuation
            case "GET", ["actuations", _]:
                return self.actuation
            case "PUT", ["pins", name, "value"]:
                self._item("pins", name)["value"] = body["value"]
                return self._item("pins", name)
            case "POST", ["doors", name, "toggles"]:
                self._item("doors", name)["operation"] = self.operation["id"]
                return self.operation
            case (("GET" | "DELETE"), ["operations", _]):
                return self.operation
        raise AssertionError(f"{method} {path} is no part of this service")

    def _item(self, collection: str, name: str) -> dict[str, Any]:
        return next(item for item in self.items[collection] if item["name"] == name)

    def fetch(self, path: str) -> bytes:
        if isinstance(self.picture, Exception):
            raise self.picture
        return self.picture


class FakePerson:
    """Answers as a test says; an answer that is an exception is raised."""

    def __init__(self, agrees: Any = True, witnessed: Any = True, types: Any = "") -> None:
        self.answers = {"agrees": agrees, "witnessed": witnessed, "types": types}
        self.heard: list[str] = []
        self.defaults: list[bool] = []
        self.on_tell: Callable[[], None] = lambda: None

    def _answer(self, kind: str, question: str) -> Any:
        self.heard.append(question)
        if isinstance(answer := self.answers[kind], BaseException):
            raise answer
        return answer

    def tell(self, text: str) -> None:
        self.heard.append(text)
        self.on_tell()

    def agrees(self, question: str, default: bool) -> bool:
        self.defaults.append(default)
        agreed: bool = self._answer("agrees", question)
        return agreed

    def witnessed(self, question: str) -> bool | None:
        seen: bool | None = self._answer("witnessed", question)
        return seen

    def names(self, question: str, name: str) -> bool:
        return bool(self._answer("types", question) == name)


def jpeg(brightness: int, size: tuple[int, int] = (64, 48)) -> bytes:
    file = io.BytesIO()
    Image.new("L", size, brightness).save(file, "JPEG")
    return file.getvalue()


def camera(**more: Any) -> dict[str, Any]:
    return {"id": "front", "backend": "picamera2", "model": "imx708", "emulated": False, "state": "ready",
            "detail": None} | more  # fmt: skip


def pin(**more: Any) -> dict[str, Any]:
    name = more.get("name", "lamp")
    here = f"{API}/pins/{name}"
    links = {"self": here, "value": f"{here}/value", "pulses": f"{here}/pulses"}
    return {"name": name, "gpio": "GPIO17", "physical": 11, "mode": "output", "value": False, "edges": None,
            "emulated": False, "links": links} | more  # fmt: skip


def door(**more: Any) -> dict[str, Any]:
    here = f"{API}/doors/garage"
    return {"name": "garage", "state": "closed", "sensors": {"closed": True, "open": None}, "detail": None,
            "locked": False, "operation": None, "emulated": False,
            "links": {"self": here, "toggles": f"{here}/toggles"}} | more  # fmt: skip


def site(root: Path, **more: Any) -> Site:
    """A machine whose files are below `root`, with units of systemd and nobody to ask."""
    units = more.pop("units", UNITS)

    def run(command: Sequence[str]) -> str | None:
        found: str | None = units.get(command[2])
        return found

    given = {"settings": config.Settings(), "clock": PatientClock(), "run": run, "root": root,
             "is_synchronised": lambda: True}  # fmt: skip
    return Site(**(given | more))


def put(root: Path, name: str, text: str = "") -> Path:
    """A file of that machine."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def outcomes(results: Iterator[Result]) -> dict[str, Outcome]:
    return {result.name: result.outcome for result in results}


def only(results: Iterator[Result]) -> Result:
    (result,) = results
    return result
