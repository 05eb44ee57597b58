"""install.sh as README tells an owner to, and what systemd then makes of the units."""

from __future__ import annotations

import re

import pytest

from tests.lab.conftest import INSTALL, Pi, eventually


@pytest.mark.smoke
def test_the_service_runs_as_its_own_user_and_is_ready_when_it_answers(pi: Pi) -> None:
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
    # `systemctl start` comes back when it is ready: what is asked then is answered.
    asked = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8000/api/v1/health/ready').status)"
    assert pi.guest.run(f'systemctl restart piapi && python3 -c "{asked}"').strip() == "200"


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
    made = pi.ask("POST", "cameras/webcam/timelapses", {"interval_s": 5, "count": 200, "width": 320}, expected=202)
    eventually(lambda: pi.get(made["links"]["self"])["frames_captured"] > 0, "a frame")
    settings = pi.guest.run("cat /etc/piapi/piapi.toml")
    before = pi.guest.run("readlink /opt/piapi/current")
    pi.guest.run(INSTALL, timeout_s=900)
    assert pi.guest.run("readlink /opt/piapi/current") != before
    assert pi.guest.run("cat /etc/piapi/piapi.toml") == settings
    captured = pi.get(made["links"]["self"])["frames_captured"]
    eventually(lambda: pi.get(made["links"]["self"])["frames_captured"] > captured, "it goes on")
    pi.ask("DELETE", made["links"]["self"], expected=204)
