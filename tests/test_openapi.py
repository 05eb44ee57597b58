"""The OpenAPI document: whole, true to the URL map, and with the problems and scopes of each operation."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from piapi.api.problems import TITLES
from tests.conftest import Api, assert_problem

OPEN_TO_POST = {("post", "session"), ("post", "pair")}
METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture
def document(api: Api) -> dict[str, Any]:
    found: dict[str, Any] = api.get("/openapi.json").get_json()
    return found


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    ]


def test_nobody_reads_it_without_a_token(nobody: Api) -> None:
    assert_problem(nobody.get("/openapi.json"), 401, "unauthenticated")
    assert_problem(nobody.get("/docs", outside=True), 401, "unauthenticated")


def test_it_is_openapi_3_1_and_names_every_route(document: dict[str, Any], app: Flask) -> None:
    assert document["openapi"] == "3.1.0"
    told = {(path, method.upper()) for path, method, _ in operations(document)}
    routes = {
        (rule.rule.replace("<", "{").replace(">", "}"), method)
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api/")
        for method in (rule.methods or set()) - {"HEAD"}
    }
    assert told == routes


def test_every_operation_has_words_a_scope_and_its_problems(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        where = f"{method} {path}"
        assert operation["summary"].endswith("."), where
        assert "400" in operation["responses"], where
        assert any(status.startswith("2") for status in operation["responses"]), where
        if "/health/" in path or (method, path.rpartition("/")[2]) in OPEN_TO_POST:
            assert operation["security"] == [], where
        else:
            assert operation["x-scope"], where
            assert {"401", "403", "406"} <= set(operation["responses"]), where
        if "{id}" in path:
            assert "404" in operation["responses"], where
        if "requestBody" in operation:
            assert {"413", "415", "422"} <= set(operation["responses"]), where
        for status, response in operation["responses"].items():
            if int(status) >= 400 and "/health/" not in path:
                assert list(response["content"]) == ["application/problem+json"], where


def test_every_named_problem_has_its_status(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        for status, response in operation["responses"].items():
            for slug, (known, _, _) in TITLES.items():
                if f"`{slug}`" in response.get("description", ""):
                    assert int(status) == known, f"{method} {path}"


def test_binary_answers_are_binary(document: dict[str, Any]) -> None:
    for path, kind in (
        ("/api/v1/cameras/{id}/snapshot", "image/jpeg"),
        ("/api/v1/photos/{id}/file", "image/*"),
        ("/api/v1/photos/{id}/thumbnail", "image/jpeg"),
    ):
        content = document["paths"][path]["get"]["responses"]["200"]["content"]
        assert content == {kind: {"schema": {"type": "string", "format": "binary"}}}


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if "$ref" in node:
                target: Any = document
                for part in node["$ref"].removeprefix("#/").split("/"):
                    target = target[part]
            for inner in node.values():
                walk(inner)
        elif isinstance(node, list):
            for inner in node:
                walk(inner)

    walk(document)
