"""The self-test's checks of the machine: each when all is well, and each when it is not."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import config
from piapi.errors import StorageError
from piapi.selftest import disk, guard, machine, permissions, units
from piapi.selftest.checklist import CHECKLIST, examine
from piapi.selftest.configuration import configuration
from piapi.selftest.redaction import Redaction
from piapi.selftest.results import Finding, Outcome, Result, failed, is_sound, markdown_of, ok, summary_of
from piapi.selftest.site import Site, Unanswered
from tests.fakes import FakeClock
from tests.selftest_site import UNITS, FakeService, PatientClock, only, outcomes, put, site

OK, FAILED, SKIPPED = Outcome.OK, Outcome.FAILED, Outcome.SKIPPED
THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"
PERSIST = "sys/module/pinctrl_bcm2835/parameters/persist_gpio_outputs"
LAMP = {"lamp": config.Pin(gpio="GPIO17")}


# The machine


def test_a_service_of_this_version_is_well_and_another_has_to_be_restarted(tmp_path: Path) -> None:
    service = FakeService()
    assert outcomes(machine.versions(site(tmp_path, service=service)))["service"] is OK
    service.version = "0.0.1"
    assert outcomes(machine.versions(site(tmp_path, service=service)))["service"] is FAILED
    gone = {result.name: result for result in machine.versions(site(tmp_path, no_service="Nobody is there."))}
    assert gone["service"].outcome is FAILED and "Nobody is there." in gone["service"].detail


def test_the_board_is_told_as_it_is(tmp_path: Path) -> None:
    put(tmp_path, "proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0")
    put(tmp_path, "proc/sys/kernel/osrelease", "6.12.25+rpt-rpi-2712\n")
    put(tmp_path, "etc/os-release", 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n')
    put(tmp_path, "proc/meminfo", "MemTotal: 2097152 kB\nMemAvailable: 1048576 kB\n")
    told = {result.name: result.detail for result in machine.board(site(tmp_path))}
    assert told == {
        "board": "Raspberry Pi 5 Model B Rev 1.0",
        "kernel": "6.12.25+rpt-rpi-2712",
        "operating system": "Debian GNU/Linux 13 (trixie)",
        "memory": "1024 MiB of 2048 MiB available",
    }


def test_what_a_machine_does_not_tell_is_skipped(tmp_path: Path) -> None:
    found = outcomes(machine.board(site(tmp_path)))
    assert found["board"] is SKIPPED and found["memory"] is SKIPPED
    assert only(machine.power(site(tmp_path))).outcome is SKIPPED


@pytest.mark.parametrize(
    ("bits", "outcome", "said"),
    [
        ("0", OK, "no under-voltage"),
        ("1", FAILED, "under-voltage now"),
        ("10000", FAILED, "under-voltage since the last boot"),
        ("4", FAILED, "throttled now"),
        ("80000", OK, "soft temperature limit since the last boot"),
    ],
)
def test_power_is_judged_by_what_the_firmware_says(tmp_path: Path, bits: str, outcome: Outcome, said: str) -> None:
    put(tmp_path, THROTTLED, f"{bits}\n")
    put(tmp_path, "sys/class/thermal/thermal_zone0/temp", "48300\n")
    result = only(machine.power(site(tmp_path)))
    assert result.outcome is outcome and said in result.detail and "48.3 °C" in result.detail
    assert bool(result.remedy) == (bits != "0")


@pytest.mark.parametrize(
    ("synchronised", "trust", "outcome"),
    [(True, "auto", OK), (False, "auto", FAILED), (None, "auto", SKIPPED), (False, "always", OK)],
)
def test_the_clock_is_right_or_trusted(tmp_path: Path, synchronised: bool | None, trust: str, outcome: Outcome) -> None:
    settings = config.Settings(clock=config.ClockTrust(trust=trust))
    here = site(tmp_path, settings=settings, is_synchronised=lambda: synchronised)
    assert outcomes(machine.clock(here))["clock"] is outcome


def test_the_time_zone_exists_or_is_said_not_to(tmp_path: Path) -> None:
    def zone(**more: Any) -> Result:
        return list(machine.clock(site(tmp_path, **more)))[1]

    assert zone().outcome is SKIPPED
    (tmp_path / "etc").mkdir()
    localtime = tmp_path / "etc/localtime"
    localtime.symlink_to("/usr/share/zoneinfo/Nowhere/Atlantis")
    assert zone().outcome is FAILED and "set-timezone" in zone().remedy
    localtime.unlink()
    localtime.write_bytes(b"no zone")
    assert zone().outcome is FAILED
    named = zone(settings=config.Settings(place=config.Place(time_zone="Europe/Berlin")))
    assert named.outcome is OK and "Europe/Berlin" in named.detail


# Configuration


def test_each_fault_of_the_configuration_is_named_and_hints_are_none(tmp_path: Path) -> None:
    wrong = list(configuration(site(tmp_path, settings=None, faults=["a: is wrong", "b: too"])))
    assert [(result.outcome, result.detail) for result in wrong] == [(FAILED, "a: is wrong"), (FAILED, "b: too")]
    sound = list(configuration(site(tmp_path, hints=["pins.lamp.gpio: look"])))
    assert [result.outcome for result in sound] == [OK, OK] and "docs/wiring.md" in sound[1].remedy


# systemd


def changed(unit: str, old: str, new: str) -> dict[str, str]:
    assert old in UNITS[unit]
    return UNITS | {unit: UNITS[unit].replace(old, new)}


def test_units_that_are_well(tmp_path: Path) -> None:
    found = outcomes(units.units(site(tmp_path)))
    assert found == dict.fromkeys(("piapi.service", "start at boot", "watchdog", "piapi-guard.service"), OK)


@pytest.mark.parametrize(
    ("unit", "old", "new", "name"),
    [
        ("piapi.service", "ActiveState=active", "ActiveState=failed", "piapi.service"),
        ("piapi.service", "ActiveState=active", "ActiveState=inactive", "piapi.service"),
        ("piapi.service", "UnitFileState=enabled", "UnitFileState=disabled", "start at boot"),
        ("piapi.service", "WatchdogUSec=1min 30s", "WatchdogUSec=0", "watchdog"),
        ("piapi-guard.service", "ActiveState=active", "ActiveState=failed", "piapi-guard.service"),
        ("piapi-guard.service", "LoadState=loaded", "LoadState=not-found", "piapi-guard.service"),
    ],
)
def test_a_unit_that_is_not_well_fails_alone_and_has_a_remedy(
    tmp_path: Path, unit: str, old: str, new: str, name: str
) -> None:
    found = list(units.units(site(tmp_path, units=changed(unit, old, new))))
    assert [result.name for result in found if result.outcome is FAILED] == [name]
    assert all(result.remedy for result in found if result.outcome is FAILED)


def test_restarts_are_told_and_no_systemd_is_no_fault(tmp_path: Path) -> None:
    first, *_ = units.units(site(tmp_path, units=changed("piapi.service", "NRestarts=0", "NRestarts=3")))
    assert first.outcome is OK and "3 times" in first.detail and "journalctl" in first.remedy
    assert only(units.units(site(tmp_path, units={}))).outcome is SKIPPED


def test_a_guard_that_is_away_fails_where_an_output_needs_it(tmp_path: Path) -> None:
    away = changed("piapi-guard.service", "ActiveState=active", "ActiveState=inactive")
    assert outcomes(units.units(site(tmp_path, units=away)))["piapi-guard.service"] is SKIPPED
    needing = site(tmp_path, units=away, settings=config.Settings(pins=LAMP))
    assert outcomes(units.units(needing))["piapi-guard.service"] is FAILED


# Permissions


ALL_DEVICES = config.Settings(pins=LAMP, cameras={"front": config.Camera()})
DEVICES = ("dev/gpiochip0", "dev/video0", "dev/media0", "dev/dma_heap/linux,cma")


def test_devices_that_the_service_may_open(tmp_path: Path) -> None:
    for name in DEVICES:
        put(tmp_path, name).chmod(0o666)
    other = changed("piapi.service", "User=\n", "User=nobody\n")
    for known in (UNITS, other):
        found = outcomes(permissions.permissions(site(tmp_path, settings=ALL_DEVICES, units=known)))
        assert set(found.values()) == {OK} and len(found) == 4


def test_a_device_that_the_service_may_not_open_names_the_group(tmp_path: Path) -> None:
    for name in DEVICES:
        put(tmp_path, name).chmod(0o660)
    other = changed("piapi.service", "User=\n", "User=nobody\n")
    found = list(permissions.permissions(site(tmp_path, settings=ALL_DEVICES, units=other)))
    assert [result.outcome for result in found] == [FAILED] * 4
    assert "nobody may not open /dev/gpiochip0" in found[0].detail and "usermod -aG gpio nobody" in found[0].remedy
    assert "/dev/dma_heap/linux,cma" in found[3].detail and "-aG video nobody" in found[3].remedy


def test_a_device_is_open_to_its_groups(tmp_path: Path) -> None:
    device = put(tmp_path, "device")
    device.chmod(0o060)
    gid = device.stat().st_gid
    assert permissions.may_open(device, permissions.User("other", 54321, frozenset({gid})))
    assert not permissions.may_open(device, permissions.User("other", 54321, frozenset({gid + 1})))
    assert permissions.may_open(device, permissions.User("root", 0, frozenset()))


def test_devices_that_are_not_there_or_not_needed(tmp_path: Path) -> None:
    missing = outcomes(permissions.permissions(site(tmp_path, settings=ALL_DEVICES)))
    assert list(missing.values()) == [FAILED, FAILED, SKIPPED, SKIPPED]
    assert set(outcomes(permissions.permissions(site(tmp_path))).values()) == {SKIPPED}
    network = config.Settings(cameras={"yard": config.Camera(backend="av", source="rtsp://192.0.2.1/")})
    assert set(outcomes(permissions.permissions(site(tmp_path, settings=network))).values()) == {SKIPPED}
    webcam = config.Settings(cameras={"desk": config.Camera(backend="av", source="/dev/video0")})
    assert outcomes(permissions.permissions(site(tmp_path, settings=webcam)))["/dev/video*"] is FAILED


# The data folder


def with_data(root: Path, **more: Any) -> Site:
    return site(root, settings=config.Settings(storage=config.Storage(path=root / "data", floor_bytes=0)), **more)


def test_a_disk_that_is_well_is_timed_and_nothing_is_left_on_it(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    entered: list[Path] = []

    @contextlib.contextmanager
    def as_owner_of(folder: Path) -> Iterator[None]:
        entered.append(folder)
        yield

    found = list(disk.disk(with_data(tmp_path, as_owner_of=as_owner_of)))
    assert [(result.name, result.outcome) for result in found] == [("free space", OK), ("sync to disk", OK)]
    assert "median" in found[1].detail and "worst" in found[1].detail
    assert list((tmp_path / "data").iterdir()) == [] and entered == [tmp_path / "data"]


def test_a_folder_that_is_not_there_or_whose_disk_is_not(tmp_path: Path) -> None:
    assert only(disk.disk(with_data(tmp_path))).outcome is FAILED
    own = config.Settings(storage=config.Storage(path=tmp_path, on_own_disk=True))
    result = only(disk.disk(site(tmp_path, settings=own)))
    assert result.outcome is FAILED and "piapi.disk" in result.detail
    assert only(disk.disk(site(tmp_path, settings=None))).outcome is SKIPPED


def test_free_space_below_the_floor_fails(tmp_path: Path) -> None:
    assert disk.space(tmp_path, 999, 1000).outcome is FAILED
    assert disk.space(tmp_path, 1000, 1000).outcome is OK


@pytest.mark.parametrize(
    ("seconds", "outcome"), [((0.01,) * 20, OK), ((0.6,) * 20, FAILED), ((0.01,) * 19 + (3.5,), FAILED)]
)
def test_a_slow_card_fails_by_its_middle_or_by_its_worst(
    tmp_path: Path, seconds: tuple[float, ...], outcome: Outcome
) -> None:
    clock, left = FakeClock(), list(seconds)
    result = disk.sync_speed(tmp_path, clock, lambda path, data, incoming: clock.advance(left.pop()))
    assert result.outcome is outcome and not left and list(tmp_path.iterdir()) == []
    assert f"worst {max(seconds) * 1000:.1f} ms" in result.detail


@pytest.mark.parametrize("error", [StorageError("cannot be written"), OSError(errno.EACCES, "denied")])
def test_a_folder_that_takes_nothing_fails(tmp_path: Path, error: Exception) -> None:
    def write(path: Path, data: bytes, incoming: Path) -> None:
        raise error

    assert disk.sync_speed(tmp_path, FakeClock(), write).outcome is FAILED
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_read_only_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    found = os.statvfs(tmp_path)
    read_only = os.statvfs_result((*found[:8], found.f_flag | os.ST_RDONLY, found.f_namemax))
    monkeypatch.setattr(os, "statvfs", lambda path: read_only)
    result = only(disk.disk(with_data(tmp_path)))
    assert result.outcome is FAILED and "read-only" in result.detail


def test_an_interrupted_measurement_leaves_nothing(tmp_path: Path) -> None:
    def write(path: Path, data: bytes, incoming: Path) -> None:
        path.write_bytes(data)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        disk.sync_speed(tmp_path, FakeClock(), write)
    assert list(tmp_path.iterdir()) == []


# The guard


@pytest.mark.parametrize(
    ("value", "on_exit", "outcome"),
    [(None, "keep", SKIPPED), ("Y", "keep", OK), ("N", "off", OK), ("N", "keep", FAILED)],
)
def test_what_the_kernel_does_with_lines_of_the_dead(
    tmp_path: Path, value: str | None, on_exit: str, outcome: Outcome
) -> None:
    if value:
        put(tmp_path, PERSIST, f"{value}\n")
    settings = config.Settings(pins={"lamp": config.Pin(gpio="GPIO17", on_exit=on_exit)})
    result = only(guard.persistence(site(tmp_path, settings=settings)))
    assert result.outcome is outcome
    assert (f"pinctrl_bcm2835.persist_gpio_outputs is {value}" in result.detail) == (value is not None)


def guarded(root: Path, **more: Any) -> Site:
    more.setdefault("settings", config.Settings(pins=LAMP))
    return site(root, run_folder=root / "data/run", service=FakeService(), **more)


def test_the_guard_is_greeted_where_it_stands_and_as_the_lines_that_are_configured(tmp_path: Path) -> None:
    greeted: list[tuple[Path, str]] = []

    def greet(path: Path, lines: str) -> None:
        greeted.append((path.relative_to(tmp_path), lines))

    simulated = config.Settings(gpio=config.Gpio(backend="simulated"), pins=LAMP)
    results = [guard.guard_at(guarded(tmp_path), greet), guard.guard_at(guarded(tmp_path, settings=simulated), greet)]
    put(tmp_path, guard.STANDING)
    chip = config.Settings(gpio=config.Gpio(chip=4), pins=LAMP)
    results.append(guard.guard_at(guarded(tmp_path, settings=chip), greet))
    assert {result.outcome for result in results} == {OK}
    by_hand = Path("data/run/guard.sock")
    assert greeted == [
        (by_hand, "chip auto"),
        (by_hand, f"simulated {tmp_path / 'data/run/gpio.simulated'}"),
        (Path("run/piapi-guard/guard.sock"), "chip 4"),
    ]


@pytest.mark.parametrize(
    ("error", "outcome"), [(FileNotFoundError("none"), FAILED), (PermissionError("no"), SKIPPED)], ids=str
)
def test_a_guard_that_is_away_fails_and_one_that_may_not_be_asked_is_skipped(
    tmp_path: Path, error: OSError, outcome: Outcome
) -> None:
    def greet(path: Path, lines: str) -> None:
        raise error

    result = guard.guard_at(guarded(tmp_path), greet)
    assert result.outcome is outcome and result.remedy
    assert guard.guard_at(guarded(tmp_path, settings=config.Settings()), greet).outcome is SKIPPED


@pytest.mark.parametrize(
    ("answers", "said"),
    [(({"ok": True}, {"ok": True}), None), (({"error": "other lines"},), "other lines"), ((None,), "hung up")],
)
def test_a_greeting_is_hello_and_goodbye(
    tmp_path: Path, answers: tuple[dict[str, Any] | None, ...], said: str | None
) -> None:
    path, heard = tmp_path / "guard.sock", []
    with socket.socket(socket.AF_UNIX) as server:
        folder = os.open(tmp_path, os.O_PATH)
        server.bind(f"/proc/self/fd/{folder}/guard.sock")
        os.close(folder)
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection, connection.makefile("rwb") as stream:
                for answer in answers:
                    heard.append(json.loads(stream.readline())["do"])
                    stream.write(json.dumps(answer).encode() + b"\n" if answer else b"")
                    stream.flush()

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(OSError, match=said) if said else contextlib.nullcontext():
            guard.greet(path, "chip auto")
        thread.join()
    assert heard == ["hello", "bye"][: len(answers)]


# All together


def test_all_checks_run_where_nothing_is_known_and_none_breaks(tmp_path: Path) -> None:
    findings = list(examine(site(tmp_path, settings=None, faults=["wrong"], units={})))
    assert {finding.heading for finding in findings} >= {"Versions", "Configuration", "Data folder", "Guard"}
    assert not [finding for finding in findings if "check itself" in finding.result.detail]
    assert len({check for _, check in CHECKLIST}) == len(CHECKLIST)


@pytest.mark.parametrize("error", [RuntimeError("broken"), Unanswered("hung up")])
def test_a_check_that_breaks_fails_and_stops_no_other(tmp_path: Path, error: Exception) -> None:
    def broken(site: Site) -> Iterator[Result]:
        yield ok("first", "")
        raise error

    def well(site: Site) -> Iterator[Result]:
        yield ok("last", "")

    findings = list(examine(site(tmp_path), (("Broken", broken), ("Well", well))))
    assert [finding.result.outcome for finding in findings] == [OK, FAILED, OK]
    assert str(error) in findings[1].result.detail and not is_sound(findings)


def test_waiting_ends_at_its_time(tmp_path: Path) -> None:
    clock = PatientClock()
    began = clock.monotonic()
    assert site(tmp_path, clock=clock).until(lambda: None, 5.0) is None
    assert 5.0 <= clock.monotonic() - began < 5.5


def test_the_report_is_a_table_for_each_heading(tmp_path: Path) -> None:
    findings = [
        Finding("Pins", ok("pin a|b", "two\nlines")),
        Finding("Pins", failed("pin c", "dead", "wire it")),
        Finding("Doors", ok("door", "closed")),
    ]
    report = markdown_of(findings, FakeClock().now(), interrupted=True)
    assert summary_of(findings) == "2 ok, 1 failed, 0 skipped"
    assert "2026-06-21T12:00:00.000Z: 2 ok, 1 failed, 0 skipped." in report and "**Interrupted**" in report
    assert "| ok | pin a\\|b | two<br>lines |  |" in report and "| **failed** | pin c | dead | wire it |" in report
    assert report.count("## ") == 2 and "Interrupted" not in markdown_of(findings, FakeClock().now())


# What is private


SECRETS = config.Settings(
    place=config.Place(latitude=47.37174, longitude=8.54226),
    cameras={"yard": config.Camera(backend="av", source="rtsp://anna:s3cr%40t-pass@cam.example.org:554/live?key=Zm9v")},
)


OF_SETTINGS = (
    "login anna / s3cr@t-pass is refused by cam.example.org",
    "login anna / s3cr%40t-pass is refused (key=Zm9v)",
    "the sun at 47.37174, 8.54226",
)
BY_THEIR_LOOKS = (
    "no picture: rtsp://anna:s3cr%40t-pass@cam.example.org:554/live?key=Zm9v does not answer",
    "no picture from 'http://cam.example.org/s3cr%40t-pass', as always",
    "/etc/piapi/piapi.toml: place.latitude: 47.37174 must be a number from -9 to 9",
    "sound\npiapi.toml: cameras.yard.source: ['rtsp://anna:s3cr@t pass@cam.example.org'] must be a text in quotes",
    "token piapi_s3cr9VtYw0pQe7rT5uI1oP2aS4dF6gH8jK0lZ3xC5v was refused",
    "http://cam.example/pair#ABCDEFGHIJKLMNOPQRSTUVWXYZ234567 is open",
)


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        *((text, SECRETS) for text in OF_SETTINGS),
        *((text, known) for text in BY_THEIR_LOOKS for known in (SECRETS, None)),
    ],
)
def test_nothing_private_is_told(text: str, settings: config.Settings | None) -> None:
    secrets = ("anna", "s3cr", "pass@", "cam.example", "Zm9v", "47.37174", "8.54226", "ABCDEFGH")
    assert any(secret in text for secret in secrets)
    hidden = Redaction(settings).of(failed("name", text, text))
    assert not [secret for secret in secrets if secret in hidden.detail or secret in hidden.remedy]


def test_what_is_not_private_stays() -> None:
    for text in ("median 4.0 ms, worst 12.3 ms of 20 writes", "imx708, 4608×2592 in 0.42 s", "/dev/dma_heap/linux,cma"):
        assert Redaction(SECRETS).text(text) == text
    assert "place.latitude" in Redaction(None).text("piapi.toml: place.latitude: 900 must be a number")
