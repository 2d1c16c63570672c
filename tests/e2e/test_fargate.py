"""The Fargate target against the sandbox's AWS."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.e2e.serverless_steps import Breaking, drive
from tests.few import few
from triplane.core.digest import digest
from triplane.core.errors import InputError, StaleError, TerminalError, TransientError
from triplane.serverless.aws.fargate import Fargate
from triplane.serverless.deployment import Attempt, Deployment
from triplane.serverless.target import (
    Desired,
    Observed,
    Ready,
    Smoke,
    Waiting,
    check_options,
    difference,
    plan,
)
from triplane.serverless.traffic import Traffic

REGION, CLUSTER = "eu-west-1", "services"
ROLE = "arn:aws:iam::000000000000:role/execution"
FAULTS = {"ThrottlingException": 400, "ServerException": 500, "ExpiredTokenException": 400}
Wanted = Callable[..., Desired]


def client_of(service: str) -> Any:
    from triplane.clouds import aws

    return aws.client(service, "aws_default", REGION)


@pytest.fixture
def client(cloud_env: dict[str, str]) -> Any:
    ecs = client_of("ecs")
    ecs.create_cluster(clusterName=CLUSTER)
    return ecs


@pytest.fixture
def target(client: Any) -> Fargate:
    return Fargate(client, cluster=CLUSTER, secrets=client_of("secretsmanager"), logs=client_of("logs"))


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Another one in each run: a sandbox may serve several."""
    plain = "".join(c if c.isalnum() else "-" for c in request.node.name)[:30].strip("-")
    return f"{plain}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def network(client: Any, name: str) -> dict[str, Any]:
    ec2 = client_of("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.8.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.8.{number}.0/24")["Subnet"]["SubnetId"]
        for number in (1, 2)
    ]
    group = ec2.create_security_group(VpcId=vpc, GroupName=name, Description="test")["GroupId"]
    return {"subnets": subnets, "security_groups": [group]}


@pytest.fixture
def images(client: Any, name: str) -> Callable[[str], str]:
    ecr = client_of("ecr")
    uri = ecr.create_repository(repositoryName=name)["repository"]["repositoryUri"]

    def push(tag: str) -> str:
        """One that can be pulled; none is pushed for ``broken``."""
        if tag == "broken":
            return f"{uri}@sha256:{'0' * 64}"
        media = "application/vnd.oci.image.manifest.v1+json"
        config = {"mediaType": "application/vnd.oci.image.config.v1+json", "size": 2, "digest": digest(tag)}
        manifest = {"schemaVersion": 2, "mediaType": media, "config": config, "layers": []}
        text = json.dumps(manifest)
        known = digest(text.encode())
        ecr.put_image(repositoryName=name, imageTag=tag, imageManifest=text, imageDigest=known)
        return f"{uri}@{known}"

    return push


@pytest.fixture
def wanted(name: str, network: dict[str, Any], images: Callable[[str], str]) -> Wanted:
    """Makes what shall run; each one is another attempt."""
    made = iter(range(1, 100))
    pushed: dict[str, str] = {}

    def make(tag: str = "one", environment: dict[str, str] | None = None, **options: Any) -> Desired:
        pushed[tag] = pushed.get(tag) or images(tag)
        given = {
            "cpu": 256,
            "memory": 512,
            "port": 8080,
            "execution_role": ROLE,
            "cluster": CLUSTER,
            **network,
        }
        return Desired(
            name=name,
            artifact=pushed[tag],
            config=digest([tag, environment, options]),
            environment=environment if environment is not None else {"WORD": "hello"},
            options={**given, **options},
            revision="0123abc",
            attempt=f"{next(made):016x}",
        )

    return make


def deploy(target: Fargate, what: Desired, **options: Any) -> Attempt:
    return drive(lambda: target, what, target.observe(what.name), **options)


def live(target: Fargate, name: str) -> Observed:
    observed = target.observe(name)
    assert observed is not None
    return observed


def gone(target: Fargate, name: str) -> None:
    import time

    while isinstance(target.delete(name), Waiting):
        time.sleep(0.1)


def revisions(client: Any, name: str) -> list[str]:
    arns = client.list_task_definitions(familyPrefix=name)["taskDefinitionArns"]
    return [arn.rpartition(":")[2] for arn in arns]


def test_create_then_nothing_then_update_then_delete(
    target: Fargate, client: Any, name: str, wanted: Wanted
) -> None:
    first = wanted(desired_count=2)
    check_options(target, first)
    assert target.observe(name) is None
    attempt = deploy(target, first, traffic=Traffic(strategy="canary", wait=0))
    assert attempt.serves == f"{name}:1", "it cannot share traffic, so it takes over at once"
    observed = live(target, name)
    assert difference(first, observed) == ()
    service = client.describe_services(cluster=CLUSTER, services=[name], include=["TAGS"])["services"][0]
    assert service["deploymentConfiguration"]["deploymentCircuitBreaker"] == {
        "enable": True,
        "rollback": True,
    }
    tags = {each["key"]: each["value"] for each in service["tags"]}
    assert tags["triplane:commit"] == "0123abc"
    assert tags["triplane:digest"] == first.artifact

    second = wanted("two", {"WORD": "bye"}, desired_count=2, memory=1024)
    lines = plan("aws/service/s", second, observed).lines
    assert lines == (
        f"code: {first.artifact} -> {second.artifact}", "memory: 512 -> 1024", "environment WORD: changed",
    )  # fmt: skip
    assert deploy(target, second).serves == f"{name}:2"
    assert difference(second, live(target, name)) == ()
    gone(target, name)
    assert target.observe(name) is None
    assert target.delete(name) == Ready(version="")
    assert deploy(target, wanted()).serves == f"{name}:3", "and it can be made again"


def test_a_rollout_is_waited_for(target: Fargate, name: str, wanted: Wanted) -> None:
    what = wanted()
    prepared = target.prepare(what, None, print)
    assert prepared == target.prepare(what, None, print), "registered once"
    version = prepared.version  # type: ignore[union-attr]
    assert isinstance(target.shift(name, version, 100, None, print), Waiting)
    waiting = target.shift(name, version, 100, None, print)
    assert isinstance(waiting, Waiting)
    assert waiting.why == f"{name}:1 is being rolled out: 0 of 1 tasks run"


def test_an_update_whose_tasks_do_not_start_is_taken_back(
    target: Fargate, client: Any, name: str, wanted: Wanted
) -> None:
    first = wanted()
    deploy(target, first)
    lines: list[str] = []
    attempt = deploy(target, wanted("broken", memory=2048), log=lines.append)
    assert "circuit breaker" in attempt.failed
    assert attempt.serves == f"{name}:1"
    assert difference(first, live(target, name)) == ()
    assert any("CannotPullContainerError" in line for line in lines), "and it is said why"
    assert deploy(target, wanted("two")).serves == f"{name}:3"


def test_a_creation_that_fails_leaves_nothing(target: Fargate, name: str, wanted: Wanted) -> None:
    attempt = deploy(target, wanted("broken"))
    assert "tasks failed to start" in attempt.failed
    assert attempt.serves == ""
    assert target.observe(name) is None


def test_what_hands_changed_is_seen_and_repaired(
    target: Fargate, client: Any, name: str, wanted: Wanted, network: dict[str, Any]
) -> None:
    what = wanted(desired_count=1, public_ip=False, minimum_healthy_percent=50, maximum_percent=150)
    deploy(target, what)
    awsvpc = {
        "subnets": network["subnets"][:1], "securityGroups": network["security_groups"],
        "assignPublicIp": "ENABLED",
    }  # fmt: skip
    client.update_service(
        cluster=CLUSTER, service=name, desiredCount=5, networkConfiguration={"awsvpcConfiguration": awsvpc},
        deploymentConfiguration={"maximumPercent": 200, "minimumHealthyPercent": 100},
    )  # fmt: skip
    lines = difference(what, live(target, name))
    changed = ["desired_count", "maximum_percent", "minimum_healthy_percent", "public_ip", "subnets"]
    assert [line.partition(":")[0] for line in lines] == changed
    broken = deploy(target, wanted("broken", desired_count=1))
    assert broken.serves == f"{name}:1"
    restored = live(target, name)
    assert [line.partition(":")[0] for line in difference(what, restored)] == changed, (
        "what served is put back"
    )
    again = replace(what, attempt="f" * 16)
    assert deploy(target, again).serves == f"{name}:3"
    assert difference(what, live(target, name)) == ()


def test_everything_is_read_back_as_it_is_written(
    target: Fargate, client: Any, name: str, wanted: Wanted
) -> None:
    client_of("secretsmanager").create_secret(Name=f"{name}/token", SecretString="planted-secret")
    group = "arn:aws:elasticloadbalancing:eu-west-1:000000000000:targetgroup/t/0123456789abcdef"
    environment = {
        "A": f"secretsmanager://{name}/token", "B": f"secretsmanager://{name}/token/AWSPREVIOUS",
        "C": "ssm://app/word", "D": "ssm://word", "E": "plain",
    }  # fmt: skip
    what = wanted(
        "one", environment, role=ROLE, health_check="wget -q localhost:8080/healthz || exit 1",
        architecture="arm64", log_group="/triplane/services", public_ip=True, target_group=group, desired_count=1,
        url="https://service.invalid",
    )  # fmt: skip
    deploy(target, what)
    assert difference(what, live(target, name)) == ()
    container = client.describe_task_definition(taskDefinition=name)["taskDefinition"][
        "containerDefinitions"
    ][0]
    assert [each["name"] for each in container["secrets"]] == ["A", "B", "C", "D"]
    assert container["secrets"][1]["valueFrom"].endswith("::AWSPREVIOUS:")
    assert container["secrets"][2]["valueFrom"] == "/app/word"


def test_what_somebody_else_does_is_not_overwritten(
    target: Fargate, client: Any, name: str, wanted: Wanted
) -> None:
    deploy(target, wanted())
    observed = live(target, name)
    mine = wanted("two")
    attempt = Attempt(id=mine.attempt, previous=observed, since=time.time())
    prepared, _ = Deployment(target=target, desired=mine).go_on(attempt)
    deploy(target, wanted("three"))
    found, _ = Deployment(target=target, desired=mine).go_on(prepared)
    assert "somebody rolled out" in found.failed
    kept = Attempt.from_json(json.loads(json.dumps(found.to_json())))
    ended, _ = Deployment(target=target, desired=mine).go_on(kept)
    assert (ended.phase, ended.serves) == ("ended", f"{name}:3")
    with pytest.raises(StaleError, match="serves by now"):
        target.prepare(wanted("two"), None, print)


def test_a_service_that_somebody_else_made_is_not_removed(
    target: Fargate, client: Any, name: str, wanted: Wanted, network: dict[str, Any]
) -> None:
    what = wanted()
    target.prepare(what, None, print)
    awsvpc = {"subnets": network["subnets"], "securityGroups": network["security_groups"]}
    client.create_service(
        cluster=CLUSTER, serviceName=name, taskDefinition=f"{name}:1", launchType="FARGATE", desiredCount=1,
        networkConfiguration={"awsvpcConfiguration": awsvpc},
    )  # fmt: skip
    progress = target.restore(name, None, print)
    assert progress == Ready(version=f"{name}:1")


def test_what_cannot_be_asked(target: Fargate, name: str, wanted: Wanted) -> None:
    deploy(target, wanted())
    with pytest.raises(InputError, match="only with the option `url`"):
        target.invoke(name, f"{name}:1", Smoke())
    deploy(target, wanted(url="http://127.0.0.1:9"))
    assert target.invoke(name, f"{name}:2", Smoke()).status == 0
    later = target.prepare(wanted(url="http://127.0.0.1:9"), live(target, name), print)
    with pytest.raises(InputError, match="before it is rolled out"):
        target.invoke(name, later.version, Smoke())  # type: ignore[union-attr]
    with pytest.raises(InputError, match="10 %"):
        target.shift(name, f"{name}:2", 10, live(target, name), print)


def test_another_cluster_is_refused(target: Fargate, client: Any, wanted: Wanted) -> None:
    with pytest.raises(InputError, match="the target is cluster services, and not other"):
        target.prepare(wanted(cluster="other"), None, print)
    with pytest.raises(TerminalError, match="ClusterNotFoundException"):
        Fargate(client, cluster="no-such-cluster").observe("s")


@pytest.mark.parametrize("how", few(["killed before", "killed after", "answer lost"], ["killed before"]))
def test_whenever_it_is_cut_off_it_comes_to_the_same_end(
    client: Any, name: str, wanted: Wanted, how: str
) -> None:
    breaking = Breaking(how)

    def make() -> Fargate:
        return Fargate(breaking.into(client_of("ecs")), cluster=CLUSTER)

    steady = Fargate(client, cluster=CLUSTER)
    first, second = wanted(), wanted("two")
    assert drive(make, first, None).serves == f"{name}:1"
    breaking.broken.clear()
    assert drive(make, second, live(steady, name)).serves == f"{name}:2"
    breaking.broken.clear()
    assert drive(make, wanted("broken"), live(steady, name)).serves == f"{name}:2"
    assert difference(second, live(steady, name)) == ()
    assert revisions(client, name) == ["1", "2", "3"], "nothing was registered twice"
    assert breaking.calls["CreateService"] == 1


@pytest.mark.parametrize("code", few(FAULTS, ["ExpiredTokenException"]))
def test_faults_are_transient_and_a_repeat_comes_to_the_same_end(
    client: Any, name: str, wanted: Wanted, code: str
) -> None:
    breaking = Breaking(code, FAULTS[code])

    def make() -> Fargate:
        return Fargate(breaking.into(client_of("ecs")), cluster=CLUSTER)

    with pytest.raises(TransientError, match="run out" if "Expired" in code else code):
        make().observe(name)
    what = wanted()
    assert drive(make, what, None).serves == f"{name}:1"
    breaking.broken.clear()
    assert drive(make, wanted("broken"), live(Fargate(client, cluster=CLUSTER), name)).serves == f"{name}:1"
    assert difference(what, live(Fargate(client, cluster=CLUSTER), name)) == ()
    assert revisions(client, name) == ["1", "2"]
    assert breaking.calls["CreateService"] == 1
