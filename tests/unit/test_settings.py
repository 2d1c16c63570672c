"""What is configured, and whose an environment is."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from triplane import settings
from triplane.core.errors import InputError


@pytest.fixture(autouse=True)
def _configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())


def test_missing_keys_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", "")
    with pytest.raises(InputError, match="triplane keys"):
        settings.artifact_store()


def test_an_environment_belongs_to_one_platform() -> None:
    settings.claim("staging", "shop")
    settings.claim("staging", "shop")
    settings.claim("prod", "shop")
    with pytest.raises(InputError, match="staging of this artifact store belongs to the platform shop"):
        settings.claim("staging", "billing")
