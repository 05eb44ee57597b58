#!/usr/bin/env bash
# Removes the service. Settings and data stay unless --purge is given; data outside of /var/lib/piapi stays in any case.
set -euo pipefail

root='' purge='' offline=''
while [ $# -gt 0 ]; do
  case $1 in
    --root)
      [ -d "${2:-}" ] || { echo "uninstall.sh: --root needs a folder" >&2 && exit 1; }
      root=$(readlink -f "$2") offline=yes
      root=${root%/}
      shift
      ;;
    --purge) purge=yes ;;
    *)
      echo "sudo systemd/uninstall.sh [--purge] [--root DIR]     --purge removes settings and data too" >&2
      exit 2
      ;;
  esac
  shift
done

main() {
  local units=$root/etc/systemd/system
  local dropins=$units/piapi.service.d guard_dropins=$units/piapi-guard.service.d
  if [ -z "$offline" ]; then
    [ "$(id -u)" = 0 ] || { echo "uninstall.sh: run it by sudo" >&2 && exit 1; }
    systemctl disable --now piapi.service 2>/dev/null || true
    systemctl stop piapi-guard.service 2>/dev/null || true
  fi
  rm -f "$units/piapi.service" "$dropins/piapi-settings.conf" \
    "$units/piapi-guard.service" "$guard_dropins/piapi-settings.conf" \
    "$root"/etc/avahi/services/piapi.service "$root"/etc/sysusers.d/piapi.conf "$root"/etc/tmpfiles.d/piapi.conf "$root"/usr/local/bin/piapi
  rmdir "$dropins" "$guard_dropins" 2>/dev/null || true
  rm -rf "$root/opt/piapi"
  if [ -n "$purge" ]; then
    rm -rf "$root/etc/piapi" "$root/var/lib/piapi" "$dropins" "$guard_dropins"
  fi
  if [ -z "$offline" ]; then
    systemctl daemon-reload
    systemctl reset-failed piapi.service piapi-guard.service 2>/dev/null || true
    if [ -n "$purge" ] && id piapi >/dev/null 2>&1; then userdel piapi; fi
  fi
  if [ -n "$purge" ]; then
    echo "piapi is removed, with its settings and its data."
  else
    echo "piapi is removed. Settings (/etc/piapi) and data (/var/lib/piapi) are kept; --purge removes them."
  fi
  exit
}

main
