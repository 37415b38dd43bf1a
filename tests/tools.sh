#!/bin/sh
# What the tests need beside Python and its packages: the programs below, and the packages of
# examples/node-host. All that is missing is installed at once where that is possible, else the
# tests that are left out are named. With CI=true a tool that stays missing is a failure.
set -eu
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" # where servers are, for users who are not root, too
host=examples/node-host

# programs, of which one is enough | the package in Debian | the tests that need it
tools='chromium chromium-browser google-chrome|chromium|the browser tests
redis-server valkey-server|redis-server|the tests of the ledger on Redis
haproxy|haproxy|the tests of deploy/compose
promtool|prometheus|the tests of alerts and dashboard by Prometheus
nginx|nginx|the tests of the proxy in docs/how-to/production.md
systemd-analyze|systemd|the tests of deploy/systemd by systemd
openssl|openssl|the tests of signatures by another program
node|nodejs|the tests of the second host
npm|npm|the tests of the second host'

has_one() {
  for program in $1; do if command -v "$program" >/dev/null; then return 0; fi; done
  return 1
}
missing() { # the lines of those tools
  echo "$tools" | while IFS='|' read -r programs rest; do
    has_one "$programs" || echo "$programs|$rest"
  done
}
install() { DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null; }
say_missing() { # what, the tests, what to do
  if [ "${CI:-}" = true ]; then
    echo "$1 is missing and could not be installed" >&2
  else
    echo "$1 is missing: $2 are left out. $3 to run them." >&2
  fi
}

# shellcheck disable=SC2046 # one word each
set -- $(missing | cut -d'|' -f2)
if [ $# != 0 ] && [ "$(id -u)" = 0 ] && has_one apt-get; then
  echo "installing $*"
  apt-get update -qq || true
  # A name that only Debian knows would spoil the whole call.
  install "$@" || for package; do install "$package" || true; done
fi

left=$(missing)
[ -z "$left" ] || echo "$left" | while IFS='|' read -r programs package tests; do
  say_missing "${programs%% *}" "$tests" "Install it (e.g. apt-get install $package)"
done
# npm leaves a copy of the lock in what it installed.
if has_one node && has_one npm && ! [ "$host/node_modules/.package-lock.json" -nt "$host/package-lock.json" ]; then
  npm ci --loglevel error --prefix "$host" || {
    say_missing "a package of $host" "the tests of the second host" "Run 'npm ci' there"
    left="$left $host"
  }
fi
[ -z "$left" ] || [ "${CI:-}" != true ]
