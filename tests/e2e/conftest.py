"""One sandbox for all end-to-end tests of a run."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from tests.conftest import SHARED
from tests.e2e.terraform_lab import Lab
from triplane.sandbox.runtime import Sandbox


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """A running sandbox: the one in ``$TRIPLANE_SANDBOX_HOME`` if it is up, else a new one for this run."""
    if home := os.environ.get("TRIPLANE_SANDBOX_HOME"):
        yield Sandbox.load(Path(home))
        return
    if shared := os.environ.get(SHARED):
        yield _shared(Path(shared))
        return
    with tempfile.TemporaryDirectory(prefix="triplane-") as directory:
        sandbox = Sandbox.up(Path(directory) / "sandbox", on_progress=print)
        try:
            yield sandbox
        finally:
            sandbox.down()


def _shared(folder: Path) -> Sandbox:
    """The sandbox of all processes of this run; the first one that asks starts it."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / "up").exists():
            return Sandbox.load(folder / "sandbox")
        sandbox = Sandbox.up(folder / "sandbox", on_progress=print)
        (folder / "up").touch()
        return sandbox


@pytest.fixture
def cloud_env(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """``os.environ`` leads into the sandbox; returns what was added."""
    environ = sandbox.environ()
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return environ


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", "/dev/null")
    return Lab(tmp_path)
