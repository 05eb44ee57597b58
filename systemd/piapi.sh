#!/bin/sh
# The command `piapi` of an installed service, with its settings and its data. Installed as /usr/local/bin/piapi; run it
# by sudo: then it takes on the owner of the data by itself.
root=$(dirname "$(readlink -f "$0")")
root=${root%/usr/local/bin}
export PIAPI_CONFIG="${PIAPI_CONFIG:-$root/etc/piapi/piapi.toml}" PIAPI_HOME="$root/var/lib/piapi"
export RUNTIME_DIRECTORY="${RUNTIME_DIRECTORY:-$root/run/piapi}"
exec "$root/opt/piapi/current/venv/bin/python" -P -m piapi "$@"
