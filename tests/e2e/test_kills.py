"""A few of the kills of ``make chaos``: every victim on every backend's family."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from tests.chaos.harness import VICTIMS, campaign, slow_cloud
from tests.few import few
from triplane.sandbox.runtime import Sandbox, default_cache


@pytest.fixture(scope="module")
def cloud() -> Iterator[Path]:
    with slow_cloud(default_cache() / "venvs" / "terraform-provider" / "bin" / "python") as folder:
        yield folder


@pytest.mark.parametrize("backend", few(["s3", "s3_dynamodb", "gcs", "azurerm"], ["s3", "azurerm"]))
def test_nothing_is_lost_or_created_twice(
    backend: str, cloud: Path, sandbox: Sandbox, cloud_env: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    for name in (
        "TF_REATTACH_PROVIDERS",
        "AIRFLOW__TRIPLANE__SIGNING_KEY",
        "AIRFLOW__TRIPLANE__ARTIFACT_STORE",
    ):
        monkeypatch.setenv(name, "set by the campaign")
    for verdict in campaign(backend, len(VICTIMS), 1, cloud):
        assert not verdict.bad, verdict
