"""What owners set on their cameras, as rows."""

from __future__ import annotations

import json

from piapi.models import CameraSettings
from piapi.storage.database import Along, Database


class CameraRows:
    """Rotation and controls of each camera, kept across restarts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, camera: str) -> CameraSettings | None:
        """What was set, or None."""
        row = self._database.read_one("SELECT * FROM camera_settings WHERE camera = ?", (camera,))
        return CameraSettings(row["rotation"], json.loads(row["controls"])) if row else None

    def put(self, camera: str, settings: CameraSettings, *along: Along) -> None:
        """Keep it, and `along` with it."""
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO camera_settings (camera, rotation, controls) VALUES (?, ?, ?)"
                " ON CONFLICT (camera) DO UPDATE SET rotation = excluded.rotation, controls = excluded.controls",
                (camera, settings.rotation, json.dumps(settings.controls)),
            )
            for more in along:
                more(connection)
