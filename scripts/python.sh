#!/usr/bin/env bash
# Makes .venv from uv.lock. Needs Python 3.11.4-3.13; brings uv along if there is none.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    echo "triplane: $*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else return 1; fi
}

python=${PYTHON:-}
for candidate in python3.12 python3.13 python3.11 python3; do
    [ -n "$python" ] && break
    if command -v "$candidate" >/dev/null &&
        "$candidate" -c 'import sys; sys.exit(not (3, 11, 4) <= sys.version_info[:3] < (3, 14))' 2>/dev/null; then
        python=$candidate
    fi
done
[ -n "$python" ] || fail "Python 3.11 (3.11.4 or newer), 3.12 or 3.13 is needed: install python3 and python3-venv"

uv=$(command -v uv || true)
if [ -z "$uv" ] || ! "$uv" --version >/dev/null 2>&1; then
    boot=${TRIPLANE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/triplane}/uv
    if [ ! -x "$boot/bin/uv" ]; then
        if ! "$python" -c 'import ensurepip' 2>/dev/null; then
            { as_root apt-get update -qq && as_root apt-get install -y -qq python3-venv; } >/dev/null ||
                fail "$python cannot make virtual environments: install the package python3-venv"
        fi
        "$python" -m venv "$boot"
        "$boot/bin/pip" install -q --disable-pip-version-check uv ||
            fail "cannot install uv from the Python package index: check the network, or put uv on PATH"
    fi
    uv=$boot/bin/uv
fi

export UV_PYTHON_DOWNLOADS=never
"$uv" sync --quiet --frozen --all-extras --python "$python" ||
    fail "cannot install the packages that uv.lock names: check the network and try again"
