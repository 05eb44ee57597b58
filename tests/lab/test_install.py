"""install.sh as README tells an owner to, and what systemd then makes of the units."""

from __future__ import annotations

import re

import pytest

from tests.lab.conftest import INSTALL, Pi, eventually
from tests.lab.lapses import lapse

FAN, PORCH, RELAY, LAMP = 16, 17, 23, 27


@pytest.mark.smoke
def test_the_service_runs_as_its_own_user(pi: Pi) -> None:
    shown = pi.guest.run("systemctl show piapi --property ActiveState,Type,User,StatusText,NRestarts,UnitFileState")
    assert dict(line.split("=", 1) for line in shown.split()) == {
        "ActiveState": "active",
        "Type": "notify",
        "User": "piapi",
        "StatusText": "http://0.0.0.0:8000/",
        "NRestarts": "0",
        "UnitFileState": "enabled",
    }
    assert pi.answers()


STOPPED = """
old=$(systemctl show --property MainPID --value piapi)
systemctl restart --no-block piapi
worker=
while [ -z "$worker" ]; do
  main=$(systemctl show --property MainPID --value piapi)
  [ "$main" = "$old" ] && continue
  for child in $(cat /proc/$main/task/$main/children 2>/dev/null); do
    # systemd's own helpers, before it becomes piapi, are there for a moment.
    grep -qsa gunicorn /proc/$child/cmdline && kill -STOP $child && worker=$child
  done
done
sleep 5
systemctl show --property ActiveState --value piapi
kill -CONT $worker
systemctl start piapi
python3 -c "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8000/api/v1/health/ready', timeout=2).status)"
"""
"""It starts, and its worker is stopped as soon as it is there: whoever waits for the service has to wait on."""


@pytest.mark.smoke
def test_it_is_ready_when_it_answers_and_not_before(pi: Pi) -> None:
    assert pi.guest.run(STOPPED).split() == ["activating", "200"]


@pytest.mark.smoke
def test_it_finds_its_cameras_where_nobody_has_made_settings(pi: Pi) -> None:
    assert len(pi.found) == 2, pi.found  # vivid and vimc


@pytest.mark.smoke
def test_a_phone_is_paired_on_the_machine(pi: Pi) -> None:
    link = re.search(r"http://\S+/pair#(\S+)", pi.guest.run("piapi pair phone"))
    assert link is not None
    status, _, said = pi.call("POST", "pair", {"code": link[1]})
    assert status in (200, 201), said


def test_one_that_hangs_is_started_anew_by_the_watchdog(pi: Pi) -> None:
    main = pi.main()
    pi.guest.run(f"kill -STOP {main} {pi.worker()}")
    eventually(lambda: pi.main() not in (main, 0), "systemd starts another", 300)
    eventually(pi.answers, "it answers again", 180)


def test_an_upgrade_keeps_settings_tokens_and_a_running_time_lapse(pi: Pi) -> None:
    settings = pi.guest.run("cat /etc/piapi/piapi.toml")
    before = pi.guest.run("readlink /opt/piapi/current")
    with lapse(pi, "yard", interval_s=5, count=500) as running:
        running.wait_for_frames(2)
        kept = running.frames()
        pi.guest.run(INSTALL, timeout_s=900)
        running.wait_for_frames(1)
        running.assert_whole(kept)
    assert pi.guest.run("readlink /opt/piapi/current") != before
    assert pi.guest.run("cat /etc/piapi/piapi.toml") == settings


def test_it_comes_back_by_itself_when_the_machine_does(pi: Pi) -> None:
    photo = pi.ask("POST", "cameras/yard/photos", {}, expected=201)
    with lapse(pi, "yard", interval_s=5, count=500) as running:
        running.wait_for_frames(2)
        kept = running.frames()
        for pin in ("porch", "lamp", "fan"):
            pi.ask("PUT", f"pins/{pin}/value", {"value": True})
        pi.guest.reboot()
        eventually(pi.answers, "piapi answers", 300)
        assert not any(pi.level(line) for line in (PORCH, LAMP, FAN, RELAY))
        running.wait_for_frames(1)
        running.assert_whole(kept)
        assert "power" in [row["cause"] for row in running.ledger()]
    assert pi.call("GET", photo["links"]["file"])[0] == 200


def test_what_was_removed_and_installed_again_has_its_settings_and_data(pi: Pi) -> None:
    photo = pi.ask("POST", "cameras/yard/photos", {}, expected=201)
    settings = pi.guest.run("cat /etc/piapi/piapi.toml")
    pi.guest.run("/mnt/piapi/systemd/uninstall.sh")
    assert not pi.answers()
    assert pi.guest.run("ls -d /opt/piapi /etc/systemd/system/piapi* /usr/local/bin/piapi 2>/dev/null || true") == ""
    assert pi.guest.run("systemctl list-units --all --plain --no-legend 'piapi*'") == ""
    pi.guest.run(INSTALL, timeout_s=900)
    assert pi.guest.run("cat /etc/piapi/piapi.toml") == settings
    assert pi.call("GET", photo["links"]["file"])[0] == 200
