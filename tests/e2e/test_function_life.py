"""The whole life of a function or container on each of the six targets, through the operators, against the sandbox."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
from cryptography.fernet import Fernet

from tests.e2e import google_lab, test_container_apps
from tests.few import few
from triplane.clouds import aws, azure, gcp
from triplane.core.digest import digest
from triplane.sandbox.azure.part import GROUP, LOCATION, REGISTRY
from triplane.sandbox.runtime import Sandbox
from triplane.serverless.drift_operators import ServerlessDriftBatchOperator
from triplane.serverless.operators import (
    ServerlessDeleteOperator,
    ServerlessDeployOperator,
    ServerlessPlanOperator,
    base,
    deploy,
)

AWS_REGION = "eu-west-1"
NOTHING = f"sha256:{'0' * 64}"
LOOK = 0.2
"""Seconds between two looks of a task that waits."""


@dataclass
class Cell:
    """One target. ``code`` gives what runs as ``one``, as ``two``, and as ``bad``, which does not come up;
    ``by_hand`` changes the setting ``seen`` of the function of that name.
    """

    target: str
    place: Mapping[str, Any]
    options: Mapping[str, Any]
    code: Callable[[str], Mapping[str, Any]]
    by_hand: Callable[[str], Any]
    seen: str
    smoke: Mapping[str, Any] | None = None
    traffic: Mapping[str, Any] | None = None
    name: str = field(default_factory=lambda: f"life-{uuid.uuid4().hex[:8]}")
    pushed: dict[str, Any] = field(default_factory=dict)
    runs: int = 0

    def plan(self, code: str, **more: Any) -> dict[str, Any]:
        return self._run(ServerlessPlanOperator, self.code(code), **more)

    def deploy(self, code: str) -> dict[str, Any]:
        self.runs += 1
        change = self.plan(code)
        return self._run(ServerlessDeployOperator, self.code(code), change=change)

    def delete(self) -> dict[str, Any]:
        change = self.plan("two", intent="destroy")
        return self._run(ServerlessDeleteOperator, self.code("two"), change=change)

    def drift(self) -> tuple[str, list[str]]:
        code = {key: value for key, value in self.code("two").items() if key == "path"}
        batch = ServerlessDriftBatchOperator(task_id="d", components=[self._arguments(code)])
        (found,) = batch.execute(self._context())
        return found["state"], [one["name"] for item in found["resources"] for one in item["attributes"]]

    def _arguments(self, code: Mapping[str, Any]) -> dict[str, Any]:
        known = {"target": self.target, "name": self.name, "options": self.options, "scope": "staging/x"}
        return {**known, "smoke": self.smoke, "traffic": self.traffic, **self.place, **code}

    def _run(self, operator: Any, code: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        """As worker and triggerer do."""
        task = operator(task_id="t", **self._arguments(code), **more)
        work: Callable[[Any], dict[str, Any]] = task.execute
        while True:
            try:
                return dict(work(self._context()))
            except TaskDeferred as parked:
                work = partial(getattr(task, parked.method_name), event=None, **(parked.kwargs or {}))
                time.sleep(LOOK)

    def _context(self) -> Any:
        run = SimpleNamespace(dag_id="d", run_id=f"r{self.runs}")
        push = SimpleNamespace(xcom_push=self._push, try_number=1, max_tries=2)
        return {"dag_run": run, "ti": push}

    def _push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


CANARY = {"strategy": "canary", "steps": [10, 50], "wait": 0}


@pytest.fixture(autouse=True)
def _store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cloud_env: dict[str, str]) -> None:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    for module in (base, deploy):
        monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.0)


def folder(home: Path, version: str, **files: str) -> dict[str, Any]:
    place = home / version
    place.mkdir(exist_ok=True)
    for name, text in files.items():
        (place / name.replace("_py", ".py").replace("_json", ".json")).write_text(text)
    return {"path": str(place)}


def aws_lambda(home: Path, sandbox: Sandbox) -> Cell:
    iam = aws.client("iam", "aws_default", AWS_REGION)
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    name = f"life-{uuid.uuid4().hex[:8]}"
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]

    def code(version: str) -> dict[str, Any]:
        body = "raise ValueError" if version == "bad" else f"return {{'version': {version!r}}}"
        return folder(home, version, app_py=f"def handler(event, context):\n    {body}\n")

    def by_hand(name: str) -> None:
        client = aws.client("lambda", "aws_default", AWS_REGION)
        client.update_alias(FunctionName=name, Name="live", FunctionVersion="1")

    options = {"handler": "app.handler", "runtime": "python3.13", "role": role, "memory": 256}
    smoke = {"payload": {}, "contains": "version"}
    return Cell(
        "lambda", {"region": AWS_REGION}, options, code, by_hand, "version that serves", smoke, CANARY
    )


def fargate(home: Path, sandbox: Sandbox) -> Cell:
    ec2, ecs, ecr = (aws.client(service, "aws_default", AWS_REGION) for service in ("ec2", "ecs", "ecr"))
    ecs.create_cluster(clusterName="life")
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24")["Subnet"]["SubnetId"]
    name = f"life-{uuid.uuid4().hex[:8]}"
    group = ec2.create_security_group(VpcId=vpc, GroupName=name, Description="test")["GroupId"]
    uri = ecr.create_repository(repositoryName=name)["repository"]["repositoryUri"]

    def push(tag: str) -> str:
        media = "application/vnd.oci.image.manifest.v1+json"
        config = {"mediaType": "application/vnd.oci.image.config.v1+json", "size": 2, "digest": digest(tag)}
        text = json.dumps({"schemaVersion": 2, "mediaType": media, "config": config, "layers": []})
        known = digest(text.encode())
        ecr.put_image(repositoryName=name, imageTag=tag, imageManifest=text, imageDigest=known)
        return f"{uri}@{known}"

    images = {"one": push("one"), "two": push("two"), "bad": f"{uri}@{NOTHING}"}
    options = {
        "cluster": "life", "cpu": 256, "memory": 512, "desired_count": 1, "port": 8080,
        "execution_role": "arn:aws:iam::000000000000:role/execution", "subnets": [subnet], "security_groups": [group],
    }  # fmt: skip

    def by_hand(name: str) -> None:
        ecs.update_service(cluster="life", service=name, desiredCount=3)

    place = {"region": AWS_REGION}
    return Cell("fargate", place, options, lambda which: {"image": images[which]}, by_hand, "desired_count")


GOOGLE = {"conn_id": google_lab.CONNECTION, "region": google_lab.REGION, "project": google_lab.PROJECT}


def change_service(change: Callable[[Any], None]) -> Callable[[str], None]:
    def by_hand(name: str) -> None:
        from google.cloud import run_v2

        services = gcp.client(run_v2.ServicesClient, google_lab.CONNECTION)
        service = services.get_service(name=f"{google_lab.PARENT}/services/{name}")
        change(service)
        services.update_service(service=service).result(timeout=60)

    return by_hand


def cloud_run(home: Path, sandbox: Sandbox) -> Cell:
    images = {which: google_lab.push(sandbox, f"life {which}") for which in ("one", "two")}
    images["bad"] = f"{google_lab.REGISTRY}/webhook@{NOTHING}"

    def internal(service: Any) -> None:
        service.ingress = 2

    options = {"port": 8080, "ingress": "all", "max_instances": 3}
    return Cell(
        "cloud_run", GOOGLE, options, lambda which: {"image": images[which]}, change_service(internal), "ingress",
        {"path": "/"}, CANARY,
    )  # fmt: skip


def cloud_functions(home: Path, sandbox: Sandbox) -> Cell:
    def code(version: str) -> dict[str, Any]:
        text = f"import functions_framework\n@functions_framework.http\ndef hook(request):\n    return {version!r}\n"
        return folder(home, version, main_py="1 / 0\n" if version == "bad" else text)

    def larger(service: Any) -> None:
        service.template.scaling.max_instance_count = 50
        service.traffic = [{"type_": 1, "percent": 100}]

    options = {
        "runtime": "python312", "entry_point": "hook", "memory": "256Mi", "max_instances": 3, "invokers": ["allUsers"]
    }  # fmt: skip
    return Cell(
        "cloud_functions", GOOGLE, options, code, change_service(larger), "max_instances", {"path": "/"}, CANARY
    )  # fmt: skip


AZURE = {"conn_id": "azure_default", "region": LOCATION, "resource_group": GROUP}


def azure_functions(home: Path, sandbox: Sandbox) -> Cell:
    from azure.mgmt.web import WebSiteManagementClient

    def code(version: str) -> dict[str, Any]:
        text = (
            "import azure.functions as func\napp = func.FunctionApp()\n"
            '@app.route(route="hook", auth_level=func.AuthLevel.ANONYMOUS)\n'
            f"def hook(req):\n    return func.HttpResponse({version!r})\n"
        )
        if version == "bad":
            text = "import nothing_of_that_name\n"
        return folder(home, version, function_app_py=text, host_json='{"version": "2.0"}')

    def by_hand(name: str) -> None:
        client = azure.client(WebSiteManagementClient, "azure_default")
        client.web_apps.update(GROUP, name, {"properties": {"httpsOnly": False}})

    options = {"runtime": "python|3.11", "https_only": True}
    return Cell("azure_functions", AZURE, options, code, by_hand, "https_only", {"path": "/api/hook"})


def container_apps(home: Path, sandbox: Sandbox) -> Cell:
    from azure.mgmt.appcontainers import ContainerAppsAPIClient

    client = azure.client(ContainerAppsAPIClient, "azure_default")
    body = {"location": LOCATION, "properties": {}}
    client.managed_environments.begin_create_or_update(GROUP, "apps", body, polling_interval=1).result()
    images = {which: test_container_apps.push(sandbox, f"life {which}") for which in ("one", "two")}
    images["bad"] = f"{REGISTRY}.azurecr.io/hook@{NOTHING}"

    def by_hand(name: str) -> None:
        ingress = {"external": True, "targetPort": 9000}
        change = {"properties": {"configuration": {"ingress": ingress}}}
        client.container_apps.begin_update(GROUP, name, change, polling_interval=1).result()

    options = {"managed_environment": test_container_apps.ENVIRONMENT, "port": 8080, "max_replicas": 2}
    return Cell(
        "container_apps", AZURE, options, lambda which: {"image": images[which]}, by_hand, "port", {"path": "/"}, CANARY
    )  # fmt: skip


MANY = (fargate, container_apps, cloud_functions, aws_lambda, cloud_run, azure_functions)


@pytest.mark.parametrize("make", few(MANY, [fargate, container_apps]))
def test_life(make: Callable[[Path, Sandbox], Cell], tmp_path: Path, sandbox: Sandbox) -> None:
    cell = make(tmp_path, sandbox)
    first = cell.plan("one")
    assert (first["action"], first["risk"]) == ("create", "low")
    one = cell.deploy("one")
    assert one["state"] == "deployed"
    again = cell.plan("one")
    assert (again["action"], again["lines"]) == ("none", [])
    assert cell.deploy("one")["state"] == "unchanged"

    update = cell.plan("two")
    assert (update["action"], update["risk"]) == ("update", "medium")
    assert update["lines"][0].startswith("code: ")
    assert any(line.startswith("traffic: ") for line in update["lines"]) == bool(cell.traffic)
    two = cell.deploy("two")
    assert (two["state"], two["details"]["previous"]) == ("deployed", one["version"])
    assert two["version"] != one["version"]
    assert cell.drift() == ("in_sync", [])

    cell.by_hand(cell.name)
    state, attributes = cell.drift()
    assert state == "drifted"
    assert cell.seen in attributes
    assert cell.plan("two")["action"] == "update"
    assert cell.deploy("two")["state"] == "deployed"
    assert cell.drift() == ("in_sync", [])

    with pytest.raises(AirflowFailException):
        cell.deploy("bad")
    assert cell.pushed["return_value"]["state"] == "rolled_back"
    served = cell.plan("two")
    assert served["lines"] == []
    assert served["binds"]["observed"] == cell.pushed["return_value"]["version"]
    assert cell.drift() == ("in_sync", [])

    gone = cell.plan("two", intent="destroy")
    assert (gone["action"], gone["risk"]) == ("destroy", "critical")
    assert cell.delete()["state"] == "destroyed"
    assert cell.plan("two")["action"] == "create"
