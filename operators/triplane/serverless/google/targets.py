"""The Google targets with clients for an Airflow connection."""

from __future__ import annotations

from functools import partial

from triplane.serverless.google.cloud_functions import CloudFunctions
from triplane.serverless.google.cloud_run import CloudRun
from triplane.serverless.google.logs import CloudLogs


def cloud_run(conn_id: str, region: str, project: str | None = None) -> CloudRun:
    """Cloud Run in ``region``; the project is the connection's by default."""
    from google.cloud import run_v2

    from triplane.clouds import gcp

    named = project or gcp.project_id(conn_id)
    return CloudRun(
        gcp.client(run_v2.ServicesClient, conn_id),
        gcp.client(run_v2.RevisionsClient, conn_id),
        project=named,
        region=region,
        id_token=partial(gcp.id_token, conn_id),
        logs=CloudLogs(gcp.session(conn_id), named),
    )


def cloud_functions(conn_id: str, region: str, project: str | None = None) -> CloudFunctions:
    """Cloud Functions in ``region``; the project is the connection's by default."""
    from google.cloud import run_v2

    from triplane.clouds import gcp

    return CloudFunctions(
        gcp.session(conn_id),
        gcp.client(run_v2.ServicesClient, conn_id),
        gcp.client(run_v2.RevisionsClient, conn_id),
        project=project or gcp.project_id(conn_id),
        region=region,
        id_token=partial(gcp.id_token, conn_id),
    )
