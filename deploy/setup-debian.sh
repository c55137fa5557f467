#!/bin/sh
# Installs what a build, the tests or the benchmarks need and the machine lacks. Debian and its kin; on other
# systems it says what is missing and lets the build go on.
set -eu

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

install() {
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "missing: $*; please install it with your system's package manager" >&2
        return 0
    fi
    echo "installing: $*" >&2
    as_root apt-get update -qq >/dev/null
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

case "${1:-}" in
build-tools)
    # aws-lc is C.
    command -v cc >/dev/null 2>&1 || install build-essential
    ;;
tests)
    # Without root the tests in network namespaces are skipped.
    [ "$(id -u)" != 0 ] || command -v ip >/dev/null 2>&1 || install iproute2
    if ! command -v nats-server >/dev/null 2>&1; then
        install nats-server
        # Tests start their own; the package's service need not run.
        if [ -d /run/systemd/system ]; then as_root systemctl disable -q --now nats-server || true; fi
    fi
    ;;
browser)
    [ -n "${CHROMIUM:-}" ] || command -v chromium >/dev/null 2>&1 || install chromium fonts-noto-cjk
    ;;
speech)
    command -v espeak-ng >/dev/null 2>&1 || install espeak-ng
    ;;
peers)
    command -v ip >/dev/null 2>&1 || install iproute2
    if ! command -v janus >/dev/null 2>&1; then
        install janus
        # The benchmark starts its own; the package's service need not run.
        if [ -d /run/systemd/system ]; then as_root systemctl disable -q --now janus || true; fi
    fi
    ;;
*)
    echo "usage: $0 build-tools|tests|browser|speech|peers" >&2
    exit 2
    ;;
esac
