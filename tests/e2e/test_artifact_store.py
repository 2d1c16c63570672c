"""The artifact store and the ledger in the object stores of the clouds, where other machines write to them, too."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from triplane.clouds import azure
from triplane.core import files
from triplane.core.ledger import Ledger, scopes
from triplane.core.store import ArtifactStore
from triplane.sandbox.azure.part import GROUP, STATE_ACCOUNT, STATE_CONTAINER
from triplane.sandbox.runtime import Sandbox

SCOPE = "staging/aws"
ELSEWHERE = """
import sys
from airflow.sdk import ObjectStoragePath
from triplane.core.ledger import Ledger
from triplane.core.store import ArtifactStore

root = ObjectStoragePath(sys.argv[1])
Ledger(root, "staging/aws").append("elsewhere", {})
ArtifactStore(root, [sys.argv[2]]).put_named("drift", b"elsewhere")
"""


def in_s3() -> str:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    bucket = f"artifacts-{uuid.uuid4().hex[:8]}"
    S3Hook("aws_default").create_bucket(bucket, region_name="eu-west-1")
    return f"s3://aws_default@{bucket}/triplane"


def in_cloud_storage() -> str:
    from airflow.providers.google.cloud.hooks.gcs import GCSHook

    bucket = f"artifacts-{uuid.uuid4().hex[:8]}"
    GCSHook("google_cloud_default").create_bucket(bucket_name=bucket)
    return f"gs://google_cloud_default@{bucket}/triplane"


def in_blob_storage() -> str:
    """With the account's key, as the sandbox's blobs take no tokens."""
    from azure.mgmt.storage import StorageManagementClient

    client = azure.client(StorageManagementClient, "azure_default")
    key = client.storage_accounts.list_keys(GROUP, STATE_ACCOUNT).keys_property[0].value
    connection = {"conn_type": "adls", "password": key, "extra": {"account_name": STATE_ACCOUNT}}
    os.environ["AIRFLOW_CONN_ARTIFACTS_AZURE"] = json.dumps(connection)
    return f"abfs://artifacts_azure@{STATE_CONTAINER}/artifacts-{uuid.uuid4().hex[:8]}"


@pytest.fixture(params=[in_s3, in_cloud_storage, in_blob_storage])
def root(
    request: pytest.FixtureRequest,
    sandbox: Sandbox,
    cloud_env: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    """A folder in each."""
    from airflow.sdk import ObjectStoragePath

    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW_CONN_ARTIFACTS_AZURE", "")  # so that it is removed again
    # Other tests may have imported aiohttp, which reads once whom to trust, before they trusted the sandbox.
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", ssl.create_default_context())
    return ObjectStoragePath(request.param())


def test_what_another_machine_writes_is_seen_at_once(root: Any) -> None:
    key = Fernet.generate_key().decode()
    store, ledger = ArtifactStore(root, [key]), Ledger(root, SCOPE)
    assert ledger.entries() == []
    assert ledger.append("here", {}).number == 0
    assert store.get_named("drift") is None
    store.put_named("drift", b"here")
    assert store.get_named("drift") == b"here"
    assert [path.name for path in files.children(root)] == ["ledger", "named"]

    subprocess.run([sys.executable, "-c", ELSEWHERE, str(root), key], check=True, timeout=120)

    assert [entry.kind for entry in ledger.entries()] == ["here", "elsewhere"]
    assert ledger.append("here", {}).number == 2
    assert ledger.problems() == []
    assert store.get_named("drift") == b"elsewhere"
    assert scopes(root) == [SCOPE]


def test_of_two_who_create_the_same_one_wins(root: Any) -> None:
    first, second = Ledger(root, SCOPE), Ledger(root, SCOPE)
    known = first.entries()
    assert second.append_after(known, "second", {}) is not None
    assert first.append_after(known, "first", {}) is None
    store = ArtifactStore(root, [Fernet.generate_key().decode()])
    assert store.create_named("turn", b"1")
    assert not store.create_named("turn", b"2")
    assert store.get_named("turn") == b"1"


def test_an_artifact_is_kept_once_and_encrypted(root: Any) -> None:
    store = ArtifactStore(root, [Fernet.generate_key().decode()])
    name = store.put(b"a saved plan")
    assert store.has(name)
    assert store.put(b"a saved plan") == name
    assert store.get(name) == b"a saved plan"
    kept = files.read_all(files.children(root / "blobs"))
    assert len(kept) == 1
    assert b"plan" not in kept[0]
    assert not store.has("sha256:" + "0" * 64)
