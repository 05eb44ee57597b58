"""What can go wrong, as one tree. It knows no HTTP: `piapi/api/problems.py` is the only place that maps it.

PiApiError
├── ConfigurationError          a setting is wrong; the start stops and says which
├── Invalid                     what was asked for is not possible as asked, field by field
│   └── UnsupportedControl      a camera control that is unknown or out of its range
├── NotFound                    there is no such thing
├── Conflict                    the thing is in a state in which this cannot be done
│   ├── CommandExpired          a command came after the time at which it expires
│   ├── NoFilm                  a time-lapse has no frame yet, so there is nothing to be seen
│   └── DoorFault               the sensors of a door contradict each other
├── RenderFailed                a render did not come to its end
├── Locked                      its owner has locked it
├── Quarantined                 just started; sensors are not yet known to be steady
├── IdempotencyError
│   ├── KeyRequired             what moves something needs an Idempotency-Key
│   ├── KeyInFlight             the first request with this key is still running
│   └── KeyReused               this key came with another body before
├── PreconditionFailed          the thing has changed since the caller last saw it
├── AccessError
│   ├── Unauthenticated         nobody, or nobody we know
│   │   └── WrongPassword       a name and a password that do not open a session
│   ├── Forbidden               somebody, without the scope
│   └── ForeignHost             a Host header that is not this machine's
├── TooManyRequests             more than its share; later is fine
├── TooManyViewers              all places for live viewers are taken
├── HardwareError
│   ├── CameraUnavailable       the camera is absent, unplugged or in use by another program
│   ├── DamagedPicture          what the camera delivered is no whole picture
│   ├── CameraBusy              too much work is waiting for this camera already
│   ├── CameraTimeout           the camera did not deliver by the deadline
│   ├── BoardUnavailable        the GPIO chip is absent, or this user may not use it
│   ├── LineBusy                another program, or another part of this one, holds the line
│   ├── LineRefused             the board cannot do this with this line
│   └── GuardUnavailable        nobody would switch the relay off if this process died
└── StorageError
    ├── StorageFull             no space above the floor
    │   └── DoesNotFit          a time-lapse needs more than is left beside those that are promised some
    ├── StorageBusy             another process holds the database for too long
    ├── DatabaseUnusable        the database is damaged or from a later version
    ├── NotABackup              a file to be restored is none, or is damaged
    ├── DataDiskMissing         the disk of the data folder is not mounted
    └── DataFolderInUse         another piapi owns this data folder
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from piapi.timelapse import Estimate


class PiApiError(Exception):
    """Base of every error that piapi raises on purpose. `str(error)` is a sentence for a person."""


class ConfigurationError(PiApiError):
    """One or more settings are wrong. `faults` names file, key and remedy of each."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a request: `where` is a JSON pointer into the body, or a query parameter's name."""

    where: str
    detail: str
    in_query: bool = False


class Invalid(PiApiError):
    """The request is understood and cannot be carried out as it stands. `faults` has all that is wrong."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__("; ".join(f"{fault.where or 'body'}: {fault.detail}" for fault in faults))
        self.faults = faults


class UnsupportedControl(Invalid):
    """A camera control that the camera does not have, or a value outside its range."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(Fault(f"/controls/{name}", detail))


class RenderFailed(PiApiError):
    """A render did not come to its end; the message says why."""


class NotFound(PiApiError):
    """The named thing does not exist."""


class Conflict(PiApiError):
    """The thing exists, and its state forbids what was asked."""


class CommandExpired(Conflict):
    """A command came after its `expires_at`. Nothing was done."""


class NoFilm(Conflict):
    """A film was asked for before its first frame."""


class DoorFault(Conflict):
    """Both sensors of a door are active at once: nobody knows where it is, and it takes no command."""


class Locked(PiApiError):
    """A command reached something that its owner has locked."""


class Quarantined(PiApiError):
    """A command came before the sensors were known to be steady after a start. A second later it may be taken."""


class IdempotencyError(PiApiError):
    """Something about the Idempotency-Key of a request."""


class KeyRequired(IdempotencyError):
    """What moves something is done once at most, and needs an Idempotency-Key."""


class KeyInFlight(IdempotencyError):
    """The first request with this key has not been answered yet."""


class KeyReused(IdempotencyError):
    """The same key has come with another body. Nothing was done."""


class PreconditionFailed(PiApiError):
    """`If-Match` names another version than the current one."""


class AccessError(PiApiError):
    """The caller may not."""


class Unauthenticated(AccessError):
    """No credentials, or wrong, expired or revoked ones. Which of these is not said."""


class WrongPassword(Unauthenticated):
    """No such user, or another password. Which of these is not said."""


class Forbidden(AccessError):
    """A known caller without the scope. `scope` is what is missing."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"This needs the scope {scope}, which you do not have.")
        self.scope = scope


class ForeignHost(AccessError):
    """The Host header names a machine that is not this one (DNS rebinding)."""


class TooManyRequests(PiApiError):
    """Over a bound. `retry_after_s` says when it is worth trying again."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TooManyViewers(TooManyRequests):
    """Every place for a live viewer is taken (`server.max_viewers`)."""


class HardwareError(PiApiError):
    """The hardware said no, or nothing."""


class CameraUnavailable(HardwareError):
    """The camera cannot be opened or has gone. The message says why, and what would help."""


class DamagedPicture(HardwareError):
    """What the camera delivered cannot be decoded. The next picture may be whole."""


class CameraBusy(HardwareError):
    """The queue of work for this camera is full."""


class CameraTimeout(HardwareError):
    """The camera delivered nothing by the deadline."""


class BoardUnavailable(HardwareError):
    """The GPIO chip cannot be opened or has failed. The message says why, and what would help."""


class LineBusy(HardwareError):
    """The line is claimed already, here or by another program."""


class LineRefused(HardwareError):
    """The line does not exist on this board, is not claimed, or was claimed for something else."""


class GuardUnavailable(HardwareError):
    """The guard does not answer or takes no lease, so nothing that has to go off by itself may be switched on."""


class StorageError(PiApiError):
    """The data folder cannot be used as asked."""


class StorageFull(StorageError):
    """Writing would go below the free-space floor, or the disk is full."""


class DoesNotFit(StorageFull):
    """A time-lapse needs more space than there is beside those that are promised some. `estimate` says how much."""

    def __init__(self, message: str, estimate: Estimate) -> None:
        super().__init__(message)
        self.estimate = estimate


class StorageBusy(StorageError):
    """Another process has been writing to the database for too long. Later is fine."""


class DatabaseUnusable(StorageError):
    """The database is damaged, or was written by a later version. Nothing was changed."""


class NotABackup(StorageError):
    """What is to be restored is no backup, is cut off, or was written by a later piapi. Nothing was changed."""


class DataDiskMissing(StorageError):
    """The data folder is on a disk of its own, and that is not mounted: writing would fill another disk."""


class DataFolderInUse(StorageError):
    """Another process holds the lock of this data folder."""
