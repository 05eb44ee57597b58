"""The open end of a film: encoded frames in memory, which become the next segment."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from piapi.film import nal


@dataclass(frozen=True, slots=True)
class Sample:
    """An encoded frame, as an MP4 holds it."""

    index: int
    data: bytes
    key: bool
    has_own_sets: bool
    check: int
    """CRC of `data`."""


class Tail:
    """Frames since the last closed segment. `sets`: the parameter sets of the film's first picture."""

    def __init__(self, sets: tuple[bytes, ...] = (), *, mixed: bool = False) -> None:
        self.sets = sets
        self.samples: list[Sample] = []
        self._mixed = mixed

    def add(self, index: int, picture: nal.Picture) -> None:
        """One frame. Parameter sets that are the film's own are left out, as its head has them.

        Once there have been others, all stay where they are, so that those of the head come into force again.
        """
        if picture.sets and not self.sets:
            self.sets = picture.sets
        own = bool(picture.sets) and (self._mixed or picture.sets != self.sets)
        self._mixed = self._mixed or own
        data = nal.with_lengths(picture.sets) + picture.sample if own else picture.sample
        self.samples.append(Sample(index, data, picture.key, own, zlib.crc32(data)))
