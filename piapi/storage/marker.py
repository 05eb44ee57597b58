"""A data folder on a disk of its own: where that disk is not mounted, the start is refused, or the card would fill.

Two signs. A mount point of fstab(5) above the folder that is not mounted now, which needs no setting. And, for disks
that fstab does not know, the word of the owner (`[storage] on_own_disk`): then a file on that disk has to be there.
"""

from __future__ import annotations

import re
from pathlib import Path

from piapi.errors import DataDiskMissing

MARKER = "piapi.disk"


def require_disk(
    folder: Path,
    on_own_disk: bool,
    fstab: Path = Path("/etc/fstab"),
    mounts: Path = Path("/proc/self/mountinfo"),
) -> None:
    """Raise DataDiskMissing where the disk of this data folder is not there. Makes nothing."""
    folder = folder.resolve()
    missing = mount_points(fstab, 1) - mount_points(mounts, 4) if mounts.exists() else set()
    above = [point for point in missing if folder.is_relative_to(point)]
    if above:
        raise DataDiskMissing(f"{folder} is on a disk that is not mounted: `mount {max(above)}`, then start again.")
    if on_own_disk and not (folder / MARKER).is_file():
        raise DataDiskMissing(
            f"{folder} has no file {MARKER}, so its disk is not mounted ([storage] on_own_disk). Mount it. If it is "
            f"mounted and new: `mkdir -p {folder} && touch {folder / MARKER}`"
        )


def mount_points(table: Path, column: int) -> set[Path]:
    """One column of fstab(5) or of mountinfo (proc(5)), which write a blank as \\040."""
    try:
        lines = table.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return set()
    cells = [line.split() for line in lines if not line.lstrip().startswith("#")]
    return {Path(_plain(row[column])) for row in cells if len(row) > column and row[column].startswith("/")}


def _plain(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
