#!/bin/sh
# Installs the system packages that the tests use and that are missing: Chromium for the App,
# cron and systemd-analyze for exported schedules. Needs root and apt (Debian, Ubuntu); elsewhere
# it names what to install.
set -eu

missing=""
command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
command -v cron >/dev/null 2>&1 || missing="$missing cron"
command -v systemd-analyze >/dev/null 2>&1 || missing="$missing systemd"
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" -ne 0 ]; then
    echo "Install these packages first:$missing" >&2
    exit 1
fi
apt-get update -qq
# shellcheck disable=SC2086 - several packages
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
