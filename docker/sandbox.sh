#!/bin/sh
# Three clouds in this container, with what the example needs there, until it is told to stop or one of their servers ends.
# Containers that share its network find in the file `environment` what leads there; it is ready once there is `ready`.
set -eu
cd "$(dirname "$TRIPLANE_SANDBOX_HOME")"
down() {
    trap '' TERM INT
    rm -f ready environment
    triplane sandbox down
}
trap 'down; exit 0' TERM INT
rm -f ready
triplane sandbox up
(umask 077 && triplane sandbox env > environment)
sandboxed python /opt/sandbox/demo/outside.py
touch ready
while triplane sandbox status > status; do
    sleep 10 &
    wait $! # unlike `sleep` alone, this ends at once when the container is told to stop
done
cat status >&2
down
exit 1
