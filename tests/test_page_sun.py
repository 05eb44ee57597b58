"""A time-lapse by the sun, made in the form where piapi knows its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser import Visitor, add_user
from tests.service import Service, running

CONFIG = """
[clock]
trust = "always"

[place]
latitude = 45.52
longitude = -122.68
time_zone = "America/Los_Angeles"

[cameras.garden]
backend = "simulated"
width = 320
height = 180
"""

WINDOW = {"from": "sunset-00:45", "to": "dusk+01:30", "days": ["mon", "tue", "wed", "thu", "fri"]}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("sun"), CONFIG) as service:
        add_user(service)
        yield service


def choose_edge(page: Page, label: str, minutes: int, side: str, word: str) -> None:
    page.get_by_label(f"{label} (minutes)").fill(str(minutes))
    page.get_by_label(f"{label}: before or after").select_option(side)
    page.get_by_label(f"{label}: of the sun").select_option(word)


def test_a_week_of_dusks_is_estimated_and_begun_as_it_was_filled_in(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    page = visitor.go("/timelapses")
    page.get_by_role("button", name="New time-lapse").tap()
    page.get_by_label("A frame every").fill("1")
    page.get_by_label("Unit of the interval").select_option("minutes")
    page.get_by_label("Goes on for").fill("7")
    page.get_by_label("Unit of the time").select_option("days")
    frames = page.locator('[data-figure="frames"]')
    expect(frames).to_have_text("10,080")

    page.get_by_label("At what time of day").select_option("by the sun")
    choose_edge(page, "From", 45, "before", "sunset")
    choose_edge(page, "To", 90, "after", "dusk")
    page.locator(".weekday", has_text="Sat").tap()
    with page.expect_response(lambda answer: is_estimate_of(answer.request.post_data_json)) as answered:
        page.locator(".weekday", has_text="Sun").tap()
    estimate = answered.value.json()
    expect(frames).to_have_text(f"{estimate['frames']:,}")
    a_dusk = range(45 + 20 + 90, 45 + 50 + 90)  # minutes; at 45° the sun takes 27 to 38 from setting to dusk
    assert estimate["frames"] // 5 in a_dusk

    page.get_by_role("button", name="Begin", exact=True).tap()
    page.wait_for_url(re.compile("/timelapses/[0-9a-f]+$"))
    expect(page.locator("#plan")).to_contain_text(
        "from 45 min before sunset to 1 h 30 min after dusk on Mon, Tue, Wed, Thu, Fri"
    )
    made = visitor.json(f"/api/v1{page.url.removeprefix(visitor.origin)}")
    assert made["window"] == WINDOW
    assert (made["interval_s"], made["duration_s"]) == (60, 7 * 86_400)
    assert abs(made["frames_total"] - estimate["frames"]) <= 1  # a tick may have begun between the two


def is_estimate_of(body: Any) -> bool:
    return isinstance(body, dict) and body.get("window") == WINDOW
