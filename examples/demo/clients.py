"""The clouds' own SDKs, with the credentials that the sandbox gives to whoever uses it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

REGION = "eu-west-1"


def aws(service: str) -> Any:
    """A client of boto3."""
    import boto3

    connection = json.loads(os.environ["AIRFLOW_CONN_AWS_DEFAULT"])
    return boto3.client(
        service,
        region_name=REGION,
        aws_access_key_id=connection["login"],
        aws_secret_access_key=connection["password"],
    )


def google() -> Callable[..., Any]:
    """Gets a URL, or posts to it."""
    from google.auth.transport.requests import AuthorizedSession
    from google.oauth2 import service_account

    extra = json.loads(os.environ["AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"])["extra"]
    scopes = ["https://www.googleapis.com/auth/cloud-platform"]
    info = json.loads(extra["keyfile_dict"])
    session = AuthorizedSession(service_account.Credentials.from_service_account_info(info, scopes=scopes))

    def call(url: str, body: Any = None) -> Any:
        answer = session.get(url) if body is None else session.post(url, json=body)
        answer.raise_for_status()
        return answer.json()

    return call


def azure() -> tuple[Any, str]:
    """Credential and subscription."""
    from azure.identity import ClientSecretCredential

    connection = json.loads(os.environ["AIRFLOW_CONN_AZURE_DEFAULT"])
    extra = connection["extra"]
    credential = ClientSecretCredential(extra["tenantId"], connection["login"], connection["password"])
    return credential, extra["subscriptionId"]
