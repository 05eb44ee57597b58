"""The schema, as numbered steps. Step n brings a database from `user_version` n − 1 to n; they are never edited.

Times are whole milliseconds since 1970 in UTC, so that they sort and compare as numbers.
"""

from __future__ import annotations

STEPS: tuple[str, ...] = (
    # 1: tokens, cameras' settings, photos
    """
    CREATE TABLE tokens (
        id           TEXT PRIMARY KEY,
        name         TEXT NOT NULL,
        hash         BLOB NOT NULL UNIQUE,   -- SHA-256 of the token, which itself is nowhere
        scopes       TEXT NOT NULL,          -- separated by blanks
        role         TEXT,
        created_at   INTEGER NOT NULL,
        expires_at   INTEGER,
        last_used_at INTEGER
    ) STRICT;

    CREATE TABLE camera_settings (
        camera   TEXT PRIMARY KEY,
        rotation INTEGER NOT NULL,
        controls TEXT NOT NULL               -- JSON
    ) STRICT;

    CREATE TABLE photos (
        seq         INTEGER PRIMARY KEY AUTOINCREMENT,
        id          TEXT NOT NULL UNIQUE,
        camera      TEXT NOT NULL,
        captured_at INTEGER NOT NULL,
        width       INTEGER NOT NULL,
        height      INTEGER NOT NULL,
        size_bytes  INTEGER NOT NULL,
        format      TEXT NOT NULL,
        sha256      TEXT NOT NULL,
        label       TEXT,
        pinned      INTEGER NOT NULL,
        metadata    TEXT NOT NULL,           -- JSON
        emulated    INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX photos_by_time ON photos (captured_at, seq);
    CREATE INDEX photos_by_camera ON photos (camera, captured_at, seq);
    CREATE INDEX photos_by_label ON photos (label, captured_at, seq) WHERE label IS NOT NULL;
    """,
)

VERSION = len(STEPS)
