"""Rows of renders; their files are in the folder of the time-lapse."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from piapi.errors import NotFound
from piapi.storage.database import Along, Database, from_millis, to_millis
from piapi.timelapse import Render, RenderRequest

log = logging.getLogger(__name__)

SUFFIX = ".mp4"


class RenderStore:
    """Renders of all time-lapses."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._folder = folder / "timelapses"

    def path(self, render: Render) -> Path:
        """Where its film is, or will be."""
        return self._folder / render.timelapse / "renders" / f"{render.id}{SUFFIX}"

    def add(self, render: Render, *along: Along) -> None:
        """Keep a new one, with what belongs to it. Raises NotFound when its time-lapse was removed meanwhile."""
        with self._database.write() as connection:
            added = connection.execute(
                "INSERT INTO renders (id, timelapse, wanted, state, requested_by, created_at)"
                " SELECT ?, id, ?, ?, ?, ? FROM timelapses WHERE id = ?",
                (
                    render.id,
                    json.dumps(asdict(render.wanted)),
                    render.state,
                    render.requested_by,
                    to_millis(render.created_at),
                    render.timelapse,
                ),
            )
            if not added.rowcount:
                raise NotFound(f"There is no time-lapse {render.timelapse}.")
            for also in along:
                also(connection)

    def save(self, render: Render, *along: Along) -> None:
        """What has become of it, with what belongs to that."""
        with self._database.write() as connection:
            _update(connection, render, along)

    def end(self, render: Render, *along: Along) -> None:
        """The same of one that has ended: also where the disk is full, as nothing more of it will be written."""
        self._database.write_to_free(lambda connection: _update(connection, render, along))

    def remove(self, render: Render, *along: Along) -> None:
        """Remove one, row and file."""

        def change(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM renders WHERE id = ?", (render.id,))
            for also in along:
                also(connection)

        self._database.write_to_free(change)
        self.path(render).unlink(missing_ok=True)

    def get(self, id: str) -> Render | None:
        """One of them."""
        row = self._database.read_one("SELECT * FROM renders WHERE id = ?", (id,))
        return _render(row) if row else None

    def of(self, timelapse: str) -> list[Render]:
        """Those of one time-lapse, newest first."""
        rows = self._database.read("SELECT * FROM renders WHERE timelapse = ? ORDER BY seq DESC", (timelapse,))
        return [_render(row) for row in rows]

    def queue_anew(self) -> list[Render]:
        """Those that are to be made, in the order they came: none of them is running."""
        with self._database.write() as connection:
            connection.execute("UPDATE renders SET state = 'queued' WHERE state = 'running'")
        rows = self._database.read("SELECT * FROM renders WHERE state = 'queued' ORDER BY seq")
        return [_render(row) for row in rows]

    def clear_left_over(self) -> None:
        """Remove files that are no finished render's: a crash came before they were whole, or before their row was."""
        finished = {row["id"] for row in self._database.read("SELECT id FROM renders WHERE state = 'finished'")}
        for path in self._folder.glob("*/renders/*"):
            if path.suffix != SUFFIX or path.stem not in finished:
                log.info("removed %s, which a crash has left", path.relative_to(self._folder))
                path.unlink(missing_ok=True)


def _update(connection: sqlite3.Connection, render: Render, along: Iterable[Along]) -> None:
    connection.execute(
        "UPDATE renders SET state = ?, ended_at = ?, detail = ?, size_bytes = ?, sha256 = ? WHERE id = ?",
        (
            render.state,
            render.ended_at and to_millis(render.ended_at),
            render.detail,
            render.size_bytes,
            render.sha256,
            render.id,
        ),
    )
    for also in along:
        also(connection)


def _render(row: sqlite3.Row) -> Render:
    return Render(
        seq=row["seq"],
        id=row["id"],
        timelapse=row["timelapse"],
        wanted=RenderRequest(**json.loads(row["wanted"])),
        state=row["state"],
        requested_by=row["requested_by"],
        created_at=from_millis(row["created_at"]),
        progress=1.0 if row["state"] == "finished" else 0.0,
        detail=row["detail"],
        ended_at=row["ended_at"] and from_millis(row["ended_at"]),
        size_bytes=row["size_bytes"],
        sha256=row["sha256"],
    )
