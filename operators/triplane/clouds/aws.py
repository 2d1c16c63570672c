"""Amazon Web Services, through an Airflow connection of type ``aws``."""

from __future__ import annotations

import base64
import re
from typing import Any

from triplane.clouds import Credentials
from triplane.core.errors import InputError
from triplane.settings import register_secret

_ECR = re.compile(
    r"^(?P<account>\d{12})\.dkr\.ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?(?:/|$)"
)


def session(conn_id: str, region: str | None = None) -> Any:
    """A boto3 session with the connection's credentials, assumed role included."""
    return _hook(conn_id, region).get_session(region_name=region)


def client(service: str, conn_id: str, region: str | None = None, *, patience: float | None = None) -> Any:
    """A boto3 client of ``service`` with the connection's endpoint, retries and proxies.

    With ``patience`` it waits so many seconds for an answer, and asks only once.
    """
    hook = _hook(conn_id, region, client_type=service)
    if patience is None:
        return hook.conn
    from botocore.config import Config

    once = Config(read_timeout=patience, retries={"total_max_attempts": 1})
    return hook.get_client_type(config=hook.config.merge(once))


def terraform_credentials(conn_id: str, region: str | None = None) -> Credentials:
    """``AWS_*`` variables for Terraform's aws provider and s3 backend; those of an assumed role end."""
    found = session(conn_id, region)
    if (held := found.get_credentials()) is None:
        raise InputError(
            f"connection {conn_id} holds no AWS credentials, and this worker has none of its own"
        )
    credentials = held.get_frozen_credentials()
    env = {
        "AWS_ACCESS_KEY_ID": credentials.access_key,
        "AWS_SECRET_ACCESS_KEY": register_secret(credentials.secret_key),
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    if credentials.token:
        env["AWS_SESSION_TOKEN"] = register_secret(credentials.token)
    if region := region or found.region_name:
        env |= {"AWS_REGION": region, "AWS_DEFAULT_REGION": region}
    return Credentials(env, getattr(held, "_expiry_time", None))


def registry_login(conn_id: str, registry: str) -> tuple[str, str]:
    """User name and password for an ECR registry; the password is good for 12 hours.

    :raises InputError: ``registry`` is not the host of an ECR registry
    """
    host = _ECR.match(registry)
    if host is None:
        raise InputError(
            f"{registry} is not an ECR registry (<account>.dkr.ecr.<region>.amazonaws.com); "
            "correct `registry` of cloud aws"
        )
    answer = client("ecr", conn_id, host["region"]).get_authorization_token(registryIds=[host["account"]])
    token = base64.b64decode(answer["authorizationData"][0]["authorizationToken"]).decode()
    user, _, password = token.partition(":")
    return user, register_secret(password)


def _hook(conn_id: str, region: str | None, client_type: str | None = None) -> Any:
    from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook

    return AwsBaseHook(aws_conn_id=conn_id, region_name=region, client_type=client_type)
