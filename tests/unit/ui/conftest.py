"""The page's routes over Airflow's real models, in a database of their own, with an auth manager for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from fastapi import FastAPI
from fastapi.testclient import TestClient
from tests.page.auth import PerDag
from tests.page.world import World, fill, write_spec


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Configuration, database and artifact store for one module."""
    from airflow import settings
    from airflow.models import import_all_models
    from airflow.models.base import Base

    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", f"sqlite:///{folder}/airflow.db")
        patch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{folder}/store")
        patch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
        patch.setenv("AIRFLOW__TRIPLANE__SIGNING_KEY", "k" * 40)
        patch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
        users = "alice:op,bob:op,carol:op,vera:viewer"
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", users)
        _use(settings)
        import_all_models()
        assert settings.engine is not None
        Base.metadata.create_all(settings.engine)
        yield folder
    _use(settings)


def _use(settings: Any) -> None:
    """Have Airflow look at its configuration again."""
    settings.dispose_orm(do_log=False)
    settings.configure_vars()
    settings.configure_orm()


@pytest.fixture(scope="module")
def world(home: Path) -> World:
    """A small platform that was rolled out three times, asks in one run and fails in another one."""
    return fill(write_spec(home / "platform", 12), rollouts=3, lines=5)


@pytest.fixture(scope="module")
def app(world: World) -> Iterator[FastAPI]:
    """The page as Airflow mounts it."""
    from airflow.api_fastapi import app as airflow_app

    from triplane.ui.app import application
    from triplane.ui.plugin import PREFIX

    before = airflow_app._AuthManagerState.instance
    airflow_app._AuthManagerState.instance = PerDag()
    outer = FastAPI()
    outer.mount(PREFIX, application())
    yield outer
    airflow_app._AuthManagerState.instance = before


@pytest.fixture
def client(app: FastAPI) -> Callable[[str], TestClient]:
    """``client("bob")``: as if his browser asked; nobody is signed in with an empty name."""
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from airflow.api_fastapi.core_api.security import get_user

    from triplane.ui.app import application

    roles = {"alice": "op", "bob": "op", "carol": "op", "vera": "viewer", "nobody": None}

    def as_user(name: str) -> TestClient:
        inner = application()
        inner.dependency_overrides.clear()
        if name:
            user = SimpleAuthManagerUser(username=name, role=roles[name])
            inner.dependency_overrides[get_user] = lambda: user
        return TestClient(app)

    return as_user
