"""Secrets in the clouds' own stores, through unmodified SDKs: versions, parts, what is missing, disabled or forbidden."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from airflow.sdk.exceptions import AirflowFailException

from tests.e2e.monitoring_lab import direct
from tests.ordered import MINE, OWNER
from tests.unit.gates.asked import context
from triplane import settings
from triplane.clouds import aws, azure, gcp
from triplane.core import deployed
from triplane.core.change import ChangeSet
from triplane.core.errors import InputError, TransientError
from triplane.core.references import resolve
from triplane.sandbox.runtime import Sandbox
from triplane.secrets.drift_operators import SecretDriftBatchOperator
from triplane.secrets.references import lookup_in
from triplane.secrets.stored import Stored
from triplane.secrets.stores import read, version
from triplane.secrets.versions import current
from triplane.serverless.operators import ServerlessPlanOperator
from triplane.terraform.operators import TerraformPlanOperator

pytestmark = pytest.mark.usefixtures("cloud_env")
PROJECT, REGION, VAULT = "triplane-sandbox", "eu-west-1", "streaming-vault"


class Store(NamedTuple):
    """One store: how a value is put into it under a name, giving its version, and what the secret is called then."""

    put: Callable[[str, str], str]
    stored: Callable[[str], Stored]


def put_secretsmanager(name: str, value: str) -> str:
    client = aws.client("secretsmanager", "aws_default", REGION)
    try:
        return str(client.create_secret(Name=name, SecretString=value)["VersionId"])
    except client.exceptions.ResourceExistsException:
        return str(client.put_secret_value(SecretId=name, SecretString=value)["VersionId"])


def put_ssm(name: str, value: str) -> str:
    client = aws.client("ssm", "aws_default", REGION)
    answer = client.put_parameter(Name=f"/{name}", Value=value, Type="SecureString", Overwrite=True)
    return str(answer["Version"])


def put_secretmanager(name: str, value: str) -> str:
    from google.api_core.exceptions import Conflict
    from google.cloud.secretmanager_v1 import SecretManagerServiceClient

    client, parent = gcp.client(SecretManagerServiceClient, "google_cloud_default"), f"projects/{PROJECT}"
    try:
        client.create_secret(parent=parent, secret_id=name, secret={"replication": {"automatic": {}}})
    except Conflict:
        pass
    made = client.add_secret_version(parent=f"{parent}/secrets/{name}", payload={"data": value.encode()})
    return str(made.name.rpartition("/")[2])


def put_keyvault(name: str, value: str) -> str:
    from azure.keyvault.secrets import SecretClient

    client = SecretClient(f"https://{VAULT}.vault.azure.net", azure.credential("azure_default"))
    return str(client.set_secret(name, value).properties.version)


STORES = {
    "secretsmanager": Store(
        put_secretsmanager, lambda name: Stored("secretsmanager", "aws_default", REGION, name)
    ),
    "ssm": Store(put_ssm, lambda name: Stored("ssm", "aws_default", REGION, f"/{name}")),
    "secretmanager": Store(
        put_secretmanager, lambda name: Stored("secretmanager", "google_cloud_default", PROJECT, name)
    ),
    "keyvault": Store(put_keyvault, lambda name: Stored("keyvault", "azure_default", VAULT, name)),
}


@pytest.fixture
def name() -> str:
    return f"shop-{uuid.uuid4().hex[:10]}"


@pytest.mark.parametrize("kind", STORES)
def test_the_latest_version_and_a_pinned_one(kind: str, name: str) -> None:
    store = STORES[kind]
    first = store.put(name, "correct-horse-1")
    assert read(store.stored(name)) == ("correct-horse-1", first)
    assert version(store.stored(name)) == first
    second = store.put(name, "correct-horse-2")
    assert second != first
    assert read(store.stored(name)) == ("correct-horse-2", second)
    assert version(store.stored(name)) == second
    assert read(store.stored(name)._replace(version=first)) == ("correct-horse-1", first)
    assert version(store.stored(name)._replace(version=first)) == first


@pytest.mark.parametrize("kind", STORES)
def test_a_reference_is_resolved_and_masked(kind: str, name: str) -> None:
    store = STORES[kind]
    store.put(name, json.dumps({"user": "app", "password": "battery-staple-9"}))
    reference = store.stored(name)._replace(part="password")
    assert resolve({"url": f"db://${{{reference}}}@host"}, lookup_in("staging/aws")) == {
        "url": "db://battery-staple-9@host"
    }
    assert settings.redactor()("the password is battery-staple-9") == "the password is ***"
    with pytest.raises(InputError, match="is no JSON object with a 'token'"):
        resolve(f"${{{reference._replace(part='token')}}}", lookup_in("staging/aws"))


@pytest.mark.parametrize("kind", STORES)
def test_what_is_missing_is_named(kind: str, name: str) -> None:
    stored = STORES[kind].stored(name)
    for look in (read, version):
        with pytest.raises(InputError, match=f"there is no /?{name} in .*: create it, or correct `secrets`"):
            look(stored)
    STORES[kind].put(name, "x" * 12)
    gone = {"secretsmanager": str(uuid.uuid4()), "keyvault": uuid.uuid4().hex}.get(kind, "99")
    for look in (read, version):
        with pytest.raises(InputError):
            look(stored._replace(version=gone))


def test_a_disabled_version_is_no_secret(name: str) -> None:
    from azure.keyvault.secrets import SecretClient
    from google.cloud.secretmanager_v1 import SecretManagerServiceClient

    number = put_secretmanager(name, "disabled-value")
    client = gcp.client(SecretManagerServiceClient, "google_cloud_default")
    client.disable_secret_version(name=f"projects/{PROJECT}/secrets/{name}/versions/{number}")
    for look in (read, version):
        with pytest.raises(InputError, match=r"(?i)disabled"):
            look(STORES["secretmanager"].stored(name))
    put_keyvault(name, "disabled-value")
    vault = SecretClient(f"https://{VAULT}.vault.azure.net", azure.credential("azure_default"))
    vault.update_secret_properties(name, vault.get_secret(name).properties.version, enabled=False)
    for look in (read, version):
        with pytest.raises(InputError):
            look(STORES["keyvault"].stored(name))


FAULTS = {
    "secretsmanager": ("aws", {"action": "GetSecretValue"}),
    "ssm": ("aws", {"action": "GetParameter"}),
    "secretmanager": ("gcp-rest", {"path": "versions/latest:access$"}),
    "keyvault": ("azure-arm", {"path": "secrets/"}),
}


@pytest.fixture
def failing(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Lets a store fail: how often, with which status, and with which code where it is one of AWS's."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")

    def fail(kind: str, times: int, status: int, code: str) -> None:
        port, where = FAULTS[kind]
        how = {"code": code} if port == "aws" else {"status": status}
        direct(sandbox, port, MINE, {"owner": OWNER, **where, **how, "message": "not now", "times": times})

    yield fail
    for port in {port for port, _ in FAULTS.values()}:
        direct(sandbox, port, MINE, None, "DELETE")


@pytest.mark.parametrize("kind", STORES)
def test_a_busy_store_is_worth_a_retry(kind: str, name: str, failing: Callable[..., None]) -> None:
    """Azure's client tries again itself, and so long that one failure must do."""
    STORES[kind].put(name, "soon-again-77")
    failing(kind, 1 if kind == "keyvault" else 9, 429, "ThrottlingException")
    if kind == "keyvault":
        assert read(STORES[kind].stored(name)).value == "soon-again-77"
        return
    with pytest.raises(TransientError, match="not now"):
        read(STORES[kind].stored(name))


@pytest.mark.parametrize("kind", STORES)
def test_credentials_that_ended_are_named(kind: str, name: str, failing: Callable[..., None]) -> None:
    """Google's are made anew for each task, so a retry may help."""
    STORES[kind].put(name, "ended-88-99")
    failing(kind, 99, 401, "ExpiredTokenException")
    google = kind == "secretmanager"
    said = "not now" if google else f"connection {STORES[kind].stored(name).connection} may not read"
    with pytest.raises(TransientError if google else InputError, match=said):
        read(STORES[kind].stored(name))


def test_a_connection_that_may_not_read_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put_keyvault(name, "private")
    connection: dict[str, Any] = json.loads(settings.os.environ["AIRFLOW_CONN_AZURE_DEFAULT"])
    monkeypatch.setenv("AIRFLOW_CONN_AZURE_DEFAULT", json.dumps({**connection, "password": "wrong"}))
    with pytest.raises(InputError, match="azure_default"):
        read(STORES["keyvault"].stored(name))


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize("kind", STORES)
def test_a_secret_that_is_missing_fails_the_plan(kind: str, name: str, tmp_path: Path) -> None:
    """Of whatever gets it, and nothing was begun then."""
    (tmp_path / "app.py").write_text("")
    (tmp_path / "main.tf").write_text('variable "password" { sensitive = true }\n')
    reference = f"${{{STORES[kind].stored(name)}}}"
    lambda_options = {
        "handler": "app.handler",
        "runtime": "python3.13",
        "role": "arn:aws:iam::000000000000:role/r",
    }
    place: dict[str, Any] = {"path": str(tmp_path), "scope": "staging/aws"}
    plans = [
        TerraformPlanOperator(task_id="stack", variables={"password": reference}, **place),
        ServerlessPlanOperator(
            task_id="function", target="lambda", name=name, region=REGION, environment={"KEY": reference},
            options=lambda_options, **place,
        ),
    ]  # fmt: skip
    for plan in plans:
        with pytest.raises(AirflowFailException, match=f"there is no /?{name} in .*: create it, or correct"):
            plan.execute(context())


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize("kind", STORES)
def test_a_rotated_secret_is_drift_until_it_is_deployed_again(kind: str, name: str) -> None:
    store = STORES[kind]
    reference = str(store.stored(name))
    user = "aws/function/webhook"
    secret = {
        "address": f"aws/secret/{name}",
        "scope": "staging/aws",
        "reference": reference,
        "users": [user],
    }

    def check() -> dict[str, Any]:
        operator = SecretDriftBatchOperator(task_id="secrets", components=[secret])
        (found,) = operator.execute({})
        return found

    def deploy() -> str:
        versions = current({user: {name: reference}})
        change_set = replace(CHANGE_SET, secrets=versions)
        result = {"address": user, "version": "1", "state": "deployed"}
        deployed.record(settings.artifact_store(), change_set, [result], "r")
        return versions[user][name]

    missing = check()
    assert (missing["state"], "there is no" in missing["error"]) == ("unknown", True)
    store.put(name, "correct-horse-1")
    assert check()["state"] == "pending"
    first = deploy()
    assert check()["state"] == "in_sync"
    second = store.put(name, "correct-horse-2")
    found = check()
    assert found["state"] == "drifted"
    (item,) = found["resources"]
    assert (item["address"], item["attributes"]) == (
        f"secret of {user}",
        [{"name": "version", "before": first, "after": f"{second}, newer than deployed"}],
    )
    assert deploy() == second == resolve(f"${{{store.stored(name).of_version}}}", lookup_in("staging/aws"))
    found = check()
    assert (found["state"], found["cured"]) == ("in_sync", [f"secret of {user}"])


CHANGE_SET = ChangeSet(
    platform="shop",
    environment="staging",
    cloud="aws",
    asked="HEAD",
    revision="abc",
    source="sha256:1",
    spec="sha256:2",
    policy={},
    planned_at="2026-01-01T00:00:00+00:00",
    changes=(),
)
