#!/usr/bin/env bash
# Holds the units to what is promised of it: systemd-analyze has nothing to complain of, and the exposure is 2.0 at most.
set -euo pipefail
cd "$(dirname "$0")"

if ! command -v systemd-analyze >/dev/null; then
  echo "systemd-analyze is not installed (apt install systemd)"
  [ "${PIAPI_TEST_REQUIRE:-}" != all ] || exit 1
  exit 0
fi

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
# `verify` wants the program to be there, and nothing is installed here.
for unit in piapi piapi-guard; do
  sed 's|^ExecStart=[^ ]*|ExecStart=/bin/true|' "$unit.service" >"$copy/$unit.service"
done
said=$(systemd-analyze verify --recursive-errors=no "$copy"/*.service 2>&1) || true
if [ -n "$said" ]; then
  printf '%s\n' "$said"
  exit 1
fi
for unit in piapi piapi-guard; do
  systemd-analyze security --offline=true --threshold=20 "$copy/$unit.service" >"$copy/said" 2>&1 || {
    cat "$copy/said"
    exit 1
  }
  tail -n 1 "$copy/said"
done
