"""From an Airflow connection to a kubeconfig with a short-lived token, for each kind of cluster."""

from __future__ import annotations

import base64
import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from triplane.core.errors import InputError, TransientError
from triplane.core.process import private_dir, write_private
from triplane.settings import redactor, register_secret

log = logging.getLogger(__name__)

REFRESH_SECONDS = 300
RETRY_SECONDS = 20
AKS_ENTRA_SCOPE = "6dae42f8-4368-4678-94ff-3960e28e3630/.default"
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class ClusterNotFound(InputError):
    """The cloud has no cluster of that name (yet)."""


@dataclass(frozen=True)
class Access:
    """A kubeconfig, and where its user's token comes from; without ``token`` it is complete."""

    kubeconfig: Mapping[str, Any]
    token: Callable[[], str] | None = None


@contextmanager
def kubeconfig(cloud: str, conn_id: str, cluster: str = "", **options: str | None) -> Iterator[Path]:
    """A kubeconfig (0600) for ``cluster``, removed at the end; its token is renewed while it is in use.

    ``cloud`` is ``aws`` (option ``region``), ``gcp`` (``region`` or zone, ``project``), ``azure``
    (``resource_group``, ``subscription``), or ``kubernetes``: ``conn_id`` is then an Airflow connection of
    that type and ``cluster`` the name of a context, by default the current one.

    :raises ClusterNotFound: there is no such cluster
    """
    if cloud not in CLUSTERS:
        raise InputError(f"no clusters are known on {cloud!r}; use one of {', '.join(CLUSTERS)}")
    access = CLUSTERS[cloud](conn_id, cluster, options)
    with private_dir() as folder:
        config = json.loads(json.dumps(access.kubeconfig))
        stop = threading.Event()
        if access.token:
            token_file = write_private(folder / "token", register_secret(access.token()))
            config["users"][0]["user"] = {"tokenFile": str(token_file)}
            threading.Thread(target=_renew, args=(token_file, access.token, stop), daemon=True).start()
        try:
            yield write_private(folder / "config", yaml.safe_dump(config))
        finally:
            stop.set()


def eks(conn_id: str, cluster: str, options: Mapping[str, str | None]) -> Access:
    """Amazon EKS: the token is a presigned STS request that names the cluster."""
    from airflow.providers.amazon.aws.utils.eks_get_token import fetch_access_token_for_cluster
    from botocore.exceptions import ClientError

    from triplane.clouds import aws

    client = aws.client("eks", conn_id, options.get("region"))
    region = client.meta.region_name
    try:
        found = client.describe_cluster(name=cluster)["cluster"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise TransientError(f"EKS could not describe cluster {cluster}: {error}") from error
        raise ClusterNotFound(f"there is no EKS cluster {cluster} in {region}") from error
    sts = f"https://sts.{region}.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15"

    def token() -> str:
        return str(fetch_access_token_for_cluster(cluster, sts, region, aws.session(conn_id, region)))

    return Access(_config(found["endpoint"], found["certificateAuthority"]["data"]), token)


def gke(conn_id: str, cluster: str, options: Mapping[str, str | None]) -> Access:
    """Google Kubernetes Engine: the token is the connection's own access token."""
    from airflow.providers.google.common.hooks.base_google import GoogleBaseHook
    from google.auth.transport.requests import AuthorizedSession, Request

    hook = GoogleBaseHook(gcp_conn_id=conn_id)
    credentials, default_project = hook.get_credentials_and_project_id()
    project = options.get("project") or default_project
    name = f"projects/{project}/locations/{options.get('region')}/clusters/{cluster}"
    with AuthorizedSession(credentials) as session:
        answer = session.get(f"https://container.googleapis.com/v1/{name}", timeout=60)
    if answer.status_code == 404:
        raise ClusterNotFound(f"there is no GKE cluster {name}")
    if answer.status_code != 200:
        raise TransientError(f"GKE could not describe {name}: {answer.status_code} {answer.text[:300]}")
    found = answer.json()

    def token() -> str:
        credentials.refresh(Request())
        return str(credentials.token)

    return Access(_config(f"https://{found['endpoint']}", found["masterAuth"]["clusterCaCertificate"]), token)


def aks(conn_id: str, cluster: str, options: Mapping[str, str | None]) -> Access:
    """Azure Kubernetes Service: the kubeconfig that Azure hands out; with Entra ID its token is ours."""
    from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
    from azure.mgmt.containerservice import ContainerServiceClient

    from triplane.clouds import azure

    client = azure.client(ContainerServiceClient, conn_id, options.get("subscription"))
    group = options.get("resource_group") or ""
    try:
        answer = client.managed_clusters.list_cluster_user_credentials(group, cluster)
    except ResourceNotFoundError as error:
        raise ClusterNotFound(f"there is no AKS cluster {cluster} in resource group {group}") from error
    except HttpResponseError as error:
        raise TransientError(f"AKS gave no credentials for {cluster}: {error.message}") from error
    config = yaml.safe_load(bytes(answer.kubeconfigs[0].value))
    user = config["users"][0]["user"]
    register_secret(user.get("client-key-data", "") or user.get("token", ""))
    if "exec" not in user:
        return Access(config)
    return Access(config, lambda: str(azure.credential(conn_id).get_token(AKS_ENTRA_SCOPE).token))


def plain(conn_id: str, cluster: str, options: Mapping[str, str | None]) -> Access:
    """Any cluster, through an Airflow connection of type ``kubernetes``."""
    from airflow.sdk import BaseHook

    extra = BaseHook.get_connection(conn_id).extra_dejson
    fields = {key.removeprefix("extra__kubernetes__"): value for key, value in extra.items() if value}
    if fields.get("in_cluster"):
        authority = base64.b64encode((SERVICE_ACCOUNT / "ca.crt").read_bytes()).decode()
        config = _config("https://kubernetes.default.svc", authority)
        return Access(config, (SERVICE_ACCOUNT / "token").read_text)
    given = fields.get("kube_config")
    if given is None:
        path = fields.get("kube_config_path")
        if path is None:
            raise InputError(f"connection {conn_id} has neither kube_config nor kube_config_path")
        given = Path(path).expanduser().read_text()
    config = dict(yaml.safe_load(given) if isinstance(given, str) else given)
    if context := cluster or fields.get("cluster_context"):
        config["current-context"] = context
    return Access(config)


CLUSTERS: dict[str, Callable[[str, str, Mapping[str, str | None]], Access]] = {
    "aws": eks,
    "gcp": gke,
    "azure": aks,
    "kubernetes": plain,
}


def _config(server: str, authority: str) -> dict[str, Any]:
    """A kubeconfig whose user is still to be filled in; ``authority`` is base64 of PEM."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "cluster", "cluster": {"server": server, "certificate-authority-data": authority}}
        ],
        "users": [{"name": "user", "user": {}}],
        "contexts": [{"name": "context", "context": {"cluster": "cluster", "user": "user"}}],
        "current-context": "context",
    }


def _renew(token_file: Path, token: Callable[[], str], stop: threading.Event) -> None:
    """Rewrite the token now and then: clients read ``tokenFile`` again every minute.

    The old one still holds for a while where a new one cannot be had at once.
    """
    wait: float = REFRESH_SECONDS
    while not stop.wait(wait):
        try:
            fresh = write_private(token_file.with_suffix(".new"), register_secret(token()))
            fresh.replace(token_file)
            wait = REFRESH_SECONDS
        except Exception as error:
            wait = RETRY_SECONDS
            said = redactor()(str(error))
            log.warning("the cluster's token could not be renewed; again in %g s: %s", wait, said)
