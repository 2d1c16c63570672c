"""How connections to Google Cloud become credentials."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from triplane.clouds import gcp


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets what the connection ``google`` holds."""

    def connect(**extra: str) -> None:
        found = {"conn_type": "google_cloud_platform", "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_GOOGLE", json.dumps(found))

    return connect


def test_a_key_is_read_once_until_the_connection_changes(connect: Callable[..., None]) -> None:
    deployer = _key("deployer")
    connect(keyfile_dict=deployer)
    first = gcp.credentials("google")
    assert gcp.credentials("google") is first
    assert gcp.project_id("google") == "shop"
    assert gcp.session("google").credentials is first
    connect(keyfile_dict=_key("other"))
    assert gcp.credentials("google").service_account_email == "other@shop.iam.gserviceaccount.com"
    connect(keyfile_dict=deployer)
    assert gcp.credentials("google") is not first


def test_a_key_that_a_worker_holds_is_read_each_time(connect: Callable[..., None], tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    connect(key_path=str(file))
    for name in ("deployer", "rotated"):
        file.write_text(_key(name))
        assert gcp.credentials("google").service_account_email == f"{name}@shop.iam.gserviceaccount.com"


def _key(name: str) -> str:
    """A new key of the service account of that name, as Google gives it out."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "shop",
            "client_email": f"{name}@shop.iam.gserviceaccount.com",
            "private_key": private.decode(),
            "token_uri": gcp.TOKEN_URI,
        }
    )
