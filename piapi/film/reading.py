"""A film put together for a request: a head made from sizes, spans of segment files, and what is not closed yet."""

from __future__ import annotations

import hashlib
import logging
from array import array
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from piapi.errors import NoFilm
from piapi.film import catalogue, mp4, nal, segments
from piapi.film.catalogue import Catalogue
from piapi.film.files import FilmFile, Span
from piapi.film.rates import exact_rate
from piapi.film.tail import Sample

_log = logging.getLogger(__name__)


def read_film(folder: Path, fps: float) -> FilmFile:
    """The film of closed segments, as a finished job has it. Changes nothing. Raises NoFilm when there are none."""
    known, bad = catalogue.load(folder)
    for path, reason in bad:
        _log.warning("%s is left out of the film: %s", path, reason)
    return assembled(folder, known, (), exact_rate(fps), known.sets, known.size)


def assembled(
    folder: Path,
    known: Catalogue,
    tail: Sequence[Sample],
    rate: Fraction,
    sets: tuple[bytes, ...],
    size: tuple[int, int],
) -> FilmFile:
    """Closed segments, and then `tail`. Raises NoFilm when there is no frame in either."""
    sizes, keys, counts, chunk_sizes = known.sizes, known.keys, known.counts, known.data_sizes
    if tail:
        sizes, counts, chunk_sizes = sizes[:], counts[:], chunk_sizes[:]
        sizes.extend(len(sample.data) for sample in tail)
        keys = keys + array("I", (known.frames + place for place, sample in enumerate(tail, 1) if sample.key))
        counts.append(len(tail))
        chunk_sizes.append(sum(len(sample.data) for sample in tail))
    if not sizes:
        raise NoFilm("There is no frame yet.")
    mixed = any(known.own_sets) or any(sample.has_own_sets for sample in tail)
    entry = nal.avc_entry(sets, *size, more_within=mixed)
    track = mp4.Track(entry, *size, rate, sizes, keys, counts, chunk_sizes)
    head = mp4.head(track, room=mp4.steady_room(len(sizes), len(keys), len(counts)), open_ended=True)
    spans = (
        Span(segments.path_of(folder, ordinal), offset, length)
        for ordinal, offset, length in zip(known.ordinals, known.heads, known.data_sizes, strict=True)
    )
    seen = hashlib.sha256(head + known.checks.tobytes())
    for sample in tail:
        seen.update(sample.check.to_bytes(4, "little"))
    return FilmFile(
        parts=(head, *spans, *(sample.data for sample in tail)),
        size_bytes=len(head) + sum(chunk_sizes),
        etag=seen.hexdigest()[:32],
        frames=len(sizes),
        duration_s=float(len(sizes) / rate),
    )
