"""A deployment step by step, by operators of its own, against the sandbox."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred
from cryptography.fernet import Fernet

from tests.e2e.google_lab import CONNECTION, PROJECT, REGION, push
from triplane.sandbox.runtime import Sandbox
from triplane.serverless.aws.operators import LambdaPublishVersionOperator, LambdaUpdateAliasOperator
from triplane.serverless.google.operators import CloudRunCreateRevisionOperator, CloudRunUpdateTrafficOperator
from triplane.serverless.links import CONSOLE_URL
from triplane.serverless.operators import ServerlessInvokeOperator, steps

LOOK = 0.2
CODE = "def handler(event, context):\n    return {{'n': {}}}\n"


class Dag:
    """Runs one task after the other, as worker and triggerer do."""

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}
        self.run = 1

    def push(self, key: str, value: Any) -> None:
        self.pushed[key] = value

    def task(self, operator: Any, **arguments: Any) -> dict[str, Any]:
        run = SimpleNamespace(dag_id="d", run_id=f"r{self.run}")
        context: Any = {"dag_run": run, "ti": SimpleNamespace(xcom_push=self.push)}
        task, carried = operator(task_id="t", scope="s", **arguments), {}
        while True:
            try:
                return task.go_on(context, None, **carried) if carried else task.execute(context)
            except TaskDeferred as parked:
                time.sleep(LOOK)
                carried = parked.kwargs or {}


@pytest.fixture
def dag(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cloud_env: dict[str, str]) -> Dag:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    monkeypatch.setattr(steps, "PATIENCE_SECONDS", 0.0)
    return Dag()


def test_lambda(dag: Dag, tmp_path: Path) -> None:
    from triplane.clouds import aws

    iam, client = (aws.client(service, "aws_default", "eu-west-1") for service in ("iam", "lambda"))
    name = f"steps-{uuid.uuid4().hex[:8]}"
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]
    given = {"name": name, "region": "eu-west-1"}
    options = {"handler": "app.handler", "runtime": "python3.13", "role": role}

    code = tmp_path / "code"
    code.mkdir()

    def publish(number: int) -> dict[str, Any]:
        (code / "app.py").write_text(CODE.format(number))
        dag.run = number
        smoke = {"payload": {}, "contains": f'"n": {number}'}
        return dag.task(LambdaPublishVersionOperator, path=str(code), options=options, smoke=smoke, **given)

    def alias() -> Any:
        return client.get_alias(FunctionName=name, Name="live")

    first = publish(1)
    dag.task(LambdaUpdateAliasOperator, version=first["version"], **given)
    assert name in dag.pushed[CONSOLE_URL]
    second = publish(2)
    assert second["previous"] == first["version"] == alias()["FunctionVersion"]
    assert publish(2)["version"] == second["version"]
    asked = {"payload": {}, "contains": '"n": 1'}
    dag.task(ServerlessInvokeOperator, target="lambda", version=first["version"], smoke=asked, **given)
    steps = {"version": second["version"], "previous": second["previous"], **given}
    dag.task(LambdaUpdateAliasOperator, percent=10, **steps)
    assert alias()["RoutingConfig"]["AdditionalVersionWeights"] == {second["version"]: 0.1}
    dag.task(LambdaUpdateAliasOperator, **steps)
    assert alias()["FunctionVersion"] == second["version"]
    assert not alias().get("RoutingConfig", {}).get("AdditionalVersionWeights")
    client.delete_function(FunctionName=name)


def test_cloud_run(dag: Dag, sandbox: Sandbox) -> None:
    from triplane.serverless.google.targets import cloud_run

    name = f"steps-{uuid.uuid4().hex[:8]}"
    given = {"name": name, "region": REGION, "project": PROJECT, "conn_id": CONNECTION}
    target = cloud_run(CONNECTION, REGION, PROJECT)

    def create(number: int) -> dict[str, Any]:
        dag.run = number
        return dag.task(CloudRunCreateRevisionOperator, image=push(sandbox, f"steps {number}"), **given)

    def serves() -> str:
        found = target.observe(name)
        assert found is not None
        return found.version

    first = create(1)
    dag.task(CloudRunUpdateTrafficOperator, version=first["version"], **given)
    second = create(2)
    assert second["previous"] == first["version"] == serves()
    steps = {"version": second["version"], "previous": second["previous"], **given}
    dag.task(CloudRunUpdateTrafficOperator, percent=25, **steps)
    assert serves() == f"{first['version']}=75,{second['version']}=25"
    dag.task(CloudRunUpdateTrafficOperator, **steps)
    assert serves() == second["version"]
    target.delete(name)
