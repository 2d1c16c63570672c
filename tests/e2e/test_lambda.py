"""The Lambda target against the sandbox's AWS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from cryptography.fernet import Fernet

from triplane import settings
from triplane.core.errors import InputError, StaleError
from triplane.serverless.aws_lambda import AwsLambda
from triplane.serverless.drift_operators import ServerlessDriftBatchOperator
from triplane.serverless.operators import ServerlessDeployOperator, ServerlessPlanOperator
from triplane.serverless.package import build
from triplane.serverless.target import DeployFailed, Desired, decide, difference, plan

EXAMPLE = Path(__file__).parents[2] / "examples/streaming-platform/functions/webhook-lambda"
ROLE = "arn:aws:iam::000000000000:role/webhook-test"


@pytest.fixture
def client(cloud_env: dict[str, str], request: pytest.FixtureRequest) -> Any:
    from triplane.clouds import aws

    iam = aws.client("iam", "aws_default", "eu-west-1")
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    try:
        iam.create_role(RoleName="webhook-test", AssumeRolePolicyDocument=document)
    except iam.exceptions.EntityAlreadyExistsException:
        pass
    return aws.client("lambda", "aws_default", "eu-west-1")


@pytest.fixture
def target(client: Any) -> AwsLambda:
    return AwsLambda(client, wait_seconds=20)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return request.node.name.replace("[", "-").replace("]", "")[:60]


def desired(name: str, path: Path = EXAMPLE, config: str = "sha256:c1", **environment: str) -> Desired:
    package = build(path)
    return Desired(
        name=name,
        artifact=package.digest,
        config=config,
        package=package.data,
        environment={"LOG_LEVEL": "info", **environment},
        options={
            "handler": "app.handler",
            "runtime": "python3.13",
            "role": ROLE,
            "memory": 256,
            "timeout": 30,
        },
    )


def deploy(target: AwsLambda, what: Desired) -> str:
    deployed = target.deploy(what, target.observe(what.name), print)
    target.verify(what, deployed)
    return deployed.version


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    path = tmp_path / "function"
    path.mkdir()
    (path / "app.py").write_text((EXAMPLE / "app.py").read_text() + "\n# changed\n")
    return path


def test_create_then_update_then_nothing(target: AwsLambda, client: Any, name: str, changed: Path) -> None:
    first = desired(name)
    assert target.observe(name) is None
    assert plan("aws/function/w", first, None).action == "create"
    assert deploy(target, first) == "1"
    observed = target.observe(name)
    assert observed is not None
    assert difference(first, observed) == ()
    assert decide(first, observed, "") == "nothing"

    second = desired(name, changed, "sha256:c2", TOKEN="planted-secret")
    change = plan("aws/function/w", second, observed)
    assert change.binds["observed"] == "1"
    assert change.lines == (f"code: {first.artifact} -> {second.artifact}", "environment TOKEN: added")
    assert deploy(target, second) == "2"
    live = client.get_function(FunctionName=name, Qualifier="live")["Configuration"]
    assert live["Version"] == "2"
    assert live["Environment"]["Variables"] == {"LOG_LEVEL": "info", "TOKEN": "planted-secret"}
    assert client.get_function_configuration(FunctionName=name, Qualifier="1")["Version"] == "1"


def test_a_configuration_alone_is_a_new_version(target: AwsLambda, name: str) -> None:
    assert deploy(target, desired(name)) == "1"
    assert deploy(target, desired(name, config="sha256:c2", LOG_LEVEL="debug")) == "2"


def test_going_back_is_a_move_of_the_alias(target: AwsLambda, name: str, changed: Path) -> None:
    first = desired(name)
    deploy(target, first)
    previous = target.observe(name)
    assert previous is not None
    deploy(target, desired(name, changed, "sha256:c2"))
    target.restore(name, previous)
    now = target.observe(name)
    assert now is not None
    assert now.version == "1"
    assert difference(first, now) == ()


def test_somebody_else_deployed_meanwhile(target: AwsLambda, name: str, changed: Path) -> None:
    deploy(target, desired(name))
    deploy(target, desired(name, changed, "sha256:c2"))
    with pytest.raises(StaleError, match="2 serves now"):
        decide(desired(name, config="sha256:c3"), target.observe(name), "1")


def test_an_alias_moved_by_hand_is_found(target: AwsLambda, client: Any, name: str, changed: Path) -> None:
    what = desired(name, changed, "sha256:c2")
    deploy(target, desired(name))
    deployed = target.deploy(what, target.observe(name), print)
    client.update_alias(FunctionName=name, Name="live", FunctionVersion="1")
    with pytest.raises(DeployFailed, match="version 1 serves, not 2"):
        target.verify(what, deployed)


def test_a_failed_update_leaves_what_served(target: AwsLambda, name: str, changed: Path) -> None:
    deploy(target, desired(name))
    broken = desired(name, changed, "sha256:c2")
    broken = Desired(**{**vars(broken), "artifact": "sha256:" + "0" * 64})
    observed = target.observe(name)
    lines: list[str] = []
    with pytest.raises(DeployFailed, match="somebody else deployed") as error:
        target.deploy(broken, observed, lines.append)
    assert error.value.restored == "1"
    now = target.observe(name)
    assert now is not None
    assert now.version == "1"


def test_a_failed_creation_leaves_nothing(target: AwsLambda, name: str) -> None:
    broken = Desired(**{**vars(desired(name)), "artifact": "sha256:" + "0" * 64})
    with pytest.raises(DeployFailed) as error:
        target.deploy(broken, None, print)
    assert error.value.restored is None
    assert target.observe(name) is None


def test_what_the_spec_lacks_is_named(target: AwsLambda, name: str) -> None:
    what = desired(name)
    with pytest.raises(InputError, match="Lambda needs handler"):
        target.deploy(Desired(**{**vars(what), "options": {"runtime": "x", "role": ROLE}}), None, print)


def test_the_operators_deploy_what_was_planned_and_only_that(
    client: Any, name: str, tmp_path: Path, changed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    monkeypatch.setenv("AIRFLOW_VAR_WEBHOOK_TOKEN", "planted-token-value")
    settings.put_outputs("staging/aws", "cluster", {"webhook_role_arn": ROLE})
    arguments: dict[str, Any] = {
        "task_id": "webhook",
        "target": "lambda",
        "name": name,
        "path": str(changed),
        "environment": {"TOKEN": "${variable.webhook_token}"},
        "options": {"handler": "app.handler", "runtime": "python3.13", "role": "${cluster.webhook_role_arn}"},
        "region": "eu-west-1",
        "scope": "staging/aws",
        "address": "aws/function/webhook",
    }
    context: Any = {}
    change = ServerlessPlanOperator(**arguments).execute(context)
    assert (change["action"], change["risk"]) == ("create", "low")
    assert "planted" not in json.dumps(change)

    (changed / "app.py").write_text((changed / "app.py").read_text() + "#")
    with pytest.raises(AirflowFailException, match="artifact not as approved"):
        ServerlessDeployOperator(**arguments, change=change).execute(context)
    assert AwsLambda(client).observe(name) is None

    change = ServerlessPlanOperator(**arguments).execute(context)
    result = ServerlessDeployOperator(**arguments, change=change).execute(context)
    assert (result["state"], result["version"]) == ("deployed", "1")
    assert ServerlessPlanOperator(**arguments).execute(context)["action"] == "none"
    live = client.get_function_configuration(FunctionName=name, Qualifier="live")
    assert live["Environment"]["Variables"] == {"TOKEN": "planted-token-value"}
    kept = [path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert kept
    assert not any(b"planted" in data for data in kept)


def test_drift(
    client: Any, name: str, tmp_path: Path, changed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    monkeypatch.setenv("AIRFLOW_VAR_WEBHOOK_TOKEN", "planted-token-value")
    function: dict[str, Any] = {
        "target": "lambda",
        "name": name,
        "path": str(changed),
        "environment": {"TOKEN": "${variable.webhook_token}"},
        "options": {"handler": "app.handler", "runtime": "python3.13", "role": ROLE},
        "region": "eu-west-1",
        "scope": "staging/aws",
        "address": "aws/function/webhook",
    }

    def check(**more: Any) -> dict[str, Any]:
        other = {
            **function,
            "address": "gcp/function/other",
            "target": "cloud_run",
            "conn_id": "no_such_connection",
        }
        batch = ServerlessDriftBatchOperator(task_id="t", functions=[{**function, **more}, other])
        found, unreachable = batch.execute({})  # type: ignore[arg-type]
        assert unreachable["state"] == "unknown"
        assert "no_such_connection" in unreachable["error"]
        return found

    def names(found: dict[str, Any]) -> list[str]:
        return [attribute["name"] for item in found["resources"] for attribute in item["attributes"]]

    assert (check()["state"], check()["pending"]) == ("pending", "it was never deployed")
    context: Any = {}
    for size in (128, 256):
        function["options"]["memory"] = size
        ServerlessDeployOperator(task_id="d", **function).execute(context)
    assert check()["state"] == "in_sync"

    client.update_alias(FunctionName=name, Name="live", FunctionVersion="1")
    moved = check()
    assert (moved["state"], names(moved)) == ("drifted", ["version that serves", "memory"])
    assert "planted" not in json.dumps(moved)
    rule = {"resource": "function *", "reason": "an incident", "until": "2999-01-01"}
    assert check(ignore=[rule])["state"] == "in_sync"
    weights = {"AdditionalVersionWeights": {"1": 0.25}}
    client.update_alias(FunctionName=name, Name="live", FunctionVersion="2", RoutingConfig=weights)
    assert check()["resources"][0]["attributes"][0]["after"] == "2=75,1=25"

    change = ServerlessPlanOperator(task_id="p", **function).execute(context)
    assert change["action"] == "update", "a plan sees it too, and a deployment repairs it"
    ServerlessDeployOperator(task_id="d", **function, change=change).execute(context)
    mended = check()
    assert (mended["state"], mended["cured"]) == ("in_sync", [f"function {name}"])
    (changed / "app.py").write_text((changed / "app.py").read_text() + "#")
    assert (check()["state"], check()["pending"]) == ("pending", "code changed in the source")
    client.delete_function(FunctionName=name)
    gone = check()
    assert (gone["state"], gone["resources"][0]["action"]) == ("drifted", "delete")
