"""Azure for the tests of its targets, in this process; and no waits between smoke tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.azure_lab import Lab, lab
from tests.unit.sandbox.azure_cloud.conftest import contract_file

__all__ = ["contract_file"]


@pytest.fixture(autouse=True)
def asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triplane.serverless.deployment.SMOKE_SECONDS", 0.0)


@pytest.fixture
def cloud(tmp_path: Path, contract_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    with lab(tmp_path, contract_file, monkeypatch) as found:
        yield found
