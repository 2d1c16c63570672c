"""What is frozen for a rollback, and for the runs that another run starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from cryptography.fernet import Fernet

from triplane import settings
from triplane.core.change import ChangeSet, ComponentChange, Risk
from triplane.core.digest import digest_file
from triplane.core.git import commit, git
from triplane.core.history import AUTHORIZED, ROLLOUT, body
from triplane.source.freeze import freeze
from triplane.source.operators import FreezeOperator

DIGESTS = {name: "sha256:" + name * 64 for name in "ab"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    path = tmp_path / "platform"
    path.mkdir()
    (path / "platform.yaml").write_text("version: 1\n")
    return path


def frozen(folder: Path, **kwargs: Any) -> dict[str, Any]:
    spec = digest_file(folder / "platform.yaml")
    operator = FreezeOperator(
        task_id="freeze", folder=str(folder), spec_file="platform.yaml", spec=spec, **kwargs
    )
    return operator.execute({})  # type: ignore[arg-type]


def deployed(folder: Path, note: str, image: str) -> None:
    """A rollout that ended well."""
    (folder / "note").write_text(note)
    changes = (
        ComponentChange(
            address="aws/chart/api",
            action="none",
            risk=Risk.NONE,
            summary="",
            binds={"image.main": f"r.example.com/x/shop/api@{DIGESTS[image]}", "chart": "sha256:1"},
        ),
    )
    change_set = ChangeSet(
        platform="shop",
        environment="prod",
        cloud="aws",
        asked="HEAD",
        revision=note,
        source=settings.artifact_store().put(freeze(folder, "HEAD").archive),
        spec="s",
        policy={},
        planned_at="2026-01-01T00:00:00+00:00",
        changes=changes,
    )
    settings.put_change_set(change_set)
    for kind in (AUTHORIZED, ROLLOUT):
        settings.ledger("prod/aws").append(kind, {**body(change_set), "run_id": f"{note}-run.aws.apply"})


def test_a_rollback_goes_back_to_the_images_that_were_deployed(folder: Path) -> None:
    deployed(folder, "first", "a")
    deployed(folder, "second", "b")
    found = frozen(folder, rollback_of="prod/aws")
    assert found["revision"] == "first"
    assert found["images"] == {"shop/api": DIGESTS["a"]}


@pytest.mark.parametrize(
    "name", ["third-commit", "third-c", "third-commit-run", "third-commit-run.aws.apply"]
)
def test_a_rollback_goes_to_the_version_that_is_named(folder: Path, name: str) -> None:
    for note, image in (
        ("first-commit", "a"),
        ("third-commit", "b"),
        ("fourth-commit", "a"),
        ("fifth-commit", "a"),
    ):
        deployed(folder, note, image)
    found = frozen(folder, rollback_of="prod/aws", to=name)
    assert (found["revision"], found["images"]) == ("third-commit", {"shop/api": DIGESTS["b"]})


def test_a_version_is_named_by_a_tag(folder: Path) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, *identity, "commit", "-qm", "one")
    git(folder, "tag", "v1.4")
    deployed(folder, commit(folder, "v1.4"), "a")
    deployed(folder, "now-there", "b")
    assert frozen(folder, rollback_of="prod/aws", to="v1.4")["revision"] == commit(folder, "v1.4")


def test_what_was_never_good_is_not_gone_back_to(folder: Path) -> None:
    deployed(folder, "first-commit", "a")
    with pytest.raises(
        AirflowFailException, match=r"unknown-commit was never good in prod/aws.* first-commit"
    ):
        frozen(folder, rollback_of="prod/aws", to="unknown-commit")


def test_a_version_to_go_back_to_belongs_to_a_rollback(folder: Path) -> None:
    with pytest.raises(AirflowFailException, match="belongs to the action rollback"):
        frozen(folder, rollback_of="", to="first-commit")


def test_images_that_another_run_built_are_handed_on(folder: Path) -> None:
    first = frozen(folder)
    assert first["images"] == {}
    given = {**first, "images": {"shop/api": DIGESTS["a"]}}
    assert frozen(folder, frozen=given) == given
