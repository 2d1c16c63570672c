"""What an applying operator may apply, however its XComs were edited."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.fernet import Fernet

from triplane import authorized, settings
from triplane.core.approval import Decision, Policy
from triplane.core.change import ChangeSet, ComponentChange, Risk
from triplane.core.errors import RefusedError
from triplane.kubernetes.operators import HelmUpgradeOperator
from triplane.serverless.operators import ServerlessDeployOperator
from triplane.terraform.operators import TerraformApplyOperator

KEY = "k" * 40
CONTEXT = {"dag_run": SimpleNamespace(dag_id="deploy", run_id="r1")}
OPERATORS: dict[str, Any] = {
    "stack": (TerraformApplyOperator, {"path": "infra"}),
    "chart": (HelmUpgradeOperator, {"path": "chart"}),
    "function": (ServerlessDeployOperator, {"target": "lambda", "name": "f", "path": "code"}),
}


@pytest.fixture(autouse=True)
def _configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    monkeypatch.setenv("AIRFLOW__TRIPLANE__SIGNING_KEY", KEY)


def approved(kind: str) -> tuple[str, dict[str, Any]]:
    """Digest and authorization of an approved change set."""
    change = ComponentChange(
        address=f"aws/{kind}/x", action="create", risk=Risk.LOW, summary="", binds={"plan": "1"}
    )
    change_set = ChangeSet(
        platform="shop",
        environment="prod",
        cloud="aws",
        asked="main",
        revision="r",
        planned_at=datetime.now(UTC).isoformat(),
        source="s",
        spec="t",
        policy=Policy().to_json(),
        changes=(change,),
    )
    now = datetime.now(UTC)
    decision = Decision(
        dag_id="deploy",
        run_id="r1",
        vote=0,
        requester="alice",
        responder="bob",
        approved=True,
        change_sets={"aws": change_set.digest},
        decided_at=now.isoformat(),
        expires_at=(now + timedelta(hours=1)).isoformat(),
    )
    return settings.put_change_set(change_set), {"decisions": [decision.sign([KEY]).to_json()]}


def operator(kind: str, **options: Any) -> Any:
    made, arguments = OPERATORS[kind]
    address = {"address": f"aws/{kind}/x", "scope": "prod/aws"}
    return made(task_id="apply", **{**arguments, **address, **options})


@pytest.mark.parametrize("kind", OPERATORS)
def test_an_approved_change_is_found(kind: str) -> None:
    digest, authorization = approved(kind)
    task = operator(kind, change_set=digest, authorization=authorization)
    change = authorized.approved_change(CONTEXT, task)
    assert change is not None
    assert change.binds == {"plan": "1"}


@pytest.mark.parametrize("kind", OPERATORS)
@pytest.mark.parametrize("emptied", [None, ""])
def test_an_emptied_change_set_is_not_taken_for_a_deployment_by_hand(kind: str, emptied: str | None) -> None:
    task = operator(kind, change_set="{{ of authorize }}", authorization={})
    task.change_set, task.authorization = emptied, None
    with pytest.raises(RefusedError, match="no approved change set"):
        authorized.approved_change(CONTEXT, task)


@pytest.mark.parametrize("kind", OPERATORS)
def test_an_approval_for_another_environment_is_refused(kind: str) -> None:
    digest, authorization = approved(kind)
    task = operator(kind, change_set=digest, authorization=authorization, scope="staging/aws")
    with pytest.raises(RefusedError, match="is for prod/aws, this task is for staging/aws"):
        authorized.approved_change(CONTEXT, task)


@pytest.mark.parametrize("kind", OPERATORS)
def test_by_hand_the_change_is_what_was_given(kind: str) -> None:
    digest, _ = approved(kind)
    change = settings.get_change_set(digest).changes[0]
    for given in (change.to_json(), str(change.to_json())):
        assert authorized.approved_change(CONTEXT, operator(kind, change=given)) == change
    assert authorized.approved_change(CONTEXT, operator(kind)) is None
