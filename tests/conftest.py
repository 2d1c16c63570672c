"""How the tests are shared out where several processes run them (``make test`` uses three: they often wait)."""

from __future__ import annotations

import os
import shutil
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from airflow._shared.secrets_masker import _secrets_masker as core_masker
from airflow.sdk._shared.secrets_masker import _secrets_masker as task_masker
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

SHARED = "TRIPLANE_TEST_SHARED"
TOGETHER = {
    "e2e/deployment": "deployments",
    "e2e/test_images": "images",
    "e2e/test_registries": "images",
    # They order failures of the clouds' monitoring as a whole.
    "e2e/test_gate": "gates",
    "e2e/test_markers": "gates",
}
"""Tests that share something besides the sandbox, and so a process: the start of their path -> a name."""
FIRST = (
    *("deployments", "gates", "images", "e2e/test_charts.py", "e2e/test_locks.py", "e2e/test_kills.py"),
    *("e2e/test_lambda.py", "e2e/test_function_life.py", "e2e/test_terraform.py"),
    "unit/serverless/test_azure_functions.py",
)
"""The longest ones, so that no process is left alone with them at the end."""


@pytest.fixture(autouse=True)
def own_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test is a process of its own to the redactors: what another one resolved is not masked in it.

    Airflow compiles all it masks into one expression, at each new secret: what a whole run of tests has resolved takes
    it longer and longer.
    """
    monkeypatch.setattr("triplane.settings._secrets", set())
    for masker in (core_masker(), task_masker()):
        monkeypatch.setattr(masker, "patterns", set(masker.patterns))
        monkeypatch.setattr(masker, "replacer", masker.replacer)


@pytest.fixture(autouse=True)
def own_opener() -> None:
    """``urlopen`` keeps the proxies of the environment in which it was called first: another test's."""
    urllib.request.install_opener(None)  # type: ignore[arg-type]


def pytest_configure(config: pytest.Config) -> None:
    """A folder in which the processes find the sandbox that the first of them has started."""
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        os.environ[SHARED] = tempfile.mkdtemp(prefix="triplane-")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop that sandbox."""
    shared = os.environ.get(SHARED)
    if shared is None or hasattr(config, "workerinput"):
        return
    from triplane.sandbox.runtime import Sandbox

    home = Path(shared) / "sandbox"
    if home.exists():
        Sandbox.load(home).down()
    shutil.rmtree(shared)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones come first."""
    order = {name: index for index, name in enumerate(FIRST)}
    items.sort(key=lambda item: order.get(_group(item.nodeid), len(order)))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """A group's tests stay in one process, in their order."""
    return ByGroup(config, log)


class ByGroup(LoadScopeScheduling):
    """Hands out whole groups."""

    def _split_scope(self, nodeid: str) -> str:
        return _group(nodeid)


def _group(nodeid: str) -> str:
    """A file's tests belong together, or those of several files."""
    path = nodeid.partition("::")[0].removeprefix("tests/")
    return next((name for start, name in TOGETHER.items() if path.startswith(start)), path)
