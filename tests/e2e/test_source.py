"""The commit that a run deploys, fetched by real git from GitHub and GitLab over HTTPS and from a real sshd."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from cryptography.fernet import Fernet

from tests.e2e.monitoring_lab import direct
from tests.e2e.test_kubernetes import processes, until
from tests.ordered import MINE, OWNER
from triplane import settings
from triplane.core.change import ChangeSet
from triplane.core.digest import digest_file
from triplane.core.errors import TransientError
from triplane.core.history import AUTHORIZED, ROLLOUT, body
from triplane.sandbox.forges.git import make_repository
from triplane.sandbox.forges.part import git_root
from triplane.sandbox.machines.machine import Machine, key_pair
from triplane.sandbox.runtime import Sandbox, listens
from triplane.source.operators import FreezeOperator

HOSTS = {"github": "github.com", "gitlab": "gitlab.com"}
REQUESTS = {"github": ("pull/12", "refs/pull/12/head"), "gitlab": ("!12", "refs/merge-requests/12/head")}
SPEC = "version: 1\n"


class Repository:
    """A bare repository of a forge, and the clone of somebody who pushes to it."""

    def __init__(self, root: Path, clone: Path) -> None:
        self.name = f"acme/{uuid.uuid4().hex}"
        self.bare = make_repository(root, self.name)
        self.clone = clone
        self.git("init", "--quiet", "--initial-branch=main")
        self.first = self.commit("one")

    def git(self, *args: str) -> str:
        who = ("-c", "user.name=t", "-c", "user.email=t@example.com")
        self.clone.mkdir(exist_ok=True)
        command = ["git", "-C", str(self.clone), *who, *args]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, note: str, ref: str = "refs/heads/main") -> str:
        """What ``ref`` is from now on."""
        folder = self.clone / "platform"
        folder.mkdir(exist_ok=True)
        (folder / "platform.yaml").write_text(SPEC)
        (folder / "note").write_text(note)
        self.git("add", "-A")
        self.git("commit", "--quiet", "-m", note)
        self.git("push", "--quiet", "--force", str(self.bare), f"HEAD:{ref}")
        return self.git("rev-parse", "HEAD")


@pytest.fixture(autouse=True)
def store(cloud_env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    (tmp_path / "platform.yaml").write_text(SPEC)


@pytest.fixture(params=HOSTS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def repository(kind: str, sandbox: Sandbox, tmp_path: Path) -> Repository:
    return Repository(git_root(sandbox.home) / HOSTS[kind], tmp_path / "clone")


def frozen(
    tmp_path: Path, name: str, revision: str, *, rollback: dict[str, str] | None = None, **more: Any
) -> dict[str, Any]:
    remote = {"kind": "github", "connection": f"{more.get('kind', 'github')}_default", "path": "platform"}
    operator = FreezeOperator(
        task_id="freeze",
        folder=str(tmp_path),
        spec_file="platform.yaml",
        spec=digest_file(tmp_path / "platform.yaml"),
        revision=revision,
        remote={**remote, "repository": name, **more},
        **(rollback or {}),
    )
    return operator.execute({})  # type: ignore[arg-type]


def note(found: dict[str, Any]) -> str:
    """The text that was committed, from the frozen source."""
    return (settings.source_dir(found["source"]) / "note").read_text()


def test_every_name_of_a_revision_is_its_commit(kind: str, repository: Repository, tmp_path: Path) -> None:
    revision, ref = REQUESTS[kind]
    repository.git("tag", "-a", "v1", "-m", "the first")
    repository.git("push", "--quiet", str(repository.bare), "v1")
    asked = repository.commit("of somebody else", ref)
    second = repository.commit("two")
    for name, commit, text in (
        ("HEAD", second, "two"),
        ("main", second, "two"),
        ("v1", repository.first, "one"),
        (repository.first, repository.first, "one"),
        (repository.git("rev-parse", "v1"), repository.first, "one"),
        (revision, asked, "of somebody else"),
    ):
        found = frozen(tmp_path, repository.name, name, kind=kind)
        assert (found["revision"], note(found), found["asked"]) == (commit, text, name)


def test_the_frozen_commit_counts_when_its_branch_moves(
    kind: str, repository: Repository, tmp_path: Path
) -> None:
    found = frozen(tmp_path, repository.name, "main", kind=kind)
    repository.commit("moved")
    assert note(found) == "one"
    given = FreezeOperator(
        task_id="freeze", folder=str(tmp_path), spec_file="platform.yaml", spec=found["spec"], frozen=found
    ).execute({})  # type: ignore[arg-type]
    assert (given["revision"], note(given)) == (repository.first, "one")
    assert note(frozen(tmp_path, repository.name, "main", kind=kind)) == "moved"


def test_a_rollback_goes_to_a_tag_of_the_forge(repository: Repository, kind: str, tmp_path: Path) -> None:
    repository.git("tag", "-a", "v1", "-m", "the first")
    repository.git("push", "--quiet", str(repository.bare), "v1")
    first = frozen(tmp_path, repository.name, "v1", kind=kind)
    change_set = ChangeSet(
        platform="shop", environment="prod", cloud="aws", asked="v1", revision=first["revision"],
        source=first["source"], spec=first["spec"], policy={}, planned_at="2026-01-01T00:00:00+00:00", changes=(),
    )  # fmt: skip
    settings.put_change_set(change_set)
    for entry in (AUTHORIZED, ROLLOUT):
        settings.ledger("prod/aws").append(entry, {**body(change_set), "run_id": "run"})
    repository.commit("two")
    back = frozen(
        tmp_path, repository.name, "main", kind=kind, rollback={"rollback_of": "prod/aws", "to": "v1"}
    )
    assert (back["revision"], note(back)) == (repository.first, "one")


def test_what_is_not_there_or_not_allowed_is_told(
    kind: str, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = repository.name
    for revision, more, said in (
        ("nope", {}, "the repository has no 'nope'"),
        ("f" * 40, {}, "it has no such commit"),
        ("main", {"path": "elsewhere"}, "there is no folder elsewhere at"),
        ("main", {"repository": "acme/none"}, "correct the repository, or let the token or key see it"),
    ):
        with pytest.raises(AirflowFailException, match=said):
            frozen(tmp_path, name, revision, **{"kind": kind, **more})
    monkeypatch.setenv(
        f"AIRFLOW_CONN_{kind.upper()}_DEFAULT", '{"conn_type": "http", "password": "Pl4nted-ended"}'
    )
    with pytest.raises(AirflowFailException, match="renew the token in the connection") as refused:
        frozen(tmp_path, name, "main", kind=kind)
    assert "Pl4nted" not in str(refused.value)


@pytest.mark.parametrize(("status", "path"), [(429, "info/refs"), (503, "git-upload-pack")])
def test_a_forge_that_is_busy_is_asked_again(
    status: int, path: str, kind: str, repository: Repository, tmp_path: Path, sandbox: Sandbox
) -> None:
    order = {"path": f"{HOSTS[kind]}/{repository.name}.git/{path}", "status": status, "owner": OWNER}
    direct(sandbox, "forges", MINE, order)
    with pytest.raises(TransientError, match=str(status)):
        frozen(tmp_path, repository.name, "main", kind=kind)
    assert note(frozen(tmp_path, repository.name, "main", kind=kind)) == "one"


def test_a_github_app_reads_a_private_repository(sandbox: Sandbox, tmp_path: Path) -> None:
    """The app has an installation in ``acme/shop``, of which it gets a token for an hour."""
    shop = Repository(git_root(sandbox.home) / "github.com", tmp_path / "clone")
    shop.git(
        "push", "--quiet", "--force", str(git_root(sandbox.home) / "github.com/acme/shop.git"), "HEAD:main"
    )
    assert frozen(tmp_path, "acme/shop", "main", connection="github_app")["revision"] == shop.first


@pytest.fixture
def over_ssh(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Repository, Machine]]:
    """A forge's sshd: the deploy key may run ``git-upload-pack`` on its repositories."""
    private, public = key_pair()
    repository = Repository(tmp_path / "repositories", tmp_path / "clone")
    machine = Machine("forge", tmp_path / "forge", sandbox.port(f"source-ssh-{tmp_path.name}"))
    script = tmp_path / "serve"
    script.write_text(
        f'set -- $SSH_ORIGINAL_COMMAND\nexec git upload-pack {tmp_path}/repositories"$(eval echo $2)"\n'
    )
    machine.prepare(f'restrict,command="sh {script}" {public}')
    extra = {"private_key": private, "host_key": machine.host_key}
    connect(monkeypatch, machine, extra)
    server = machine.start()
    until(lambda: listens(machine.port))
    yield repository, machine
    server.terminate()
    server.wait()


def connect(monkeypatch: pytest.MonkeyPatch, machine: Machine, extra: dict[str, str]) -> None:
    host = machine.host()
    fields = {
        "conn_type": "ssh",
        "host": host["address"],
        "port": host["port"],
        "login": host["user"],
        "extra": extra,
    }
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_DEPLOY_KEY", json.dumps(fields))


def test_a_deploy_key_reads_over_ssh(
    over_ssh: tuple[Repository, Machine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository, machine = over_ssh
    second = repository.commit("two")
    for revision, commit in (("main", second), (repository.first, repository.first)):
        found = frozen(tmp_path, repository.name, revision, deploy_key="shop_deploy_key")
        assert found["revision"] == commit
    assert not processes("ssh-agent", "ssh-add")

    private, public = key_pair()
    for extra, said in (
        ({"private_key": private, "host_key": machine.host_key}, "it does not accept the deploy key"),
        ({"private_key": private, "host_key": public}, "did not show the host key of the connection"),
        ({"private_key": "no key", "host_key": public}, "private key cannot be read"),
        ({"private_key": private}, "has no host_key"),
    ):
        connect(monkeypatch, machine, extra)
        with pytest.raises(AirflowFailException, match=said):
            frozen(tmp_path, repository.name, "main", deploy_key="shop_deploy_key")
    with pytest.raises(AirflowFailException, match="no connection another: create it, of type SSH"):
        frozen(tmp_path, repository.name, "main", deploy_key="another")
