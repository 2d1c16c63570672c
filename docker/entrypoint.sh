#!/bin/sh
# Runs a command. Told to stop, it tells the command alone: a Celery worker ends its tasks then, and would lose them if the
# processes that run them were told as well. With TRIPLANE_STOP_TASKS_AFTER these are told that many seconds later, which
# has a Terraform stop in its own way.
# When the command has ended, also when it was killed, the tools that it left behind are waited for: a container ends with
# its first process, and Terraform has to save its state and free its lock first.
set -u
stop() {
    trap '' TERM INT HUP QUIT
    kill -TERM "$command"
    if [ -n "${TRIPLANE_STOP_TASKS_AFTER:-}" ]; then
        (sleep "$TRIPLANE_STOP_TASKS_AFTER" && kill -TERM 0) &
    fi
}
exec 3<&0 # a command in the background would read nothing
"$@" <&3 3<&- &
command=$!
trap stop TERM INT HUP QUIT
while wait "$command"; status=$?; kill -0 "$command" 2>/dev/null; do :; done # a signal ends `wait`, too
while grep -qsa 'triplane/core/guardian\.py' /proc/[0-9]*/cmdline; do
    sleep 0.2
done
exit $status
