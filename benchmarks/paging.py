"""The last page of a million photos beside the first."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from benchmarks.lab import Lab
from benchmarks.load import Caller, at, median
from benchmarks.servers import piapi
from benchmarks.table import Row, compared
from piapi.storage.database import Database

PHOTOS = 1_000_000
PAGE = 50
_FIRST_AT = datetime(2024, 1, 1, tzinfo=UTC)
_SPACING = timedelta(minutes=1)

_FILL = """
    WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :photos)
    INSERT INTO photos (id, camera, captured_at, width, height, size_bytes, format, sha256, label, pinned, metadata,
                        emulated)
    SELECT lower(hex(randomblob(8))), CASE n % 4 WHEN 0 THEN 'back' ELSE 'front' END, :first + n * :spacing, 1920, 1080,
           250000, 'jpeg', lower(hex(randomblob(32))), CASE n % 100 WHEN 0 THEN 'tomatoes' END, 0,
           '{"exposure_s":0.01,"gain":1.5}', 0
    FROM numbers
"""

QUERIES = {"": "", ", one camera": "&camera=back", ", one label": "&label=tomatoes"}


def measure(lab: Lab) -> list[Row]:
    """Over HTTP, as clients page; the two in turns."""
    folder = lab.new_folder("library")
    fill(folder / "data" / "piapi.db")
    rows = []
    with piapi(lab, folder=folder) as server, contextlib.closing(Caller(server)) as caller:
        for name, query in QUERIES.items():
            first = f"/api/v1/photos?limit={PAGE}{query}"
            last = f"{first}&cursor={_cursor_of_last_page(caller, query)}"
            rows.append(_row(name, *_in_turns(lab, caller, first, last)))
    return rows


def fill(database: Path) -> None:
    """A library of a million photos, without the files: the rows are written straight into piapi's own schema."""
    database.parent.mkdir(parents=True)
    own = Database(database)
    own.open()
    own.close()
    values = {
        "photos": PHOTOS,
        "first": int(_FIRST_AT.timestamp() * 1000),
        "spacing": int(_SPACING.total_seconds() * 1000),
    }
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(_FILL, values)


def _cursor_of_last_page(caller: Caller, query: str) -> str:
    """The cursor after which `PAGE` photos are left: that of the next oldest photo. Asked for as any client can: the
    newest photo before a time, and the link to the page after it."""
    every = {"": 1, "&camera=back": 4, "&label=tomatoes": 100}[query]
    until = _FIRST_AT + _SPACING * (PAGE * every + 1)
    document = json.loads(caller.get(f"/api/v1/photos?limit=1{query}&until={until:%Y-%m-%dT%H:%M:%S}Z"))
    cursor: str = parse_qs(urlsplit(document["links"]["next"]).query)["cursor"][0]
    page = json.loads(caller.get(f"/api/v1/photos?limit={PAGE}{query}&cursor={cursor}"))
    assert len(page["items"]) == PAGE and "next" not in page["links"], "this is not the last page"
    return cursor


def _in_turns(lab: Lab, caller: Caller, first: str, last: str) -> tuple[list[float], list[float]]:
    firsts, lasts = [], []
    for _ in range(10):
        firsts += caller.latencies_ms(first, lab.take(0.4, 0.1))
        lasts += caller.latencies_ms(last, lab.take(0.4, 0.1))
    return firsts, lasts


def _row(name: str, firsts: list[float], lasts: list[float]) -> Row:
    return compared(
        f"last page of {PHOTOS:,} photos{name}: p50",
        f"{median(lasts):.2f} ms (p99 {at(lasts, 0.99):.1f})",
        f"{median(firsts):.2f} ms (p99 {at(firsts, 0.99):.1f}) the first",
        median(lasts) / median(firsts),
        "≤ 1.5",
    )
