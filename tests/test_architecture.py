"""The house's rules, held over the syntax tree: which part may import which, and who may touch what."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "piapi"

LAYERS = {
    "piapi.errors": {"piapi.timelapse"},
    "piapi.models": {"piapi.errors"},
    "piapi.timelapse": set(),
    "piapi.clock": {"piapi.errors"},
    "piapi.memory": set(),
    "piapi.logs": set(),
    "piapi.wiring": {"config"},
    "piapi.supervision": {"piapi.clock"},
    "piapi.timekeeping": set(),
    "piapi.console": set(),
    "piapi.invitation": set(),
    "piapi.lines": set(),
    "piapi.guard": {"piapi.lines"},
    "piapi.hardware": {"piapi.errors", "piapi.models", "piapi.clock", "piapi.lines"},
    "piapi.storage": {"piapi.errors", "piapi.models", "piapi.timelapse", "piapi.clock"},
    "piapi.film": {"piapi.errors", "piapi.models", "piapi.timelapse", "piapi.storage.files"},
    "piapi.services": {"piapi.storage", "piapi.hardware.base", "piapi.errors", "piapi.models", "piapi.clock"}
    | {"piapi.memory", "piapi.wiring", "piapi.timelapse", "piapi.film"},
    "piapi.server": {"piapi.clock", "piapi.console"},
    "piapi.api": {"piapi.logs", "piapi.services", "piapi.storage", "piapi.server", "piapi.hardware.base"}
    | {
        "piapi.errors",
        "piapi.models",
        "piapi.timelapse",
        "piapi.film.files",
        "piapi.clock",
        "piapi.invitation",
        "piapi",
    },
    "piapi.web": {"piapi.api", "piapi.services", "piapi.errors", "piapi.models", "piapi"},
    "piapi.runtime": {"piapi.api", "piapi.services", "piapi.storage", "piapi.errors"},
    "piapi.selftest": {"piapi.services.machine", "piapi.storage.files", "piapi.storage.marker"}
    | {"piapi.errors", "piapi.clock", "piapi", "config"},
    "piapi.cli": {"piapi.services", "piapi.storage", "piapi.errors", "piapi.models", "piapi.clock", "piapi.app"}
    | {"piapi", "config", "piapi.hardware.attached", "piapi.console", "piapi.invitation"}
    | {"piapi.selftest", "piapi.timekeeping"},
    "piapi.__main__": {"piapi.cli"},
}
"""What each part may import of piapi, beside itself. `piapi.app` joins them all, and `config` only reads errors."""

HARDWARE_LIBRARIES = {"gpiozero", "lgpio", "RPi", "picamera", "picamera2", "libcamera", "av"}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        yield name, ast.parse(path.read_text(encoding="utf-8"))


def imports_of(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


def is_within(module: str, part: str) -> bool:
    return module == part or (part != "piapi" and module.startswith(part + "."))


MODULES = dict(modules())


def test_every_part_has_its_place_in_the_order() -> None:
    assert {part_of(name) for name in MODULES} - {"piapi", "piapi.app"} <= set(LAYERS)


@pytest.mark.parametrize("name", [name for name in MODULES if part_of(name) in LAYERS])
def test_imports_run_one_way(name: str) -> None:
    own = part_of(name)
    known = {other for other in MODULES} | {"config"}
    for imported in imports_of(MODULES[name]):
        if imported in known and not is_within(imported, own):
            assert any(is_within(imported, part) for part in LAYERS[own]), f"{name} imports {imported}"


def test_only_hardware_imports_hardware_libraries() -> None:
    for name, tree in MODULES.items():
        allowed = {"av"} if name.startswith("piapi.film") else set()
        if not name.startswith("piapi.hardware"):
            assert not {top.split(".")[0] for top in imports_of(tree)} & (HARDWARE_LIBRARIES - allowed), name


def test_services_and_storage_know_no_flask() -> None:
    for name, tree in MODULES.items():
        if name.startswith(("piapi.services", "piapi.storage", "piapi.hardware", "piapi.server")):
            tops = {imported.split(".")[0] for imported in imports_of(tree)}
            assert not tops & {"flask", "werkzeug", "flask_smorest"}, name


def test_backends_never_import_each_other() -> None:
    backends = {name for name in MODULES if name.startswith("piapi.hardware.camera_")}
    for name in backends:
        assert not (set(imports_of(MODULES[name])) & backends) - {name}, name


def test_nothing_in_piapi_prints_or_sleeps() -> None:
    for name, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("print", "time.sleep", "sleep"), f"{name}:{node.lineno}"


def test_tests_do_not_sleep() -> None:
    for path in Path(__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) != "time.sleep", f"{path.name}:{node.lineno}"


def test_modules_are_short_enough_to_read() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 330, path


def test_every_public_function_says_what_it_does() -> None:
    silent = []
    for name, tree in MODULES.items():
        scopes = [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef))]
        for node in (item for scope in scopes for item in scope.body):
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if public and not ast.get_docstring(node) and not is_view(node):
                silent.append(f"{name}: {node.name}")
    assert silent == []


def is_view(node: ast.AST) -> bool:
    """Whether this is a MethodView class, whose methods carry the words."""
    return isinstance(node, ast.ClassDef) and any("route" in ast.unparse(item) for item in node.decorator_list)


def test_importing_the_service_imports_no_camera_library() -> None:
    import subprocess

    code = "import sys, run, piapi.cli; print([m for m in ('av', 'picamera2', 'picamera') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
