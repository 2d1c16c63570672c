#!/bin/sh
# Runs a command with the sandbox in the place of the clouds, and with the secrets that the example keeps in Airflow.
set -eu
. "$(dirname "$TRIPLANE_SANDBOX_HOME")/environment"
export AIRFLOW_VAR_STREAMING_DATABASE_PASSWORD=sandbox-Passw0rd AIRFLOW_VAR_STREAMING_WEBHOOK_TOKEN=sandbox-t0ken
exec "$@"
