"""Task definitions and services as values, and calls that no emulator answers; rollouts are tested in the sandbox."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber

from triplane.core.errors import InputError, TransientError
from triplane.serverless.aws.fargate import Fargate
from triplane.serverless.aws.fargate_task import definition, reference, service, service_options, value_from
from triplane.serverless.target import DeployFailed, Desired, Observed, Smoke, Waiting, check_options

IMAGE = f"000000000000.dkr.ecr.eu-west-1.amazonaws.com/s@sha256:{'a' * 64}"
ARN = "arn:aws:secretsmanager:eu-west-1:000000000000:secret:app/token-AbC123"
UUID = "01234567-89ab-cdef-0123-456789abcdef"
TASK = "arn:aws:ecs:eu-west-1:000000000000:task-definition/"
OPTIONS: dict[str, Any] = {
    "cpu": 256,
    "memory": 512,
    "execution_role": "arn:aws:iam::1:role/e",
    "subnets": ["subnet-1"],
    "security_groups": ["sg-1"],
}


def wanted(**more: Any) -> Desired:
    values: dict[str, Any] = {
        "name": "s",
        "artifact": IMAGE,
        "config": "c",
        "options": OPTIONS,
        "attempt": "a1",
    }
    return Desired(**{**values, **more})


@pytest.fixture
def client() -> Any:
    return boto3.client("ecs", "eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")


@pytest.fixture
def stub(client: Any) -> Iterator[Stubber]:
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


@pytest.mark.parametrize(
    ("written", "known"),
    [
        ("plain", None),
        ("arn:aws:secretsmanager:eu-west-1:1:secret:x", None),
        ("secretsmanager://app/token", ARN),
        ("secretsmanager://app/token/AWSPREVIOUS", f"{ARN}::AWSPREVIOUS:"),
        (f"secretsmanager://app/token/{UUID}", f"{ARN}:::{UUID}"),
        ("ssm://word", "word"),
        ("ssm:///word", "/word"),
        ("ssm://app/word", "/app/word"),
    ],
)
def test_secrets_by_reference(written: str, known: str | None) -> None:
    asked: list[str] = []

    def arn_of(name: str) -> str:
        asked.append(name)
        return ARN

    assert value_from(written, arn_of) == known
    assert set(asked) <= {"app/token"}
    if known is not None:
        assert reference(known) == written, "and read back as it is written"


def test_a_reference_has_one_spelling() -> None:
    with pytest.raises(InputError, match="write ssm://app/word for ssm:///app/word"):
        value_from("ssm:///app/word", lambda name: name)


def test_a_task_definition() -> None:
    options = {
        **OPTIONS,
        "port": 80,
        "role": "arn:task",
        "desired_count": 2,
        "health_check": "true",
        "url": "https://s",
    }
    what = wanted(options=options, environment={"B": "x", "A": "ssm://word"}, revision="0123abc")
    found = definition(what, lambda name: name, "eu-west-1")
    (container,) = found.pop("containerDefinitions")
    kept = service_options({"containerDefinitions": [container]})
    assert kept == {"desired_count": 2, "port": 80, "security_groups": ["sg-1"], "subnets": ["subnet-1"]}
    del container["dockerLabels"]
    assert container == {
        "name": "s", "image": IMAGE, "essential": True, "environment": [{"name": "B", "value": "x"}],
        "secrets": [{"name": "A", "valueFrom": "word"}], "portMappings": [{"containerPort": 80, "protocol": "tcp"}],
        "healthCheck": {"command": ["CMD-SHELL", "true"]},
    }  # fmt: skip
    tags = {each["key"]: each["value"] for each in found.pop("tags")}
    assert tags == {
        "triplane:attempt": "a1", "triplane:config": "c", "triplane:commit": "0123abc", "triplane:digest": IMAGE,
        "triplane:url": "https://s",
    }  # fmt: skip
    assert found == {
        "family": "s", "requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc", "cpu": "256",
        "memory": "512", "executionRoleArn": "arn:aws:iam::1:role/e", "taskRoleArn": "arn:task",
    }  # fmt: skip


def test_a_service() -> None:
    breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}
    assert service("s", {}) == {"deploymentConfiguration": breaker}
    options = {**OPTIONS, "public_ip": True, "maximum_percent": 150, "target_group": "arn:t", "port": 80}
    network = {"subnets": ["subnet-1"], "securityGroups": ["sg-1"], "assignPublicIp": "ENABLED"}
    assert service("s", options) == {
        "deploymentConfiguration": {**breaker, "maximumPercent": 150},
        "networkConfiguration": {"awsvpcConfiguration": network},
        "loadBalancers": [{"targetGroupArn": "arn:t", "containerName": "s", "containerPort": 80}],
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"options": {"cpu": 256}}, "needs execution_role, memory, security_groups, subnets"),
        ({"options": {**OPTIONS, "cpu": "256"}}, "cpu is a whole number, not '256'"),
        ({"options": {**OPTIONS, "architecture": "riscv"}}, "architecture is one of x86_64, arm64"),
        ({"options": {**OPTIONS, "target_group": "arn:t"}}, "needs the `port`"),
        ({"artifact": "s:latest"}, "no image with its digest"),
        ({"package": b"zip"}, "runs images"),
        ({"options": {**OPTIONS, "cluster": "other"}}, "the target is cluster default, and not other"),
    ],
)
def test_what_cannot_be_deployed_is_refused_before_any_call(
    client: Any, stub: Stubber, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Fargate(client).prepare(wanted(**change), None, print)


def test_options_are_checked_by_name() -> None:
    check_options(Fargate(None), wanted())
    with pytest.raises(InputError, match="timeout not known here"):
        check_options(Fargate(None), wanted(options={"timeout": 1}))


def add_service(stub: Stubber, revision: int, tag: str = "", **deployment: Any) -> None:
    primary = {"status": "PRIMARY", "taskDefinition": f"{TASK}s:{revision}", **deployment}
    found = {
        "serviceArn": "arn:aws:ecs:eu-west-1:000000000000:service/default/s",
        "serviceName": "s",
        "status": "ACTIVE",
        "taskDefinition": f"{TASK}s:{revision}",
        "deployments": [primary],
        "events": [{"message": "(service s) deployment failed: tasks failed to start."}],
        "tags": [{"key": "triplane:revision", "value": tag}] if tag else [],
    }
    stub.add_response("describe_services", {"services": [found]})


def add_revision(stub: Stubber, revision: int) -> None:
    container = {"name": "s", "image": IMAGE, "dockerLabels": {}}
    task = {"taskDefinitionArn": f"{TASK}s:{revision}", "containerDefinitions": [container]}
    stub.add_response("describe_task_definition", {"taskDefinition": task, "tags": []})


BEFORE = Observed(version="s:1", artifact=IMAGE)


def test_a_revision_that_ecs_has_taken_back_is_not_rolled_out_again(client: Any, stub: Stubber) -> None:
    add_service(stub, 1, tag="s:2")
    add_revision(stub, 2)
    with pytest.raises(DeployFailed, match=r"ECS took s:2 back: .*tasks failed to start"):
        Fargate(client).shift("s", "s:2", 100, BEFORE, print)


def test_a_rollout_that_was_begun_and_not_noted_is_noted(client: Any, stub: Stubber) -> None:
    add_service(stub, 2, rolloutState="IN_PROGRESS", runningCount=1, desiredCount=2, failedTasks=1)
    add_revision(stub, 2)
    stub.add_response(
        "tag_resource", {}, {"resourceArn": ANY, "tags": [{"key": "triplane:revision", "value": "s:2"}]}
    )
    progress = Fargate(client).shift("s", "s:2", 100, BEFORE, print)
    assert progress == Waiting(why="s:2 is being rolled out: 1 of 2 tasks run, 1 failed", seconds=5.0)


def test_a_failed_rollout_tells_why(client: Any, stub: Stubber) -> None:
    add_service(stub, 2, tag="s:2", rolloutState="FAILED", rolloutStateReason="tasks failed")
    add_revision(stub, 2)
    with pytest.raises(DeployFailed, match="s:2 was not rolled out: tasks failed"):
        Fargate(client).shift("s", "s:2", 100, BEFORE, print)


def test_why_tasks_stopped(client: Any, stub: Stubber) -> None:
    add_service(stub, 2)
    stub.add_response("list_tasks", {"taskArns": ["arn:aws:ecs:eu-west-1:000000000000:task/default/t1"]})
    container = {"reason": "OutOfMemoryError", "exitCode": 137}
    task = {
        "taskArn": "task/default/t1", "taskDefinitionArn": f"{TASK}s:2", "stoppedReason": "Essential container exited",
        "containers": [container],
    }  # fmt: skip
    stub.add_response("describe_tasks", {"tasks": [task]})
    add_revision(stub, 2)
    last = Fargate(client).tail("s", "s:2")[-1]
    assert last == "task t1 stopped: Essential container exited; OutOfMemoryError; exit code 137"
    stub.add_client_error("describe_services", "ServerException", http_status_code=500)
    assert Fargate(client).tail("s", "s:2") == ()


def test_a_secret_needs_a_client_to_find_it(client: Any, stub: Stubber) -> None:
    stub.add_response("list_task_definitions", {"taskDefinitionArns": []})
    stub.add_response("describe_services", {"services": []})
    with pytest.raises(InputError, match="secretsmanager://token: there is no client"):
        Fargate(client).prepare(wanted(environment={"A": "secretsmanager://token"}), None, print)


@pytest.mark.parametrize("code", ["ThrottlingException", "UpdateInProgressException", "ServerException"])
def test_what_may_pass_is_transient(client: Any, stub: Stubber, code: str) -> None:
    stub.add_client_error("describe_services", code, "busy", 400)
    with pytest.raises(TransientError, match=f"reading s: {code}: busy"):
        Fargate(client).observe("s")


def test_asking_at_its_url(client: Any, stub: Stubber) -> None:
    asked: list[tuple[str, str, bytes]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(("POST", self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(201)
            self.end_headers()
            self.wfile.write(b"made")

        def do_GET(self) -> None:
            self.send_error(503)

        def log_message(self, *args: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    tags = [{"key": "triplane:url", "value": f"http://127.0.0.1:{server.server_port}/"}]

    def ask(smoke: Smoke) -> Any:
        task = {"containerDefinitions": [{"image": IMAGE}]}
        stub.add_response("describe_task_definition", {"taskDefinition": task, "tags": tags})
        add_service(stub, 2)
        return Fargate(client).invoke("s", "s:2", smoke)

    try:
        answer = ask(Smoke(payload={"a": 1}, path="/items", method="POST"))
        assert (answer.status, answer.body) == (201, "made")
        assert asked == [("POST", "/items", b'{"a": 1}')]
        assert ask(Smoke()).status == 503
    finally:
        server.shutdown()
        server.server_close()
    assert ask(Smoke(timeout=1)).status == 0
