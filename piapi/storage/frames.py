"""The frames of time-lapses as files: `<id>/frames/000012/000012345.jpg`, named after the number of the tick."""

from __future__ import annotations

import contextlib
import re
import shutil
from pathlib import Path

from piapi.errors import NotFound
from piapi.storage.files import in_words, require_space, sync_folder, write_durably
from piapi.storage.ledger import Job

#: Frames in one folder: a month of them in one would be slow to list.
FRAMES_A_FOLDER = 1000


#: The name of the folder of a job, which is its id.
JOB_NAME = re.compile(r"[0-9a-f]{16}")

#: Endings of such a folder that a start clears away: its job was removed; a restore was cut off.
REMOVED, RESTORING = ".removed", ".restoring"


class FrameFiles:
    """Folders and files of time-lapses, in the data folder."""

    def __init__(self, folder: Path, floor_bytes: int) -> None:
        self._data = folder
        self._folder = folder / "timelapses"
        self._incoming = folder / "incoming"
        self._floor_bytes = floor_bytes

    def prepare(self) -> None:
        """Make the folder, durably. Raises StorageError."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._incoming.mkdir(exist_ok=True)
            sync_folder(self._data)
        except OSError as error:
            raise in_words(error) from error

    def folder(self, id: str) -> Path:
        """Of one job."""
        return self._folder / id

    def film_folder(self, id: str) -> Path:
        """Of its film."""
        return self._folder / id / "film"

    def place(self, id: str, index: int) -> Path:
        """Where the frame of a tick belongs."""
        return self._folder / f"{id}/frames/{index // FRAMES_A_FOLDER:06d}/{index:09d}.jpg"

    def has_room(self, wanted_bytes: int) -> bool:
        """Whether so much fits above the floor of free space."""
        return shutil.disk_usage(self._data).free - wanted_bytes >= self._floor_bytes

    def write_frame(self, job: Job, index: int, data: bytes) -> None:
        """Put a frame into its place: synced when this returns. Raises StorageFull."""
        require_space(self._data, len(data), self._floor_bytes)
        write_durably(self.place(job.id, index), data, self._incoming, unique=job.id)

    def remove_frame(self, job: Job, index: int) -> None:
        """Take a frame away that has no row; with the folders that it has made, where its job was removed meanwhile."""
        path = self.place(job.id, index)
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # they are in use
            for folder in (path.parent, path.parent.parent, self.folder(job.id)):
                folder.rmdir()

    def remove_folder(self, id: str) -> None:
        """Remove all files of a job whose row has gone. What a crash leaves of them, the next start clears away."""
        folder = self.folder(id)
        removed = folder.with_name(folder.name + REMOVED)
        with contextlib.suppress(OSError):
            folder.rename(removed)
            sync_folder(self._folder)
        for path in (removed, folder):
            shutil.rmtree(path, ignore_errors=True)

    def set_folder_aside(self, id: str) -> Path:
        """Move the folder of a job that the database does not know to where nothing of piapi ever looks. Gives its new
        place. Raises OSError."""
        aside = self._data / "set-aside"
        aside.mkdir(exist_ok=True)
        place, number = aside / id, 0
        while place.exists():
            number += 1
            place = aside / f"{id}.{number}"
        self.folder(id).rename(place)
        sync_folder(aside)
        sync_folder(self._folder)
        return place

    def make_folders(self, id: str) -> None:
        """Those of a new job, durably. Raises StorageError."""
        try:
            for name in ("frames", "film", "renders"):
                (self._folder / id / name).mkdir(parents=True, exist_ok=True)
            for folder in (self._folder / id, self._folder):
                sync_folder(folder)
        except OSError as error:
            raise in_words(error) from error

    def read_frame(self, job: Job, index: int) -> bytes:
        """The bytes of a frame. Raises NotFound."""
        try:
            return self.place(job.id, index).read_bytes()
        except FileNotFoundError:
            raise NotFound("The file of this frame has gone.") from None

    def files_after(self, job: Job, index: int) -> list[tuple[int, Path]]:
        """Frames on disk that belong to ticks above this one, in order: a crash came before their rows."""
        frames = self.folder(job.id) / "frames"
        if not frames.is_dir():
            return []
        folders = [path for path in frames.iterdir() if path.name.isdigit()]
        near = [path for path in folders if int(path.name) >= (index + 1) // FRAMES_A_FOLDER]
        files = [(int(path.stem), path) for folder in near for path in folder.glob("*.jpg") if path.stem.isdigit()]
        return sorted(item for item in files if item[0] > index)
