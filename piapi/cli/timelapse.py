"""piapi timelapse: begin time-lapses, look at them, steer them, take them away. It speaks to the running service."""

from __future__ import annotations

import json
import sys
import threading
from typing import Any
from urllib.parse import quote

import click

from piapi.cli.durations import Moment, Seconds, in_short, local_time, size_in_words
from piapi.cli.export import export
from piapi.cli.local import API, LocalService, local_service, path_of

#: Seconds between two looks at one that is followed.
LOOK_EVERY_S = 1.0

ENDED = ("finished", "cancelled", "failed")


@click.group()
def timelapse() -> None:
    """Time-lapses of the running service."""


timelapse.add_command(export)


@timelapse.command("start")
@click.argument("camera")
@click.option("--every", required=True, type=Seconds(), help="Between two frames, such as 5s.")
@click.option("--count", type=int, help="End after so many frames.")
@click.option("--for", "lasting", type=Seconds(), help="End after so long, such as 2h or 30d.")
@click.option("--until", type=Moment(), help="End at this time, such as 2026-12-31T18:00.")
@click.option("--start-at", type=Moment(), help="Begin at this time; now, unless given.")
@click.option("--between", nargs=2, metavar="FROM TO", help="Capture only then: 07:30 18:00, or sunrise-00:30 sunset.")
@click.option("--days", help="Only on these: mon,tue,…")
@click.option("--name")
@click.option("--width", type=int)
@click.option("--height", type=int)
@click.option("--quality", type=int, help="Of the JPEGs, 1 to 100.")
@click.option("--ramp", is_flag=True, help="From day to night: exposure goes along in small steps.")
@click.option("--lock-exposure", is_flag=True, help="Hold exposure, gain, white balance and focus.")
@click.option("--fps", type=float, help="Of the film; 30, unless given.")
@click.option("--timestamp", is_flag=True, help="Burn date and time into the film.")
@click.option("--film-only", is_flag=True, help="Drop each JPEG once it is safe in the film.")
@click.option("--dry-run", is_flag=True, help="Only tell what it would come to.")
def start(camera: str, dry_run: bool, **wanted: Any) -> None:
    """Begin a time-lapse on CAMERA, and print its id."""
    with local_service() as service:
        path, body = f"{API}/cameras/{quote(camera, safe='')}/timelapses", _plan(**wanted)
        told = service.ask("POST", f"{path}?dry_run=true", body)
        words = f"{told['frames']} frames until {local_time(told['ends_at'])}, {size_in_words(told['size_bytes'])}, "
        words += f"a film of {in_short(told['video_s'])}."
        if dry_run:
            click.echo(words + ("" if told["fits"] else " It does not fit on the disk."))
            return
        made = service.ask("POST", path, body)
    click.echo(made["id"])
    click.echo(f"{words} See: piapi timelapse show {made['id']}", err=True)


def _plan(
    every: float,
    count: int | None,
    lasting: float | None,
    until: str | None,
    between: tuple[str, str] | None,
    days: str | None,
    ramp: bool,
    lock_exposure: bool,
    fps: float | None,
    timestamp: bool,
    film_only: bool,
    **rest: Any,
) -> dict[str, Any]:
    if sum(end is not None for end in (count, lasting, until)) != 1:
        raise click.UsageError("say when it ends: one of --count, --for and --until")
    if days and not between:
        raise click.UsageError("--days goes with --between, the hours of these days (00:00 24:00 for all of them)")
    video = {"fps": fps, "timestamp": timestamp or None, "keep_frames": False if film_only else None}
    plan = {
        "interval_s": every,
        "count": count,
        "duration_s": lasting,
        "until": until,
        **rest,
        "controls": {"exposure": "ramp"} if ramp else None,
        "lock_exposure": lock_exposure or None,
        "video": {name: value for name, value in video.items() if value is not None},
    }
    if between:
        plan["window"] = {"from": between[0], "to": between[1], **({"days": days.split(",")} if days else {})}
    return {name: value for name, value in plan.items() if value is not None}


@timelapse.command("list")
@click.option("--camera", help="Only those of this camera.")
@click.option("--json", "as_json", is_flag=True, help="As the API has them.")
def list_timelapses(camera: str | None, as_json: bool) -> None:
    """List the time-lapses, newest first."""
    with local_service() as service:
        found = service.items(f"{API}/timelapses", {"camera": camera} if camera else None)
        if as_json:
            click.echo(json.dumps(list(found), indent=2, ensure_ascii=False))
            return
        for item in found:
            click.echo(_line(item))


def _line(item: dict[str, Any]) -> str:
    total = item["frames_total"]
    frames = f"{item['frames_captured']} of {total} frames" if total else f"{item['frames_captured']} frames"
    missed = f", {item['frames_missed']} missed" if item["frames_missed"] else ""
    name = f"  {item['name']}" if item["name"] else ""
    return f"{item['id']}  {item['camera']}  {item['state']:<9}  {item['progress']:4.0%}  {frames}{missed}{name}"


@timelapse.command("show")
@click.argument("id")
@click.option("--json", "as_json", is_flag=True, help="As the API has it.")
@click.option("--follow", is_flag=True, help="Until it ends.")
def show(id: str, as_json: bool, follow: bool) -> None:
    """Tell where a time-lapse is."""
    with local_service() as service:
        found = service.ask("GET", path_of(id))
        if as_json:
            click.echo(json.dumps(found, indent=2, ensure_ascii=False))
            return
        for name, value in _told(found):
            click.echo(f"{name:<10} {value}")
        _draw(service, found, follow)


def _told(item: dict[str, Any]) -> list[tuple[str, str]]:
    reason = f": {item['state_reason']}" if item["state_reason"] else ""
    late, film = item["lateness_ms"], item["video"]
    told = [
        ("id", item["id"]),
        ("name", item["name"]),
        ("camera", item["camera"] + (" (emulated)" if item["emulated"] else "")),
        ("state", item["state"] + reason),
        ("every", in_short(item["interval_s"])),
        ("frames", f"{item['frames_captured']} captured, {item['frames_missed']} missed"),
        ("next", local_time(item["next_frame_at"]) if item["next_frame_at"] else None),
        ("ends", local_time(item["ended_at"] or item["ends_at"])),
        ("late by", f"{late['p50']:.3g} ms (half of them), {late['max']:.3g} ms (most)" if late["max"] else None),
        ("film", f"{film['frames']} frames, {in_short(film['duration_s'])}, {size_in_words(film['size_bytes'] or 0)}"),
    ]
    return [(name, value) for name, value in told if value is not None]


def _draw(service: LocalService, item: dict[str, Any], follow: bool) -> None:
    """How far it is, as a bar where somebody looks."""
    pause = threading.Event()
    with click.progressbar(length=item["frames_total"] or 1, show_pos=True, file=sys.stderr) as bar:
        while True:
            bar.length = max(item["frames_total"] or 1, item["frames_due"])
            bar.update(item["frames_due"] - bar.pos)
            bar.render_progress()
            if not follow or item["state"] in ENDED:
                break
            pause.wait(LOOK_EVERY_S)
            item = service.ask("GET", path_of(item["id"]))
    if follow:
        click.echo(f"{item['state']}: {item['frames_captured']} captured, {item['frames_missed']} missed")


@timelapse.command("pause")
@click.argument("id")
def pause(id: str) -> None:
    """Capture nothing until it is resumed. What was due meanwhile is not missed."""
    _set(id, "paused")


@timelapse.command("resume")
@click.argument("id")
def resume(id: str) -> None:
    """Go on with one that was paused, on the same grid."""
    _set(id, "running")


@timelapse.command("cancel")
@click.argument("id")
def cancel(id: str) -> None:
    """End one before its time. Frames and film stay."""
    _set(id, "cancelled")


def _set(id: str, state: str) -> None:
    with local_service() as service:
        click.echo(_line(service.ask("PATCH", path_of(id), {"state": state})))
