"""Every error has a status, a slug, a title, and a page."""

from __future__ import annotations

import inspect
import re

import pytest

from piapi import errors
from piapi.api import problems
from tests.conftest import Api, assert_problem


def all_errors(cls: type[errors.PiApiError] = errors.PiApiError) -> list[type[errors.PiApiError]]:
    return [cls, *(found for sub in cls.__subclasses__() for found in all_errors(sub))]


@pytest.mark.parametrize("cls", all_errors(), ids=lambda cls: cls.__name__)
def test_every_error_is_mapped(cls: type[errors.PiApiError]) -> None:
    status, slug = problems.PROBLEMS[cls]
    assert problems.TITLES[slug][0] == status


@pytest.mark.parametrize("cls", all_errors(), ids=lambda cls: cls.__name__)
def test_every_error_says_when_it_is_raised(cls: type[errors.PiApiError]) -> None:
    assert inspect.getdoc(cls)


def test_the_tree_on_top_of_the_file_is_the_tree() -> None:
    drawn = re.findall(r"[├└]── (\w+)|^(PiApiError)$", errors.__doc__ or "", re.MULTILINE)
    assert {first or second for first, second in drawn} == {
        cls.__name__ for cls in all_errors() if cls.__module__ == "piapi.errors"
    }


@pytest.mark.parametrize("slug", problems.TITLES)
def test_every_problem_has_a_page_that_anybody_may_read(nobody: Api, slug: str) -> None:
    response = nobody.get(f"/problems/{slug}", outside=True)
    assert response.status_code == 200
    assert problems.TITLES[slug][1] in response.get_data(as_text=True)


def test_an_unknown_problem_is_a_problem(nobody: Api) -> None:
    assert_problem(nobody.get("/problems/nothing", outside=True), 404, "not-found")


def test_a_wrong_path_is_a_problem(nobody: Api) -> None:
    assert_problem(nobody.get("/nowhere"), 404, "not-found")


@pytest.mark.parametrize("name", ["a:b", "a:b:c", ":", "%2e%2e", "x" * 500, "%00"])
def test_a_name_that_nobody_could_give_is_404(api: Api, name: str) -> None:
    for path in (f"/cameras/{name}", f"/photos/{name}", f"/tokens/{name}", f"/cameras/{name}/snapshot"):
        assert_problem(api.get(path), 404, "not-found")


def test_a_range_beyond_a_static_file_is_a_problem(nobody: Api) -> None:
    response = nobody.get("/static/docs.js", outside=True, headers={"Range": "bytes=99999999-"})
    assert_problem(response, 416, "range-not-satisfiable")


def test_a_wrong_method_names_the_right_ones(nobody: Api) -> None:
    response = nobody.post("/cameras")
    assert_problem(response, 405, "method-not-allowed")
    assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD"}


def test_options_is_refused_as_there_is_no_cors(nobody: Api) -> None:
    response = nobody.open("OPTIONS", "/cameras", headers={"Origin": "http://evil.example"})
    assert_problem(response, 405, "method-not-allowed")
    assert "Access-Control-Allow-Origin" not in response.headers


def test_a_fault_in_piapi_says_nothing_of_its_insides(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from piapi.services.photos import Photos

    def broken(*_: object) -> None:
        raise ZeroDivisionError("/secret/path")

    monkeypatch.setattr(Photos, "page", broken)
    document = assert_problem(api.get("/photos"), 500, "internal-error")
    assert "secret" not in str(document) and "Zero" not in str(document)
    assert "/secret/path" in caplog.text


def test_no_two_slugs_share_a_title() -> None:
    titles = [title for _, title, _ in problems.TITLES.values()]
    assert len(titles) == len(set(titles))
