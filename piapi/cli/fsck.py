"""piapi fsck: whether all that is kept is whole."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from piapi.cli.data import opened_database
from piapi.clock import SystemClock
from piapi.services.events import Events
from piapi.services.inspection import Inspection
from piapi.services.recovery import Recovery
from piapi.storage.database import Database
from piapi.storage.files import FolderLock
from piapi.storage.inventory import Inventory
from piapi.storage.photos import PhotoLibrary
from piapi.storage.timelapses import TimelapseStore


@click.command()
@click.option("--fast", is_flag=True, help="Look at no hash.")
@click.option(
    "--mend", is_flag=True, help="First do what a start does, and accept that files are gone. Stop piapi before."
)
def fsck(fast: bool, mend: bool) -> None:
    """Check the database, and photos and time-lapses against their rows, sizes and hashes.

    A line for each fault; exit 0 when sound. Works beside a running service.
    """
    clock, count = SystemClock(), 0
    with opened_database(make=False) as database:
        folder = database.path.parent
        if mend:
            _mend(database, folder, clock)
        inspection = Inspection(database, folder, clock)
        for fault in inspection.faults(fast):
            click.echo(fault)
            count += 1
    lapses = inspection.lapses
    frames = f", {lapses.frames} frames of {lapses.timelapses} time-lapses" if lapses.timelapses else ""
    click.echo(f"{inspection.photos} photos{frames}, {count or 'no'} faults", err=True)
    sys.exit(1 if count else 0)


def _mend(database: Database, folder: Path, clock: SystemClock) -> None:
    lock = FolderLock(folder)
    lock.acquire()
    try:
        library = PhotoLibrary(database, folder)
        library.prepare()
        recovery = Recovery(library, Inventory(database, folder), Events(database, clock), clock)
        recovery.run(accept_empty=True)
        recovery.finish()
        timelapses = TimelapseStore(database, folder)
        timelapses.prepare()
        timelapses.clear_left_over()
        timelapses.accept_gone()
    finally:
        lock.release()
