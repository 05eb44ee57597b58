"""The installer as it is, into a folder of its own: settings and data outlive upgrades, failures and its end.

Nothing is fetched: pip finds the packages of this environment through PYTHONPATH.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest

from tests.requirements import require
from tests.service import ROOT, Service
from tests.test_readme import IGNORED
from tests.test_supervision import listening

PACKAGES = os.pathsep.join(site.getsitepackages() + [path for path in sys.path if path.endswith("site-packages")])
OFFLINE = {"PYTHONPATH": PACKAGES, "PIP_NO_INDEX": "1", "PIAPI_PYTHON": sys.executable}

pytestmark = pytest.mark.slow


class Machine:
    """A root folder, and a clone of piapi to install from."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.clone = folder / "clone"
        shutil.copytree(ROOT, self.clone, ignore=IGNORED)
        self.settings = self.root / "etc/piapi/piapi.toml"
        self.data = self.root / "var/lib/piapi"
        self.command = self.root / "usr/local/bin/piapi"
        self.dropin = self.root / "etc/systemd/system/piapi.service.d/piapi-settings.conf"
        self.guard_dropin = self.root / "etc/systemd/system/piapi-guard.service.d/piapi-settings.conf"
        self.announcement = self.root / "etc/avahi/services/piapi.service"

    def run(self, *command: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIAPI_", "PIP_"))}
        return subprocess.run(
            command, env={**kept, **OFFLINE, **environ}, capture_output=True, text=True, check=False, timeout=300
        )

    def script(self, name: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return self.run(self.clone / "systemd" / name, "--root", str(self.root), *arguments, **environ)

    def install(self, *arguments: str) -> None:
        done = self.script("install.sh", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr

    def become(self, version: str) -> None:
        """The clone is now of another version."""
        file = self.clone / "piapi/__init__.py"
        file.write_text(re.sub(r'__version__ = ".*"', f'__version__ = "{version}"', file.read_text()))

    def piapi(self, *arguments: str) -> str:
        """The installed command: what it says."""
        done = self.run(self.command, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def versions(self) -> list[str]:
        return sorted(entry.name.rsplit(".", 1)[0] for entry in (self.root / "opt/piapi/versions").iterdir())

    def set(self, line: str) -> None:
        """Take the mark from a setting and give it another value, as an owner does with an editor."""
        name = line.split(" = ")[0]
        text, count = re.subn(rf"^(# )?{name} = \S+", line, self.settings.read_text(), count=1, flags=re.MULTILINE)
        assert count == 1
        self.settings.write_text(text)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    require("flock")
    return Machine(tmp_path)


def test_it_installs_upgrades_fails_without_harm_and_leaves(machine: Machine) -> None:
    machine.become("1.0")
    machine.install()
    assert "version 1.0" in machine.piapi("--version")
    assert "sound" in machine.piapi("check-config")
    made = machine.settings.read_text()
    assert '# path = "/var/lib/piapi"' in made and "# [cameras.front]" in made and "\n[cameras" not in made
    assert machine.settings.stat().st_mode & 0o007 == 0
    token = machine.piapi("tokens", "create", "--name", "me", "--role", "admin")
    assert token.startswith("piapi_") and (machine.data / "piapi.db").exists()
    picture = machine.data / "front" / "1.jpg"
    picture.parent.mkdir()
    picture.write_bytes(b"picture")
    machine.set("port = 8123")
    mine = machine.settings.read_text()

    def is_kept() -> bool:
        return machine.settings.read_text() == mine and picture.read_bytes() == b"picture"

    machine.become("2.0")
    machine.install()
    assert "version 2.0" in machine.piapi("--version") and machine.versions() == ["1.0", "2.0"] and is_kept()
    assert " me " in machine.piapi("tokens", "list")
    machine.become("3.0")
    machine.install()
    assert machine.versions() == ["2.0", "3.0"] and is_kept()

    machine.become("4.0")
    failed = machine.script("install.sh", PYTHONPATH="")  # pip finds nothing
    assert failed.returncode != 0 and "as it was" in failed.stderr
    assert "version 3.0" in machine.piapi("--version") and machine.versions() == ["2.0", "3.0"] and is_kept()

    machine.set('port = "soon"')
    failed = machine.script("install.sh")
    assert failed.returncode != 0 and "server.port" in failed.stderr
    assert "version 3.0" in machine.piapi("--version") and machine.versions() == ["2.0", "3.0"]
    machine.settings.write_text(mine)

    assert machine.script("uninstall.sh").returncode == 0 and is_kept()
    left = sorted(str(path.relative_to(machine.root)) for path in machine.root.rglob("*") if not path.is_dir())
    assert left == [
        "etc/piapi/piapi.toml",
        "var/lib/piapi/front/1.jpg",
        *(str(path.relative_to(machine.root)) for path in sorted(machine.data.glob("piapi.db*"))),
    ]
    assert machine.script("uninstall.sh").returncode == 0, "twice is no error"
    assert machine.script("uninstall.sh", "--purge").returncode == 0
    assert not machine.settings.parent.exists() and not machine.data.exists()


def test_what_is_installed_serves_as_the_unit_starts_it(machine: Machine) -> None:
    machine.install()
    with machine.settings.open("a") as file:
        file.write('\n[cameras.front]\nbackend = "simulated"\n')
    unit = (machine.root / "etc/systemd/system/piapi.service").read_text()
    command = re.search(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    assert command
    arguments = shlex.split(command[1].replace("/opt/", f"{machine.root}/opt/"))
    address = f"@piapi-install-{os.getpid()}"
    with listening(address) as ears:
        process = subprocess.Popen(
            arguments,
            cwd=machine.data,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": PACKAGES,
                "PIAPI_CONFIG": str(machine.settings),
                "PIAPI_HOME": str(machine.data),
                "PIAPI_PORT": "0",
                "NOTIFY_SOCKET": address,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        service = Service(machine.root, process)
        try:
            service.wait_for_address()
            ears.hear_until("READY=1")
            assert b"sudo piapi tokens create" in service.said
            token = machine.piapi("tokens", "create", "--name", "me", "--role", "admin").strip()
            assert service.call("GET", "/api/v1/cameras/front", token)[0] == 200
            assert (machine.data / "piapi.db").exists()
        finally:
            assert service.stop() == 0, service.said.decode()


def test_the_guard_that_is_installed_starts_as_its_unit_says(machine: Machine, tmp_path: Path) -> None:
    machine.install()
    units = machine.root / "etc/systemd/system"
    command = re.search(r"^ExecStart=(.*)$", (units / "piapi-guard.service").read_text(), re.MULTILINE)
    assert command and "PIAPI_GUARD=/run/piapi-guard/guard.sock" in (units / "piapi.service").read_text()
    here = command[1].replace("/opt/", f"{machine.root}/opt/").replace("/run/piapi-guard", str(tmp_path))
    assert "--chip ${CHIP} " in here
    arguments = shlex.split(here.replace("--chip ${CHIP}", f"--simulated {tmp_path}/lines"))
    address = f"@piapi-guard-{os.getpid()}"
    with listening(address) as ears:
        guard = subprocess.Popen(arguments, cwd="/", env={"NOTIFY_SOCKET": address}, stderr=subprocess.PIPE)
        try:
            ears.hear_until("READY=1")
            assert (tmp_path / "guard.sock").is_socket()
        finally:
            guard.terminate()
            assert guard.communicate(timeout=60)[1] == b"" and guard.returncode == 0


def test_the_unit_follows_the_settings(machine: Machine) -> None:
    machine.install()
    assert not machine.dropin.exists() and not machine.announcement.exists()
    machine.set('path = "/mnt/a_100%_\\"disk\\"/piapi"')
    machine.set('host = "0.0.0.0"')
    machine.set("port = 80")
    machine.install("--settings")
    said = machine.dropin.read_text()
    assert 'RequiresMountsFor="/mnt/a_100%%_\\"disk\\"/piapi"' in said
    assert 'ReadWritePaths="-/mnt/a_100%%_\\"disk\\"/piapi"' in said
    assert "AmbientCapabilities=CAP_NET_BIND_SERVICE" in said and "ProtectHome" not in said
    assert "<port>80</port>" in machine.announcement.read_text()
    unit = machine.dropin.parent.parent / "piapi.service"
    unit.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE))
    verified = machine.run(require("systemd-analyze"), "verify", "--recursive-errors=no", unit)
    assert verified.returncode == 0 and verified.stdout + verified.stderr == ""

    assert not machine.guard_dropin.exists()
    machine.set("chip = 4")
    machine.set('path = "/home/pi/pictures"')
    machine.install("--settings")
    assert "ProtectHome=read-only" in machine.dropin.read_text()
    assert machine.guard_dropin.read_text().endswith("[Service]\nEnvironment=CHIP=4\n")
    machine.settings.write_text(machine.settings.read_text().replace("\nchip = 4", "\n# chip = 4"))
    machine.set('path = "more"')
    machine.set("port = 8000")
    machine.set('host = "127.0.0.1"')
    machine.install("--settings")
    assert not machine.dropin.exists() and not machine.announcement.exists() and not machine.guard_dropin.exists()


def test_a_python_that_is_too_old_is_said_before_anything_is_changed(machine: Machine, tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\ncase "$3" in *platform*) echo 3.9.2;; esac\nexit 1\n')
    old.chmod(0o755)
    done = machine.script("install.sh", PIAPI_PYTHON=str(old))
    assert done.returncode == 1 and "needs Python 3.11 or later" in done.stderr and "is 3.9.2" in done.stderr
    assert not (machine.root / "opt/piapi/versions").exists()


@pytest.mark.parametrize("arguments", [("--frobnicate",), ("--root",), ("--settings",)], ids=str)
def test_a_wrong_call_changes_nothing(machine: Machine, arguments: tuple[str, ...]) -> None:
    for name in ("install.sh", "uninstall.sh"):
        assert machine.script(name, *arguments).returncode != 0
    assert [path for path in machine.root.rglob("*") if not path.is_dir()] == []


# As root, on a machine of one's own -----------------------------------------------------------------------------------

SYSTEMCTL = """#!/bin/sh
echo "$*" >>"$0.log"
case $1 in
  --version) echo 'systemd 257 (257.9)' ;;
  is-enabled) exit 1 ;;
  start) ! rm "$0.broken" 2>/dev/null ;;
esac
"""

MOUNTS = """
mount -t tmpfs tmpfs "$1"
for folder in etc var/lib usr/local opt; do
  mkdir -p "$1/$folder/up" "$1/$folder/work"
  mount -t overlay overlay -o "lowerdir=/$folder,upperdir=$1/$folder/up,workdir=$1/$folder/work" "/$folder"
done
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system
"""

SCENARIO = """
fails() { if "$@"; then exit 1; fi; }
version() { sed -i "s/^__version__ = .*/__version__ = \\"$1\\"/" piapi/__init__.py; }
version 1.0; systemd/install.sh
[ "$(stat -c '%U:%G %a' /etc/piapi/piapi.toml)" = 'root:piapi 640' ]
runuser -u piapi -- test -r /etc/piapi/piapi.toml
runuser -u piapi -- test -r /opt/piapi/current/gunicorn.conf.py
grep -x RestartSteps=6 /etc/systemd/system/piapi.service.d/piapi-settings.conf
grep -x RestartMaxDelaySec=20s /etc/systemd/system/piapi.service.d/piapi-settings.conf
grep -x ProtectClock=no /etc/systemd/system/piapi.service.d/piapi-settings.conf
/usr/local/bin/piapi tokens create --name me --role admin
[ "$(stat -c %U /var/lib/piapi/piapi.db)" = piapi ]
version 2.0; touch "$SYSTEMCTL.broken"; fails systemd/install.sh
/usr/local/bin/piapi --version | grep 'version 1.0'
version 3.0; systemd/install.sh --no-start
/usr/local/bin/piapi --version | grep 'version 3.0'
/opt/piapi/current/systemd/uninstall.sh --purge
fails id piapi
[ ! -e /etc/piapi ] && [ ! -e /var/lib/piapi ] && [ ! -e /opt/piapi ]
"""


def test_as_root_it_makes_the_user_and_goes_back_when_the_new_version_does_not_start(
    machine: Machine, tmp_path: Path
) -> None:
    layers, programs = tmp_path / "layers", tmp_path / "programs"
    layers.mkdir()
    programs.mkdir()
    if machine.run("unshare", "--mount", "bash", "-ec", MOUNTS, "bash", layers).returncode:
        pytest.skip("no mounts of one's own here")
    require("systemd-sysusers")
    systemctl = programs / "systemctl"
    systemctl.write_text(SYSTEMCTL)
    systemctl.chmod(0o755)
    done = machine.run(
        *("unshare", "--mount", "bash", "-exc", f'{MOUNTS} cd "$2"; {SCENARIO}', "bash", layers, machine.clone),
        PATH=f"{programs}:{os.environ['PATH']}",
        SYSTEMCTL=str(systemctl),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Going back to versions/1.0." in done.stderr
    calls = (programs / "systemctl.log").read_text().splitlines()
    begun = [number for number, call in enumerate(calls) if call == "start piapi.service"]
    assert len(begun) == 3, "a start, one that fails, and the way back"
    for number in begun:
        assert calls[number - 2 : number] == ["stop piapi.service", "stop piapi-guard.service"]
    assert calls.index("daemon-reload") < begun[0]
    leaving = calls.index("disable --now piapi.service")
    assert calls[leaving + 1] == "stop piapi-guard.service"
