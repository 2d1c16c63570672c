#!/bin/sh
# Runs a command. When that has ended, also when it was killed, the tools that it left behind are waited for: a container
# ends with its first process, and Terraform has to save its state and free its lock first.
set -u
trap : TERM INT HUP QUIT # tini tells the command, too
"$@"
status=$?
while grep -qsa 'triplane/core/guardian\.py' /proc/[0-9]*/cmdline; do
    sleep 0.2
done
exit $status
