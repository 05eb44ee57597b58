"""Rows of renders; their files are in the folder of the time-lapse."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict
from pathlib import Path

from piapi.storage.database import Along, Database, from_millis, to_millis
from piapi.timelapse import Render, RenderRequest


class RenderStore:
    """Renders of all time-lapses."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._folder = folder / "timelapses"

    def path(self, render: Render) -> Path:
        """Where its film is, or will be."""
        return self._folder / render.timelapse / "renders" / f"{render.id}.mp4"

    def add(self, render: Render, *along: Along) -> None:
        """Keep a new one, with what belongs to it."""
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO renders (id, timelapse, wanted, state, requested_by, created_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (
                    render.id,
                    render.timelapse,
                    json.dumps(asdict(render.wanted)),
                    render.state,
                    render.requested_by,
                    to_millis(render.created_at),
                ),
            )
            for also in along:
                also(connection)

    def save(self, render: Render, *along: Along) -> None:
        """What has become of it, with what belongs to that."""
        with self._database.write() as connection:
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

    def waiting(self) -> list[Render]:
        """Those that are to be made, in the order they came."""
        rows = self._database.read("SELECT * FROM renders WHERE state IN ('queued', 'running') ORDER BY seq")
        return [_render(row) for row in rows]


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
