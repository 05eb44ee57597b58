"""What belongs to the service: each camera, pin and door, as it knows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from piapi.selftest.results import Result, failed, skipped
from piapi.selftest.site import API, START, Service, Site, Unanswered

Look = Callable[[Site, Service, dict[str, Any]], Iterator[Result]]
"""What is found on one of them, given as the document of the API."""


def each(site: Site, collection: str, look: Look) -> Iterator[Result]:
    """All of `cameras`, `pins` or `doors`, one by one, and those that are configured and unknown to the service.

    One that the service does not answer for keeps no other from being looked at. Raises Unanswered where it does not
    even list them.
    """
    kind = collection.removesuffix("s")
    configured = list(getattr(site.settings, collection)) if site.settings else []
    if site.service is None:
        for name in configured:
            yield skipped(f"{kind} {name}", "piapi, whose it is, does not answer", START)
        return
    known = {_name_of(item): item for item in _items_of(site.service, collection)}
    for name, item in known.items():
        try:
            yield from look(site, site.service, item)
        except Unanswered as error:
            yield failed(f"{kind} {name}", f"the service does not answer for it: {error}", "`journalctl -u piapi`")
    for name in configured:
        if name not in known:
            yield failed(f"{kind} {name}", "the service that runs does not know it", "`sudo systemctl restart piapi`")


def _name_of(item: dict[str, Any]) -> str:
    name: str = item["id"] if "id" in item else item["name"]
    return name


def _items_of(service: Service, collection: str) -> Iterator[dict[str, Any]]:
    path: str | None = f"{API}/{collection}?limit=200"
    while path:
        page = service.ask("GET", path)
        yield from page["items"]
        path = page["links"].get("next")
