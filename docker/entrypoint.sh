#!/bin/sh
# Runs a command, in the environment that leads into the sandbox where there is one.
set -eu
if [ -n "${TRIPLANE_SANDBOX_ENV:-}" ]; then
    . "$TRIPLANE_SANDBOX_ENV"
fi
exec "$@"
