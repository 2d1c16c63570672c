"""The Lambda target against the sandbox's AWS."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from cryptography.fernet import Fernet

from tests.e2e.serverless_steps import Breaking, drive
from tests.few import few
from triplane import settings
from triplane.core.digest import digest
from triplane.core.errors import InputError, StaleError, TransientError
from triplane.serverless.aws.lambda_function import AwsLambda
from triplane.serverless.deployment import SMOKES, Attempt
from triplane.serverless.drift_operators import ServerlessDriftBatchOperator
from triplane.serverless.operators import ServerlessDeployOperator, ServerlessPlanOperator
from triplane.serverless.package import build
from triplane.serverless.target import DeployFailed, Desired, Observed, Ready, Smoke, difference, plan
from triplane.serverless.traffic import Traffic

EXAMPLE = Path(__file__).parents[2] / "examples/streaming-platform/functions/webhook-lambda"
ROLE = "arn:aws:iam::000000000000:role/webhook-test"
REGION = "eu-west-1"
CODE = "import os\ndef handler(event, context):\n    print('seen', event)\n    return {{'it': os.environ['WORD'], 'n': {}}}\n"
BROKEN = "import logging\ndef handler(event, context):\n    logging.error('it gets full')\n    raise OSError('disk {}')\n"
BREAKS = ("killed before", "killed after", "answer lost")
FAULTS = {
    "ThrottlingException": 429,
    "ServiceException": 500,
    "ExpiredTokenException": 403,
}


def client_of(service: str) -> Any:
    from triplane.clouds import aws

    return aws.client(service, "aws_default", REGION)


@pytest.fixture
def client(cloud_env: dict[str, str]) -> Any:
    iam = client_of("iam")
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    try:
        iam.create_role(RoleName="webhook-test", AssumeRolePolicyDocument=document)
    except iam.exceptions.EntityAlreadyExistsException:
        pass
    return client_of("lambda")


@pytest.fixture
def target(client: Any) -> AwsLambda:
    return AwsLambda(client, logs=client_of("logs"))


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Another one in each run: a sandbox may serve several."""
    plain = "".join(c if c.isalnum() else "-" for c in request.node.name)[:40].strip("-")
    return f"{plain}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def wanted(name: str, tmp_path: Path) -> Callable[..., Desired]:
    """Makes what shall run; each one is another attempt."""
    made = iter(range(1, 100))

    def make(number: int = 1, code: str = CODE, word: str = "hello", **options: Any) -> Desired:
        folder = tmp_path / "function"
        folder.mkdir(exist_ok=True)
        (folder / "app.py").write_text(code.format(number))
        package = build(folder)
        given = {
            "handler": "app.handler",
            "runtime": "python3.13",
            "role": ROLE,
            "memory": 256,
            "timeout": 30,
        }
        count = next(made)
        return Desired(
            name=name,
            artifact=package.digest,
            config=f"sha256:c{number}{word}{len(options)}",
            package=package.data,
            environment={"WORD": word},
            options={**given, **options},
            revision="0123abc",
            attempt=f"{count:016x}",
        )

    return make


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    path = tmp_path / "changed"
    path.mkdir()
    (path / "app.py").write_text((EXAMPLE / "app.py").read_text() + "\n# changed\n")
    return path


def deploy(target: AwsLambda, what: Desired, **options: Any) -> Attempt:
    return drive(lambda: target, what, target.observe(what.name), **options)


def live(target: AwsLambda, name: str) -> Observed:
    observed = target.observe(name)
    assert observed is not None
    return observed


def versions(client: Any, name: str) -> list[str]:
    return [each["Version"] for each in client.list_versions_by_function(FunctionName=name)["Versions"]][1:]


Wanted = Callable[..., Desired]


def test_create_then_nothing_then_update_then_delete(
    target: AwsLambda, client: Any, name: str, wanted: Wanted
) -> None:
    first = wanted()
    assert target.observe(name) is None
    assert deploy(target, first).serves == "1"
    observed = live(target, name)
    assert difference(first, observed) == ()
    tags = client.get_function(FunctionName=name)["Tags"]
    assert tags == {"triplane:commit": "0123abc", "triplane:digest": first.artifact}

    second = wanted(2, word="bye")
    change = plan("aws/function/w", second, observed)
    assert change.lines == (f"code: {first.artifact} -> {second.artifact}", "environment WORD: changed")
    assert deploy(target, second).serves == "2"
    assert difference(second, live(target, name)) == ()
    assert versions(client, name) == ["1", "2"]
    assert deploy(target, wanted(2, word="again")).serves == "3", "a configuration alone is a new version"

    assert target.delete(name) == Ready(version="")
    assert target.observe(name) is None
    assert target.delete(name) == Ready(version="")


def test_code_that_runs_is_asked_before_it_serves(target: AwsLambda, name: str, wanted: Wanted) -> None:
    smoke = Smoke(payload={"n": 1}, contains='"it": "hello"')
    assert deploy(target, wanted(), smoke=smoke).serves == "1"
    lines: list[str] = []
    broken = wanted(2, code=BROKEN)
    attempt = deploy(target, broken, smoke=smoke, log=lines.append)
    assert (attempt.serves, attempt.failed) == ("1", "the smoke test of 2 failed: it answered 500, not 200")
    assert any("OSError: disk 2" in line for line in lines)
    said = target.tail(name, "2")
    assert any("OSError: disk 2" in line for line in said)
    assert any(line.startswith("[ERROR]") and line.endswith("it gets full") for line in said)
    assert live(target, name).version == "1"
    assert target.tail("no-such-function", "1") == ()


def test_canary(target: AwsLambda, client: Any, name: str, wanted: Wanted) -> None:
    deploy(target, wanted())
    seen: list[str] = []
    real = target.shift

    def shift(*args: Any) -> Any:
        found = real(*args)
        seen.append(live(target, name).version)
        return found

    target.shift = shift  # type: ignore[method-assign]
    traffic = Traffic(strategy="canary", steps=(10, 50), wait=0)
    attempt = deploy(target, wanted(2), traffic=traffic, smoke=Smoke(contains='"n": 2'))
    assert seen == ["1=90,2=10", "1=50,2=50", "2"]
    assert attempt.serves == "2"


def test_a_canary_that_fails_goes_back(target: AwsLambda, name: str, wanted: Wanted) -> None:
    before = wanted(invokers=["s3.amazonaws.com"], url="aws_iam", reserved_concurrency=5)
    deploy(target, before)
    asked: list[str] = []
    real = target.invoke

    def invoke(name: str, version: str, smoke: Smoke) -> Any:
        asked.append(version)
        answer = real(name, version, smoke)
        return replace(answer, status=answer.status if len(asked) == 1 else 500)

    target.invoke = invoke  # type: ignore[method-assign]
    traffic = Traffic(strategy="canary", wait=0)
    after = wanted(2, invokers=["sns.amazonaws.com"], url="public", reserved_concurrency=3)
    attempt = deploy(target, after, traffic=traffic, smoke=Smoke(contains="it"))
    assert (attempt.serves, live(target, name).version) == ("1", "1")
    assert difference(before, live(target, name)) == (), "with what is not part of a version"


def test_an_update_that_fails_leaves_what_served(
    target: AwsLambda, client: Any, name: str, wanted: Wanted
) -> None:
    deploy(target, wanted())
    broken = wanted(2, subnets=["subnet-none"], security_groups=["sg-none"])
    attempt = deploy(target, broken)
    assert "InvalidSubnet: The subnet ID 'subnet-none' does not exist" in attempt.failed
    assert (attempt.serves, versions(client, name)) == ("1", ["1"])
    latest = client.get_function_configuration(FunctionName=name)
    assert latest["VpcConfig"].get("SubnetIds", []) == []


def test_what_an_earlier_attempt_left_broken_is_done_again(
    target: AwsLambda, client: Any, name: str, wanted: Wanted
) -> None:
    deploy(target, wanted())
    subnet = {"SubnetIds": ["subnet-none"], "SecurityGroupIds": ["sg-none"]}
    client.update_function_configuration(FunctionName=name, Description="triplane x 00", VpcConfig=subnet)
    assert deploy(target, wanted(2, subnets=[], security_groups=[])).serves == "2"


def test_a_creation_that_fails_leaves_nothing(target: AwsLambda, name: str, wanted: Wanted) -> None:
    attempt = deploy(target, wanted(subnets=["subnet-none"], security_groups=["sg-none"]))
    assert "InvalidSubnet" in attempt.failed
    assert attempt.serves == ""
    assert target.observe(name) is None


def test_a_version_that_hangs_fails_its_smoke_test(target: AwsLambda, name: str, wanted: Wanted) -> None:
    from triplane.clouds import aws

    sent: list[str] = []

    def asking(seconds: float) -> Any:
        once = aws.client("lambda", "aws_default", REGION, patience=seconds)
        once.meta.events.register("before-send", lambda request, **_: sent.append(request.url))
        return once

    deploy(target, wanted())
    asked = AwsLambda(client_of("lambda"), logs=client_of("logs"), asking=asking)
    hangs = "import time\ndef handler(event, context):\n    time.sleep(20)\n    return {}\n"
    attempt = deploy(asked, wanted(2, hangs), smoke=Smoke(timeout=0.5))
    assert attempt.failed == "the smoke test of 2 failed: it did not answer: no answer in 0.5 s"
    assert attempt.serves == "1"
    assert len(sent) == SMOKES, "boto3 repeats no call by itself"


def test_a_function_that_somebody_else_made_is_not_removed(
    target: AwsLambda, client: Any, name: str, wanted: Wanted
) -> None:
    what = wanted()
    client.create_function(
        FunctionName=name, Role=ROLE, Handler="h.h", Runtime="python3.13", Code={"ZipFile": what.package}
    )
    with pytest.raises(StaleError, match="somebody else created it"):
        drive(lambda: target, what, None)
    assert client.get_function(FunctionName=name)["Configuration"]["Handler"] == "h.h"


def test_an_alias_moved_meanwhile_is_not_overwritten_by_a_step(
    target: AwsLambda, client: Any, name: str, wanted: Wanted
) -> None:
    for number in (1, 2):
        deploy(target, wanted(number))
    observed = live(target, name)
    client.update_alias(FunctionName=name, Name="live", FunctionVersion="1")
    with pytest.raises(StaleError, match="moved live to 1"):
        target.shift(name, "3", 100, observed, print)
    with pytest.raises(DeployFailed, match="version 1 serves, not 2"):
        target.verify(wanted(2), "2")


def test_what_somebody_else_deploys_meanwhile_stays(
    target: AwsLambda, client: Any, name: str, wanted: Wanted
) -> None:
    for number in (1, 2):
        deploy(target, wanted(number))
    observed = live(target, name)
    mine = wanted(3)
    real = target.prepare

    def prepare(*args: Any) -> Any:
        found = real(*args)
        if isinstance(found, Ready):
            client.update_alias(FunctionName=name, Name="live", FunctionVersion="1")
        return found

    target.prepare = prepare  # type: ignore[method-assign]
    attempt = drive(lambda: target, mine, observed)
    assert "somebody moved live to 1 meanwhile" in attempt.failed
    assert (attempt.foreign, attempt.serves) == (True, "1")
    assert live(target, name).version == "1"


def test_options_are_read_back_as_they_are_written(
    target: AwsLambda, client: Any, name: str, wanted: Wanted
) -> None:
    ec2 = client_of("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.7.1.0/24")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(VpcId=vpc, GroupName=name[:40], Description="test")["GroupId"]
    layer = client.publish_layer_version(
        LayerName=name[:40], Content={"ZipFile": wanted().package}, CompatibleRuntimes=["python3.13"]
    )["LayerVersionArn"]
    bus = "arn:aws:events:eu-west-1:000000000000:rule/tick"
    what = wanted(
        architecture="arm64", ephemeral_storage=1024, subnets=[subnet], security_groups=[group], layers=[layer],
        reserved_concurrency=5, url="public", invokers=[f"events.amazonaws.com {bus}", "123456789012"],
    )  # fmt: skip
    attempt = deploy(target, what)
    assert attempt.details["url"].startswith("https://")
    assert difference(what, live(target, name)) == ()
    policy = json.loads(client.get_policy(FunctionName=name, Qualifier="live")["Policy"])["Statement"]
    assert len(policy) == 4

    other = wanted(url="aws_iam", invokers=["123456789012"], reserved_concurrency=7, architecture="x86_64")
    deploy(target, other)
    assert difference(other, live(target, name)) == ()
    client.add_permission(
        FunctionName=name, Qualifier="live", StatementId="hand", Action="lambda:InvokeFunction",
        Principal="s3.amazonaws.com",
    )  # fmt: skip
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    client.delete_function_url_config(FunctionName=name, Qualifier="live")
    lines = difference(other, live(target, name))
    assert [line.partition(":")[0] for line in lines] == ["invokers", "reserved_concurrency", "url"]
    deploy(target, other)
    assert difference(other, live(target, name)) == ()


def test_what_is_not_part_of_a_version_is_put_back_too(target: AwsLambda, name: str, wanted: Wanted) -> None:
    before = wanted(invokers=["s3.amazonaws.com"], url="aws_iam")
    deploy(target, before)
    after = wanted(2, invokers=["sns.amazonaws.com"], url="public", reserved_concurrency=3)
    attempt = deploy(target, after, smoke=Smoke(contains="never"))
    assert attempt.serves == "1"
    assert difference(before, live(target, name)) == ()
    assert "reserved_concurrency" not in live(target, name).options


def test_a_split_made_by_hand_is_put_back(target: AwsLambda, client: Any, name: str, wanted: Wanted) -> None:
    for number in (1, 2):
        deploy(target, wanted(number))
    weights = {"AdditionalVersionWeights": {"1": 0.25}}
    client.update_alias(FunctionName=name, Name="live", FunctionVersion="2", RoutingConfig=weights)
    assert live(target, name).version == "2=75,1=25"
    attempt = deploy(target, wanted(3), smoke=Smoke(contains="never"))
    assert (attempt.serves, live(target, name).version) == ("2=75,1=25", "2=75,1=25")
    traffic = Traffic(strategy="canary", wait=0)
    assert deploy(target, wanted(4), traffic=traffic).serves == "4", "and goes over from its larger part"


def test_images(target: AwsLambda, client: Any, name: str) -> None:
    ecr = client_of("ecr")
    repository = name[:40]
    uri = ecr.create_repository(repositoryName=repository)["repository"]["repositoryUri"]

    def push(tag: str) -> str:
        config = {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "size": 2,
            "digest": f"sha256:{tag * 64}",
        }
        manifest = {
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config,
            "layers": [],
        }  # fmt: skip
        text = json.dumps(manifest)
        known = digest(text.encode())
        ecr.put_image(repositoryName=repository, imageTag=tag, imageManifest=text, imageDigest=known)
        return f"{uri}@{known}"

    one, two = push("a"), push("b")
    values: dict[str, Any] = {"name": name, "config": "sha256:c", "options": {"role": ROLE}}
    first = Desired(**values, artifact=one, attempt="a1")
    assert deploy(target, first).serves == "1"
    assert difference(first, live(target, name)) == ()
    second = Desired(**values, artifact=two, attempt="a2")
    assert deploy(target, second).serves == "2"
    gone = Desired(**values, artifact=f"{uri}@sha256:{'0' * 64}", attempt="a3")
    attempt = deploy(target, gone)
    assert "does not exist" in attempt.failed
    assert (attempt.serves, live(target, name).artifact) == ("2", two)
    package = build(EXAMPLE)
    zipped = {"handler": "app.handler", "runtime": "python3.13", "role": ROLE}
    what = replace(first, package=package.data, artifact=package.digest, options=zipped, attempt="a4")
    with pytest.raises(InputError, match="cannot turn a function of type Image into Zip"):
        target.prepare(what, live(target, name), print)


def test_a_large_package_goes_through_s3(
    client: Any, name: str, wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triplane.serverless.aws.lambda_code.UPLOAD_LIMIT", 10)
    target = AwsLambda(client, s3=client_of("s3"))
    what = wanted(bucket="streaming-builds")
    assert deploy(target, what).serves == "1"
    assert difference(what, live(target, name)) == ()
    with pytest.raises(InputError, match=r"give the option `bucket`.*largest: app\.py"):
        target.prepare(wanted(), None, print)


@pytest.mark.parametrize("how", few(BREAKS, ["killed after"]))
def test_whenever_it_is_cut_off_it_comes_to_the_same_end(
    client: Any, name: str, wanted: Wanted, how: str
) -> None:
    options = {"url": "public", "invokers": ["s3.amazonaws.com"], "reserved_concurrency": 2}
    breaking = Breaking(how)

    def make() -> AwsLambda:
        return AwsLambda(breaking.into(client_of("lambda")))

    steady = AwsLambda(client)
    first = wanted(**options)
    assert drive(make, first, None, log=print).serves == "1"
    assert difference(first, live(steady, name)) == ()
    breaking.broken.clear()
    traffic = Traffic(strategy="canary", wait=0)
    second = wanted(2, **{**options, "invokers": ["sns.amazonaws.com"], "url": "aws_iam"})
    assert drive(make, second, live(steady, name), traffic=traffic).serves == "2"
    assert difference(second, live(steady, name)) == ()
    breaking.broken.clear()
    third = wanted(3, subnets=["subnet-none"], security_groups=["sg-none"])
    attempt = drive(make, third, live(steady, name))
    assert attempt.serves == "2"
    assert difference(second, live(steady, name)) == ()
    assert versions(client, name) == ["1", "2"], "nothing was published twice"
    assert breaking.calls["CreateFunction"] <= 2
    policy = json.loads(client.get_policy(FunctionName=name, Qualifier="live")["Policy"])["Statement"]
    assert len(policy) == 1


@pytest.mark.parametrize("code", few(FAULTS, ["ThrottlingException"]))
def test_faults_are_transient_and_a_repeat_comes_to_the_same_end(
    client: Any, name: str, wanted: Wanted, code: str
) -> None:
    breaking = Breaking(code, FAULTS[code])

    def make() -> AwsLambda:
        return AwsLambda(breaking.into(client_of("lambda")))

    with pytest.raises(TransientError, match="run out" if "Expired" in code else code):
        make().observe(name)
    what = wanted(url="public", invokers=["s3.amazonaws.com"], reserved_concurrency=2)
    assert drive(make, what, None).serves == "1"
    assert difference(what, live(AwsLambda(client), name)) == ()
    breaking.broken.clear()
    broken = wanted(2, subnets=["subnet-none"], security_groups=["sg-none"])
    assert drive(make, broken, live(AwsLambda(client), name)).serves == "1"
    assert versions(client, name) == ["1"]
    assert breaking.calls["CreateFunction"] == breaking.calls["PublishVersion"] == 1


def test_credentials_that_are_wrong_are_told(cloud_env: dict[str, str]) -> None:
    breaking = Breaking("UnrecognizedClientException", 403)
    with pytest.raises(Exception, match="UnrecognizedClientException") as error:
        AwsLambda(breaking.into(client_of("lambda"))).observe("f")
    assert not isinstance(error.value, TransientError)


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
        batch = ServerlessDriftBatchOperator(task_id="t", components=[{**function, **more}, other])
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
    assert (gone["state"], gone["resources"][0]["action"]) == ("missing", "delete")
