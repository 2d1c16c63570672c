"""Change sets in a store of their own, and the keys that workers have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from triplane import settings
from triplane.core.approval import Policy
from triplane.core.change import ChangeSet, ComponentChange, Risk

KEY = "k" * 40


@pytest.fixture(autouse=True)
def _configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    monkeypatch.setenv("AIRFLOW__TRIPLANE__SIGNING_KEY", KEY)


@pytest.fixture
def planned() -> Callable[..., ChangeSet]:
    """Makes and keeps the change set of one cloud: of this risk, ``fields`` of the change set, ``policy`` of its policy."""

    def make(cloud: str = "aws", risk: Risk = Risk.LOW, emergency: str = "", **policy: Any) -> ChangeSet:
        action = "none" if risk is Risk.NONE else "create"
        change = ComponentChange(
            address=f"{cloud}/stack/network",
            action=action,
            risk=risk,
            summary="1 to add",
            binds={"plan": "1"},
        )
        made = ChangeSet(
            platform="shop", environment="prod", cloud=cloud, asked="main", revision="abc",
            planned_at="2026-01-01T00:00:00+00:00", source="s", spec="t", policy=Policy(**policy).to_json(),
            changes=(change,), emergency=emergency,
        )  # fmt: skip
        settings.put_change_set(made)
        return made

    return make
