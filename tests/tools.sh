#!/bin/sh
# What the tests need beside Python: a browser, Node with the packages of examples/node-host, Redis,
# HAProxy.
# Installs what is missing where that is possible, else says so.
set -eu
host=examples/node-host
has() { command -v "$1" >/dev/null 2>&1; }
browser() { has chromium || has chromium-browser || has google-chrome; }
node_and_npm() { has node && has npm; }
install() {
  [ "$(id -u)" = 0 ] && has apt-get || return 0
  echo "installing $*"
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null
}
missing() { # what, what is left out, how to install it
  [ "${CI:-}" != true ] || { echo "$1 and could not be installed" >&2; exit 1; }
  echo "$1: $2 left out. $3 to run them." >&2
}

browser || install chromium || true
browser || missing "chromium is missing" "the browser tests are" "Install it (e.g. apt-get install chromium)"

redis() { has redis-server || has valkey-server; }
redis || install redis-server || true
redis || missing "redis-server is missing" "the tests of the ledger on Redis are" "Install it (e.g. apt-get install redis-server)"

has haproxy || install haproxy || true
has haproxy || missing "haproxy is missing" "the tests of deploy/compose are" "Install it (e.g. apt-get install haproxy)"

node_and_npm || install nodejs npm || true
if node_and_npm; then
  # npm leaves a copy of the lock in what it installed.
  [ "$host/node_modules/.package-lock.json" -nt "$host/package-lock.json" ] ||
    npm ci --loglevel error --prefix "$host" ||
    missing "the packages of $host are missing" "the tests of the second host are" "Run 'npm ci' there"
else
  missing "node or npm is missing" "the tests of the second host are" "Install them (e.g. apt-get install nodejs npm)"
fi
