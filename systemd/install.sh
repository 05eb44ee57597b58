#!/usr/bin/env bash
# Installs piapi as a systemd service, from a clone of it. Run it again from a newer clone to upgrade: settings and data
# stay, and the version that runs stays until the new one is whole. pip heeds its own variables (PIP_NO_INDEX, …).
set -euo pipefail
umask 022 # what root installs, the service reads

usage() {
  cat <<'END'
sudo systemd/install.sh [--no-start] [--settings] [--root DIR]

  --no-start   enable the service, and do not start it
  --settings   only follow /etc/piapi/piapi.toml: where the data is, the port, the chip; then start anew
  --root DIR   install into a folder, for an image of another machine: no user is made and nothing is started

PIAPI_PYTHON names another Python than /usr/bin/python3. It has to be 3.11 or later.
END
}

say() { printf '%s\n' "$*"; }
die() {
  printf 'install.sh: %s\n' "$*" >&2
  exit 1
}

root='' offline='' start=yes settings_only=''
while [ $# -gt 0 ]; do
  case $1 in
    --root)
      [ -n "${2:-}" ] || die "--root needs a folder"
      mkdir -p "$2"
      root=$(readlink -f "$2") offline=yes
      root=${root%/}
      shift
      ;;
    --no-start) start='' ;;
    --settings) settings_only=yes ;;
    -h | --help)
      usage
      exit
      ;;
    *)
      usage >&2
      exit 2
      ;;
  esac
  shift
done

here=$(dirname "$(dirname "$(readlink -f "$0")")") # the clone, or a version that is installed
opt=$root/opt/piapi
conf=$root/etc/piapi/piapi.toml
units=$root/etc/systemd/system
dropin=$units/piapi.service.d/piapi-settings.conf
guard_dropin=$units/piapi-guard.service.d/piapi-settings.conf
export PIAPI_CONFIG=$conf PIAPI_HOME=/var/lib/piapi
unset PIAPI_HOST PIAPI_PORT PIAPI_DATA PIAPI_GUARD

# Before anything is changed -------------------------------------------------------------------------------------------

is_pi() { grep -qs 'Raspberry Pi' /proc/device-tree/model; }

# The camera's and the pins' libraries, which pip does not have for a Pi.
install_packages() {
  local package missing=()
  if [ -n "$offline" ] || ! is_pi || ! command -v apt-get >/dev/null; then return; fi
  for package in python3-venv python3-picamera2 python3-lgpio python3-gpiozero; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  if [ ${#missing[@]} -gt 0 ]; then
    say "Installing ${missing[*]} …"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
  fi
}

find_python() {
  python=${PIAPI_PYTHON:-/usr/bin/python3}
  command -v "$python" >/dev/null || die "there is no $python: apt install python3 python3-venv"
  "$python" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    die "piapi needs Python 3.11 or later, and $python is $("$python" -I -c 'import platform; print(platform.python_version())'): Raspberry Pi OS Bookworm has it; PIAPI_PYTHON names another"
  "$python" -I -c 'import ensurepip, venv' 2>/dev/null || die "$python cannot make virtual environments: apt install python3-venv"
}

# A version, beside the one that runs ----------------------------------------------------------------------------------

in_version() { # in_version FOLDER ARGUMENTS…: the Python of that version
  local folder=$1
  shift
  "$folder/venv/bin/python" -P "$@"
}

build_version() {
  local version site
  version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$here/piapi/__init__.py")
  mkdir -p "$opt/versions"
  new=$(mktemp -d "$opt/versions/$version.XXXXXX")
  chmod 755 "$new"
  say "Building $new …"
  cp -R "$here"/{piapi,systemd,config.py,run.py,gunicorn.conf.py,LICENSE} "$new"
  find "$new" -name __pycache__ -prune -exec rm -rf {} +
  "$python" -I -m venv --system-site-packages "$new/venv"
  site=$(in_version "$new" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  echo ../../../.. >"$site/piapi.pth" # relative, so that an image may be mounted anywhere
  in_version "$new" -c 'import sys, tomllib
print(*tomllib.load(open(sys.argv[1], "rb"))["project"]["dependencies"], sep="\n")' "$here/pyproject.toml" >"$new/requirements.txt"
  in_version "$new" -m pip install --quiet --disable-pip-version-check --no-input -r "$new/requirements.txt"
  in_version "$new" -m compileall -q "$new/piapi" "$new"/*.py
  in_version "$new" -c 'import gunicorn, piapi.app, piapi.cli'
}

discard_new() {
  if [ -n "${new:-}" ]; then
    rm -rf "$new"
    printf 'install.sh: that failed; what was installed before is as it was\n' >&2
  fi
}

make_settings() {
  mkdir -p "$root/etc/piapi" "$root/var/lib/piapi"
  if [ ! -e "$conf" ]; then
    in_version "$new" -m piapi init --output "$conf" ${offline:+--examples-only}
  fi
  if [ -z "$offline" ]; then systemd-tmpfiles --create "$new/systemd/piapi.tmpfiles"; fi
  in_version "$new" -m piapi check-config
}

# What belongs to the system -------------------------------------------------------------------------------------------

install_files() { # install_files FOLDER: units, user and command of that version
  install -D -m 644 "$1/systemd/piapi-guard.service" "$units/piapi-guard.service"
  install -D -m 644 "$1/systemd/piapi.service" "$units/piapi.service"
  install -D -m 644 "$1/systemd/piapi.sysusers" "$root/etc/sysusers.d/piapi.conf"
  install -D -m 644 "$1/systemd/piapi.tmpfiles" "$root/etc/tmpfiles.d/piapi.conf"
  install -D -m 755 "$1/systemd/piapi.sh" "$root/usr/local/bin/piapi"
}

switch_to() { # switch_to FOLDER: in one step
  ln -sfn "versions/$(basename "$1")" "$opt/current.new"
  mv -T "$opt/current.new" "$opt/current"
}

read_settings() { # read_settings FOLDER: sets host, port, chip and data
  local values
  values=$(in_version "$1" -c 'import config
settings = config.load()
chip = settings.gpio.chip
print(settings.server.host, settings.server.port, "auto" if chip is None else chip, settings.storage.path, sep="\n")') || die "correct $conf"
  { read -r host && read -r port && read -r chip && read -r data; } <<<"$values"
}

systemd_version() { systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p'; }

# The part of the unit that the settings, and this machine, decide.
write_dropin() {
  local quoted=${data//\\/\\\\} unit='' service=''
  quoted=${quoted//\"/\\\"} quoted=${quoted//%/%%}
  case $data/ in
    /var/lib/piapi/*) ;;
    *)
      unit+="RequiresMountsFor=\"$quoted\""$'\n'
      service+="ReadWritePaths=\"-$quoted\""$'\n'
      ;;
  esac
  case $data/ in
    /home/* | /root/* | /run/user/*) service+=$'ProtectHome=read-only\n' ;;
  esac
  if [ "$port" -gt 0 ] && [ "$port" -lt 1024 ]; then
    service+=$'CapabilityBoundingSet=CAP_NET_BIND_SERVICE\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n'
  fi
  if [ -z "$offline" ]; then
    # Without timesyncd, whose file tells it, only adjtimex(2) knows whether the clock is synchronised.
    if ! systemctl is-enabled --quiet systemd-timesyncd 2>/dev/null; then
      service+=$'ProtectClock=no\nSystemCallFilter=adjtimex clock_adjtime clock_adjtime64\n'
    fi
    # Short, as systemd never forgets how often it has restarted: after some crashes in a year it waits so long each time.
    if [ "$(systemd_version)" -ge 254 ]; then service+=$'RestartSteps=6\nRestartMaxDelaySec=20s\n'; fi
  fi
  rm -f "$dropin"
  if [ -n "$unit$service" ]; then
    mkdir -p "$(dirname "$dropin")"
    printf '# Made by install.sh from piapi.toml. Changes of your own: systemctl edit piapi\n[Unit]\n%s[Service]\n%s' \
      "$unit" "$service" >"$dropin"
  fi
}

# The guard reads no settings: it has to be small.
write_guard_dropin() {
  rm -f "$guard_dropin"
  if [ "$chip" != auto ]; then
    mkdir -p "$(dirname "$guard_dropin")"
    printf '# Made by install.sh from piapi.toml.\n[Service]\nEnvironment=CHIP=%s\n' "$chip" >"$guard_dropin"
  fi
}

# So that others find it by name (Avahi), where others can reach it.
write_announcement() {
  local file=$root/etc/avahi/services/piapi.service
  rm -f "$file"
  case $host in
    127.* | ::1 | localhost) return ;;
  esac
  if [ "$port" -gt 0 ] && { [ -n "$offline" ] || [ -d /etc/avahi/services ]; }; then
    mkdir -p "$(dirname "$file")"
    sed "s|<port>[0-9]*</port>|<port>$port</port>|" "$1/systemd/avahi.service" >"$file"
    chmod 644 "$file"
  fi
}

follow_settings() { # follow_settings FOLDER
  read_settings "$1"
  write_dropin
  write_guard_dropin
  write_announcement "$1"
  if [ -z "$offline" ]; then
    systemctl daemon-reload
    if ! runuser -u piapi -- test -w "$data"; then
      say "The user piapi cannot write to $data:  sudo install -d -o piapi -g piapi '$data'"
    fi
  fi
}

# Starting -------------------------------------------------------------------------------------------------------------

# piapi switches off what may not stay on, and only then its guard goes; piapi starts the new one, before itself.
restart_both() {
  systemctl stop piapi.service
  systemctl stop piapi-guard.service
  systemctl start piapi.service
}

start_or_go_back() {
  say "Starting; it is ready when it answers …"
  if restart_both; then return; fi
  if [ -n "$previous" ] && [ -d "$opt/$previous" ]; then
    say "It does not start. Going back to $previous …" >&2
    switch_to "$opt/$previous"
    install_files "$opt/$previous"
    systemctl daemon-reload
    restart_both || say "Nor does that one (a database that was moved forward stays so)." >&2
  fi
  die "the new version does not start: journalctl -u piapi"
}

remove_old_versions() { # all but the two latest
  local folder
  for folder in "$opt"/versions/*; do
    case versions/$(basename "$folder") in
      "$(readlink "$opt/current")" | "$previous") ;;
      *) rm -rf "$folder" ;;
    esac
  done
}

say_where() {
  local name=$host
  case $host in
    0.0.0.0 | ::) name=$(uname -n).local ;;
    *:*) name="[$host]" ;;
  esac
  say "piapi is installed:  http://$name:$port/"
  case $host in
    127.* | ::1 | localhost)
      say "It answers this machine alone. For the whole network set host = \"0.0.0.0\" in /etc/piapi/piapi.toml, then"
      say "  sudo /opt/piapi/current/systemd/install.sh --settings"
      ;;
  esac
  say "The first token:  sudo piapi tokens create --name me --role admin"
  say "What it says:     journalctl -u piapi"
}

main() {
  previous=$(readlink "$opt/current" || true)
  if [ -z "$offline" ]; then
    [ "$(id -u)" = 0 ] || die "run it by sudo (or into a folder, with --root)"
    [ -d /run/systemd/system ] || die "systemd does not run here; --root installs into a folder"
  fi
  if [ -n "$settings_only" ]; then
    [ -n "$previous" ] || die "nothing is installed"
    follow_settings "$opt/current"
    if [ -z "$offline" ] && systemctl is-active --quiet piapi.service; then restart_both; fi
    return
  fi
  [ -f "$here/pyproject.toml" ] || die "run it from a clone of piapi"
  mkdir -p "$opt"
  exec 9>"$opt/.lock"
  flock -n 9 || die "another install.sh is at work"
  install_packages
  find_python
  trap discard_new EXIT
  build_version
  if [ -z "$offline" ]; then systemd-sysusers "$new/systemd/piapi.sysusers"; fi
  make_settings
  switch_to "$new"
  trap - EXIT
  install_files "$new"
  follow_settings "$new"
  if [ -z "$offline" ]; then
    systemctl enable --quiet piapi.service
    if [ -n "$start" ]; then start_or_go_back; fi
  fi
  remove_old_versions
  say_where
}

main
