#!/bin/sh
# What the tests need beside Python: a browser. Installs it where that is possible, else says so.
set -eu
found() { command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1; }
if ! found && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "installing chromium for the browser tests"
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium >/dev/null
fi
if ! found; then
  [ "${CI:-}" != true ] || { echo "chromium is missing and could not be installed" >&2; exit 1; }
  echo "chromium is not installed: the browser tests are left out. Install it (e.g. apt-get install chromium) to run them." >&2
fi
