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
    # 2: the journal, keys of requests, people, photos whose file is gone
    """
    CREATE TABLE events (
        id      INTEGER PRIMARY KEY AUTOINCREMENT,
        at      INTEGER NOT NULL,
        type    TEXT NOT NULL,
        subject TEXT NOT NULL,               -- <kind>:<name>: a scope without its verb
        actor   TEXT NOT NULL,
        data    TEXT NOT NULL                -- JSON
    ) STRICT;
    CREATE INDEX events_by_time ON events (at);
    CREATE INDEX events_by_subject ON events (subject, id);
    CREATE INDEX events_by_type ON events (type, subject, id);

    CREATE TABLE journal_marks (
        at      INTEGER PRIMARY KEY,         -- by a clock that was believed
        last_id INTEGER NOT NULL             -- the newest entry that was there then
    ) STRICT;

    CREATE TABLE idempotency (
        seq        INTEGER PRIMARY KEY AUTOINCREMENT,
        caller     TEXT NOT NULL,
        method     TEXT NOT NULL,
        path       TEXT NOT NULL,
        key        BLOB NOT NULL,            -- SHA-256 of the client's key, which itself is nowhere
        digest     BLOB NOT NULL,            -- HMAC-SHA256 of query and body, by the client's key
        location   TEXT,                     -- what it made, as soon as that exists
        status     INTEGER,                  -- of the answer; none yet: it runs, or was cut off
        headers    TEXT,                     -- JSON
        body       BLOB,
        created_at INTEGER NOT NULL,
        boot_id    TEXT NOT NULL,            -- its age within one boot is by the clock that never jumps
        boot_ms    INTEGER NOT NULL,
        UNIQUE (caller, method, path, key)
    ) STRICT;

    CREATE TABLE users (
        name       TEXT PRIMARY KEY COLLATE NOCASE,
        hash       TEXT NOT NULL,            -- scrypt, with its parameters and salt
        scopes     TEXT NOT NULL,            -- separated by blanks
        role       TEXT,
        created_at INTEGER NOT NULL,
        changed_at INTEGER NOT NULL          -- when the password was set
    ) STRICT;

    CREATE TABLE sessions (
        hash       BLOB PRIMARY KEY,         -- SHA-256 of the cookie, which itself is nowhere
        user       TEXT NOT NULL REFERENCES users (name),
        created_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX sessions_by_user ON sessions (user);

    CREATE TABLE pairings (
        id                 TEXT PRIMARY KEY,
        hash               BLOB NOT NULL UNIQUE,  -- SHA-256 of the code, which itself is nowhere
        name               TEXT NOT NULL,
        scopes             TEXT NOT NULL,
        role               TEXT,
        token_expires_in_s INTEGER,
        created_at         INTEGER NOT NULL,
        expires_at         INTEGER NOT NULL,      -- a label
        created_by         TEXT NOT NULL,
        boot_id            TEXT NOT NULL,         -- it ends by the clock that never jumps, or with the boot
        ends_at_boot_ms    INTEGER NOT NULL
    ) STRICT;

    ALTER TABLE photos ADD COLUMN missing_since INTEGER;  -- its file was not there
    ALTER TABLE photos ADD COLUMN is_dated INTEGER NOT NULL DEFAULT 1;  -- the clock was believed when it was taken
    DROP INDEX photos_by_time;
    DROP INDEX photos_by_camera;
    DROP INDEX photos_by_label;
    CREATE INDEX photos_by_time ON photos (captured_at, seq) WHERE missing_since IS NULL;
    CREATE INDEX photos_by_camera ON photos (camera, captured_at, seq) WHERE missing_since IS NULL;
    CREATE INDEX photos_by_label ON photos (label, captured_at, seq) WHERE label IS NOT NULL AND missing_since IS NULL;
    CREATE INDEX photos_unpinned ON photos (seq) WHERE pinned = 0 AND missing_since IS NULL;

    CREATE TABLE photo_totals (              -- of photos that have their file; one row, kept by the triggers
        photos INTEGER NOT NULL,
        bytes  INTEGER NOT NULL
    ) STRICT;
    INSERT INTO photo_totals SELECT count(*), coalesce(sum(size_bytes), 0) FROM photos;
    CREATE TRIGGER photo_added AFTER INSERT ON photos WHEN NEW.missing_since IS NULL BEGIN
        UPDATE photo_totals SET photos = photos + 1, bytes = bytes + NEW.size_bytes;
    END;
    CREATE TRIGGER photo_removed AFTER DELETE ON photos WHEN OLD.missing_since IS NULL BEGIN
        UPDATE photo_totals SET photos = photos - 1, bytes = bytes - OLD.size_bytes;
    END;
    CREATE TRIGGER photo_gone AFTER UPDATE OF missing_since ON photos
    WHEN OLD.missing_since IS NULL AND NEW.missing_since IS NOT NULL BEGIN
        UPDATE photo_totals SET photos = photos - 1, bytes = bytes - OLD.size_bytes;
    END;
    CREATE TRIGGER photo_back AFTER UPDATE OF missing_since ON photos
    WHEN OLD.missing_since IS NOT NULL AND NEW.missing_since IS NULL BEGIN
        UPDATE photo_totals SET photos = photos + 1, bytes = bytes + NEW.size_bytes;
    END;
    """,
    # 3: pins and doors
    """
    CREATE TABLE actuations (
        id           TEXT PRIMARY KEY,
        pin          TEXT NOT NULL,
        state        TEXT NOT NULL,          -- intended until it has ended
        duration_ms  INTEGER NOT NULL,       -- as asked for
        requested_by TEXT NOT NULL,
        requested_at INTEGER NOT NULL,
        started_at   INTEGER,
        ended_at     INTEGER,
        on_us        INTEGER                 -- microseconds that it was really on
    ) STRICT;
    CREATE INDEX actuations_without_end ON actuations (id) WHERE state = 'intended';

    CREATE TABLE pin_values (
        pin     TEXT PRIMARY KEY,
        is_on   INTEGER NOT NULL,
        boot_id TEXT NOT NULL
    ) STRICT;

    CREATE TABLE operations (                -- of doors
        id              TEXT PRIMARY KEY,
        revision        INTEGER NOT NULL,    -- rising: an older one never replaces a newer one
        door            TEXT NOT NULL,
        target          TEXT,                -- none for a toggle
        state           TEXT NOT NULL,
        requested_by    TEXT NOT NULL,
        requested_at    INTEGER NOT NULL,
        warning_ends_at INTEGER,
        pressed_at      INTEGER,
        ended_at        INTEGER,
        presses         INTEGER NOT NULL,
        evidence        TEXT NOT NULL,       -- JSON
        detail          TEXT,
        has_pictures    INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE INDEX operations_by_door ON operations (door);
    CREATE INDEX operations_without_end ON operations (door) WHERE ended_at IS NULL;

    CREATE TABLE doors (                     -- what outlives a restart
        door          TEXT PRIMARY KEY,
        locked        INTEGER NOT NULL DEFAULT 0,
        lock_reason   TEXT,
        failed_closes INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    """,
    # 4: time-lapses, their ledgers and renders
    """
    CREATE TABLE timelapses (
        seq          INTEGER PRIMARY KEY AUTOINCREMENT,
        id           TEXT NOT NULL UNIQUE,
        camera       TEXT NOT NULL,
        plan         TEXT NOT NULL,          -- JSON
        state        TEXT NOT NULL,
        state_reason TEXT,
        created_by   TEXT NOT NULL,
        created_at   INTEGER NOT NULL,
        started_at   INTEGER,                -- of tick 0, as the wall clock saw it
        ended_at     INTEGER,
        is_emulated  INTEGER NOT NULL,
        boot_id      TEXT,                   -- tick 0 is at `boot_us` of CLOCK_BOOTTIME in this boot,
        boot_us      INTEGER,                -- which is before its beginning when it was in an earlier one
        anchor_us    INTEGER,                -- tick 0 by the wall clock, in microseconds since 1970
        is_anchored  INTEGER NOT NULL,       -- whether that clock was believed
        settled      INTEGER NOT NULL,       -- the last tick of which it is known what became of it
        captured     INTEGER NOT NULL,
        missed       INTEGER NOT NULL,
        bytes        INTEGER NOT NULL,       -- of the frames that have been captured
        lateness     TEXT NOT NULL,          -- JSON: how often which lateness was seen
        memory       TEXT NOT NULL,          -- JSON: what exposure goes on from
        is_film_done INTEGER NOT NULL        -- whether all of the film is closed
    ) STRICT;
    CREATE INDEX timelapses_by_camera ON timelapses (camera, seq);
    CREATE INDEX timelapses_unfinished ON timelapses (seq) WHERE ended_at IS NULL OR is_film_done = 0;

    CREATE TABLE frames (                    -- ticks that were captured
        timelapse   INTEGER NOT NULL REFERENCES timelapses (seq),
        tick        INTEGER NOT NULL,
        due_at      INTEGER NOT NULL,
        captured_at INTEGER NOT NULL,
        lateness_us INTEGER NOT NULL,
        size_bytes  INTEGER NOT NULL,
        luminance   REAL,                    -- 0 to 1
        has_file    INTEGER NOT NULL,
        PRIMARY KEY (timelapse, tick)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE misses (                    -- runs of ticks that were due and not captured, all of one cause
        timelapse INTEGER NOT NULL REFERENCES timelapses (seq),
        first     INTEGER NOT NULL,
        last      INTEGER NOT NULL,
        due_at    INTEGER NOT NULL,          -- of the first
        cause     TEXT NOT NULL,
        PRIMARY KEY (timelapse, first)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE renders (
        seq          INTEGER PRIMARY KEY AUTOINCREMENT,
        id           TEXT NOT NULL UNIQUE,
        timelapse    TEXT NOT NULL,
        wanted       TEXT NOT NULL,          -- JSON
        state        TEXT NOT NULL,
        requested_by TEXT NOT NULL,
        created_at   INTEGER NOT NULL,
        ended_at     INTEGER,
        detail       TEXT,
        size_bytes   INTEGER,
        sha256       TEXT
    ) STRICT;
    CREATE INDEX renders_by_timelapse ON renders (timelapse, seq);
    """,
    # 5: what time-lapses take, and what their frames were
    """
    ALTER TABLE frames ADD COLUMN sha256 BLOB;
    ALTER TABLE timelapses ADD COLUMN kept_bytes INTEGER NOT NULL DEFAULT 0;  -- of frames that have their file
    ALTER TABLE timelapses ADD COLUMN film_bytes INTEGER NOT NULL DEFAULT 0;  -- of the closed segments of its film
    UPDATE timelapses SET kept_bytes =
        (SELECT coalesce(sum(size_bytes), 0) FROM frames WHERE timelapse = timelapses.seq AND has_file = 1);
    CREATE TRIGGER frame_kept AFTER INSERT ON frames WHEN NEW.has_file BEGIN
        UPDATE timelapses SET kept_bytes = kept_bytes + NEW.size_bytes WHERE seq = NEW.timelapse;
    END;
    CREATE TRIGGER frame_dropped AFTER UPDATE OF has_file ON frames WHEN OLD.has_file AND NOT NEW.has_file BEGIN
        UPDATE timelapses SET kept_bytes = kept_bytes - OLD.size_bytes WHERE seq = OLD.timelapse;
    END;
    CREATE INDEX photos_pinned ON photos (size_bytes) WHERE pinned = 1 AND missing_since IS NULL;
    """,
    # 6: sessions of tokens, beside those of users
    """
    CREATE TABLE sessions_of_either (
        hash       BLOB PRIMARY KEY,         -- SHA-256 of the cookie, which itself is nowhere
        user       TEXT REFERENCES users (name),
        token      TEXT REFERENCES tokens (id),
        created_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        CHECK ((user IS NULL) <> (token IS NULL))
    ) STRICT, WITHOUT ROWID;
    INSERT INTO sessions_of_either (hash, user, created_at, expires_at)
        SELECT hash, user, created_at, expires_at FROM sessions;
    DROP TABLE sessions;
    ALTER TABLE sessions_of_either RENAME TO sessions;
    CREATE INDEX sessions_by_user ON sessions (user) WHERE user IS NOT NULL;
    CREATE INDEX sessions_by_token ON sessions (token) WHERE token IS NOT NULL;
    """,
)

VERSION = len(STEPS)
