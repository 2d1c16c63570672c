"""What is configured, and whose an environment is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.fernet import Fernet

from triplane import settings
from triplane.core.errors import InputError


@pytest.fixture(autouse=True)
def _configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())


def test_a_run_is_pinned_where_the_platform_is_in_the_checkout_of_its_bundle(tmp_path: Path) -> None:
    checkout, folder = tmp_path / "versions" / "a", tmp_path / "versions" / "a" / "platform"
    for version, place, asked, pinned in (
        ("a" * 40, checkout, folder, "a" * 40),
        ("a" * 40, checkout, tmp_path / "elsewhere", None),
        (None, checkout, folder, None),
        ("2026-01-01", checkout, folder, None),
        ("a" * 40, None, folder, None),
    ):
        instance = SimpleNamespace(bundle_instance=SimpleNamespace(version=version, repo_path=place))
        assert settings.pinned_commit({"ti": instance}, str(asked)) == pinned
    assert settings.pinned_commit({}, str(folder)) is None


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


@pytest.mark.parametrize("url", ["memory://store", "ftp://host/store"])
def test_a_store_that_lets_a_second_writer_in_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", url)
    with pytest.raises(InputError, match="artifact_store cannot be"):
        settings.ledger("staging/aws")
