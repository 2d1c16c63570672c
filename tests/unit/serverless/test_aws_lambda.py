"""Shapes of calls, and errors that no emulator gives; the flow is tested against the sandbox."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError, NoCredentialsError
from botocore.stub import ANY, Stubber

from triplane.core.digest import digest
from triplane.core.errors import InputError, StaleError, TerminalError, TransientError
from triplane.serverless.archive import pack
from triplane.serverless.aws import lambda_code as aws_lambda_code
from triplane.serverless.aws import lambda_settings as aws_lambda_settings
from triplane.serverless.aws.lambda_function import AwsLambda
from triplane.serverless.aws.lambda_settings import code_sha256, package_digest, shares
from triplane.serverless.target import (
    UNKNOWN,
    DeployFailed,
    Desired,
    Observed,
    Ready,
    Smoke,
    Waiting,
    check_options,
)

ZIP = pack({"app.py": (False, b"def handler(event, context): ...")})
HEX = digest(ZIP)
IMAGE = f"1.dkr.ecr.eu-west-1.amazonaws.com/f@sha256:{'0' * 64}"
ROLE = "arn:aws:iam::1:role/r"
ARN = "arn:aws:lambda:eu-west-1:1:function:f"
LIVE = Observed(version="3", artifact="sha256:" + "cd" * 32)
OPTIONS: dict[str, Any] = {"handler": "app.handler", "runtime": "python3.13", "role": ROLE}
STAMP = "triplane c a1"


@pytest.fixture
def client() -> Any:
    return boto3.client("lambda", "eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")


@pytest.fixture
def stub(client: Any) -> Any:
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def wanted(**more: Any) -> Desired:
    values = {
        "name": "f",
        "artifact": HEX,
        "config": "c",
        "package": ZIP,
        "options": OPTIONS,
        "attempt": "a1",
    }
    return Desired(**{**values, **more})


def there(**more: Any) -> dict[str, Any]:
    """``$LATEST`` as an attempt before left it."""
    found = {
        "FunctionArn": ARN,
        "Handler": "app.handler",
        "Runtime": "python3.13",
        "Role": ROLE,
        "Description": "triplane b a0",
        "CodeSha256": code_sha256(HEX),
        "Architectures": ["x86_64"],
        "PackageType": "Zip",
        "RevisionId": "r1",
        "State": "Active",
        "LastUpdateStatus": "Successful",
    }
    return {"Configuration": {**found, **more}, "Tags": {"triplane:digest": HEX}}


def versions(*descriptions: str) -> dict[str, Any]:
    found = [{"Version": "$LATEST", "Description": STAMP}]
    return {
        "Versions": [
            *found,
            *({"Version": str(i), "Description": text} for i, text in enumerate(descriptions, 1)),
        ]
    }


def test_digests_as_lambda_writes_them() -> None:
    assert package_digest(code_sha256(HEX)) == HEX
    assert package_digest("") is None
    assert package_digest("not base64!") is None


@pytest.mark.parametrize(
    ("version", "percent", "before", "result"),
    [
        ("4", 100, "3", "4"),
        ("4", 10, "3", "3=90,4=10"),
        ("5", 10, "3=90,4=10", "3=90,5=10"),
        ("4", 10, "", "4"),
        ("4", 10, "4", "4"),
    ],
)
def test_shares(version: str, percent: int, before: str, result: str) -> None:
    assert shares(version, percent, before) == result
    alias = aws_lambda_settings.routing(result)
    assert aws_lambda_settings.version_of(alias) == result


def test_only_what_differs_is_sent_and_guarded_by_the_revision(client: Any, stub: Stubber) -> None:
    stub.add_response("get_function", there(MemorySize=128))
    stub.add_response("list_versions_by_function", versions())
    stub.add_response(
        "update_function_configuration", {},
        {"FunctionName": "f", "RevisionId": "r1", "Description": STAMP, "MemorySize": 256},
    )  # fmt: skip
    progress = AwsLambda(client).prepare(wanted(options={**OPTIONS, "memory": 256}), LIVE, print)
    assert isinstance(progress, Waiting)


def test_code_is_sent_only_where_it_is_another(client: Any, stub: Stubber) -> None:
    other = there(Description=STAMP, CodeSha256=code_sha256("sha256:" + "cd" * 32))
    stub.add_response("get_function", other)
    stub.add_response("list_versions_by_function", versions())
    stub.add_response(
        "update_function_code", {},
        {"FunctionName": "f", "RevisionId": "r1", "ZipFile": ZIP, "Architectures": ["x86_64"], "Publish": False},
    )  # fmt: skip
    assert isinstance(AwsLambda(client).prepare(wanted(), LIVE, print), Waiting)


def test_a_version_is_published_once(client: Any, stub: Stubber) -> None:
    stub.add_response("get_function", there(Description=STAMP))
    stub.add_response("list_versions_by_function", versions("triplane b a0"))
    stub.add_response(
        "publish_version", {"Version": "2"},
        {"FunctionName": "f", "CodeSha256": code_sha256(HEX), "Description": STAMP, "RevisionId": "r1"},
    )  # fmt: skip
    stub.add_response("get_function_configuration", {"State": "Pending"})
    assert isinstance(AwsLambda(client).prepare(wanted(), LIVE, print), Waiting)
    stub.add_response("get_function", there(Description=STAMP))
    stub.add_response("list_versions_by_function", versions("triplane b a0", STAMP))
    stub.add_response("get_function_configuration", {"State": "Active"})
    assert AwsLambda(client).prepare(wanted(), LIVE, print) == Ready(version="2", details={"alias": "live"})


def test_a_failure_counts_only_if_it_is_of_this_attempt(client: Any, stub: Stubber) -> None:
    failed = {"LastUpdateStatus": "Failed", "LastUpdateStatusReason": "no subnet"}
    stub.add_response("get_function", there(**failed))
    stub.add_response("list_versions_by_function", versions())
    whole = {"Handler": ANY, "Runtime": ANY, "Role": ANY, "Environment": {"Variables": {}}}
    stub.add_response(
        "update_function_configuration",
        {},
        {"FunctionName": "f", "RevisionId": "r1", "Description": STAMP, **whole},
    )
    assert isinstance(AwsLambda(client).prepare(wanted(), LIVE, print), Waiting), (
        "it is made again, as a whole"
    )
    stub.add_response("get_function", there(Description=STAMP, **failed))
    stub.add_response("list_versions_by_function", versions())
    with pytest.raises(DeployFailed, match="did not become ready: no subnet"):
        AwsLambda(client).prepare(wanted(), LIVE, print)


def test_a_version_that_does_not_start(client: Any, stub: Stubber) -> None:
    stub.add_response("get_function", there(Description=STAMP))
    stub.add_response("list_versions_by_function", versions(STAMP))
    answer = {"State": "Failed", "StateReasonCode": "EniLimitExceeded", "StateReason": "no addresses"}
    stub.add_response("get_function_configuration", answer)
    with pytest.raises(DeployFailed, match="version 1 did not become ready: EniLimitExceeded: no addresses"):
        AwsLambda(client).prepare(wanted(), LIVE, print)


@pytest.mark.parametrize(
    ("found", "previous", "message"),
    [
        (None, LIVE, "deleted it"),
        (there(), None, "somebody else created it"),
        (there(Description=STAMP, MemorySize=512), LIVE, "somebody else changed MemorySize"),
    ],
)
def test_what_somebody_else_did_meanwhile(
    client: Any, stub: Stubber, found: Any, previous: Observed | None, message: str
) -> None:
    if found is None:
        stub.add_client_error("get_function", "ResourceNotFoundException", http_status_code=404)
    else:
        stub.add_response("get_function", found)
        if previous:
            stub.add_response("list_versions_by_function", versions())
    with pytest.raises(StaleError, match=message):
        AwsLambda(client).prepare(wanted(options={**OPTIONS, "memory": 256}), previous, print)


def test_a_change_between_reading_and_writing_is_stale(client: Any, stub: Stubber) -> None:
    stub.add_response("get_function", there())
    stub.add_response("list_versions_by_function", versions())
    stub.add_client_error("update_function_configuration", "PreconditionFailedException", "r1", 412)
    stub.add_response("get_function", there(RevisionId="r2"))
    with pytest.raises(StaleError, match="somebody else changed it"):
        AwsLambda(client).prepare(wanted(), LIVE, print)


def test_a_call_that_boto3_has_repeated_by_itself_is_not_taken_for_somebody_else(
    client: Any, stub: Stubber
) -> None:
    stub.add_response("get_function", there())
    stub.add_response("list_versions_by_function", versions())
    stub.add_client_error("update_function_configuration", "PreconditionFailedException", "r1", 412)
    stub.add_response("get_function", there(Description=STAMP, RevisionId="r2"))
    assert isinstance(AwsLambda(client).prepare(wanted(), LIVE, print), Waiting)
    stub.add_response("get_alias", {"FunctionVersion": "3", "RevisionId": "r7"})
    stub.add_client_error("update_alias", "PreconditionFailedException", "r7", 412)
    stub.add_response("get_alias", {"FunctionVersion": "4", "RevisionId": "r8"})
    assert isinstance(AwsLambda(client).shift("f", "4", 100, LIVE, print), Ready)
    stub.add_response("get_alias", {"FunctionVersion": "3", "RevisionId": "r7"})
    stub.add_client_error("update_alias", "PreconditionFailedException", "r7", 412)
    stub.add_response("get_alias", {"FunctionVersion": "5", "RevisionId": "r8"})
    with pytest.raises(StaleError, match="somebody moved live"):
        AwsLambda(client).shift("f", "4", 100, LIVE, print)


def test_a_young_role_is_waited_for_but_not_for_ever(client: Any, stub: Stubber) -> None:
    message = "The role defined for the function cannot be assumed by Lambda."
    now = [100.0]
    target = AwsLambda(client, clock=lambda: now[0])
    for _ in range(2):
        stub.add_client_error("get_function", "ResourceNotFoundException")
        stub.add_client_error("create_function", "InvalidParameterValueException", message, 400)
    progress = target.prepare(wanted(), None, print)
    assert isinstance(progress, Waiting)
    assert progress.why == "f: Lambda cannot assume its role yet"
    now[0] += 31
    with pytest.raises(InputError, match="cannot be assumed"):
        target.prepare(wanted(), None, print)


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("TooManyRequestsException", 429, TransientError),
        ("ResourceConflictException", 409, TransientError),
        ("ServiceException", 500, TransientError),
        ("SomethingNew", 503, TransientError),
        ("ExpiredTokenException", 403, TransientError),
        ("AccessDeniedException", 403, TerminalError),
        ("InvalidParameterValueException", 400, InputError),
    ],
)
def test_errors(client: Any, stub: Stubber, code: str, status: int, kind: type[Exception]) -> None:
    stub.add_client_error("get_function", code, "told", status)
    with pytest.raises(kind, match=f"reading f: {code}: told"):
        AwsLambda(client).observe("f")


def test_no_network_is_transient_and_no_credentials_are_not(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem: list[Exception] = [EndpointConnectionError(endpoint_url="https://lambda"), NoCredentialsError()]

    def refuse(**kwargs: Any) -> None:
        raise problem.pop(0)

    monkeypatch.setattr(client, "get_function", refuse)
    with pytest.raises(TransientError, match="reading f"):
        AwsLambda(client).observe("f")
    with pytest.raises(TerminalError, match="complete the AWS connection"):
        AwsLambda(client).observe("f")


def test_a_function_without_the_alias_serves_nothing(client: Any, stub: Stubber) -> None:
    stub.add_response("get_function", there(Description="by hand"))
    stub.add_client_error("get_alias", "ResourceNotFoundException")
    observed = AwsLambda(client).observe("f")
    assert observed is not None
    assert (observed.version, observed.config, observed.options["url"]) == ("", None, "none")


def policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Policy": json.dumps({"Statement": statements})}


def statement(sid: str, principal: Any, action: str = "lambda:InvokeFunction", **more: Any) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Principal": principal, "Action": action, **more}


def test_access_as_aws_gives_it_back(client: Any, stub: Stubber) -> None:
    source = {"Condition": {"ArnLike": {"AWS:SourceArn": "arn:aws:events:x"}}}
    odd = {"Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}}
    stub.add_response("get_function", there())
    stub.add_response("get_alias", {"FunctionVersion": "3"})
    stub.add_response(
        "get_policy",
        policy(
            statement("a", {"Service": "events.amazonaws.com"}, **source),
            statement("b", {"AWS": "arn:aws:iam::123456789012:root"}),
            statement("c", "*", **odd),
            statement("triplane-url", "*", "lambda:InvokeFunctionUrl"),
            statement("triplane-url-invoke", "*"),
        ),
    )
    address = f"https://{'u' * 32}.lambda-url.eu-west-1.on.aws/"
    times = {"CreationTime": "t", "LastModifiedTime": "t"}
    url = {"FunctionUrl": address, "AuthType": "NONE", "FunctionArn": f"{ARN}:live", **times}
    stub.add_response("get_function_url_config", url)
    stub.add_response("get_function", there(Description=STAMP))
    observed = AwsLambda(client).observe("f")
    assert observed is not None
    assert (observed.version, observed.config, observed.options["url"]) == ("3", "c", "public")
    assert observed.options["invokers"] == [
        "* (with conditions)",
        "123456789012",
        "events.amazonaws.com arn:aws:events:x",
    ]


def test_no_call_where_the_alias_leads_there_already(client: Any, stub: Stubber) -> None:
    stub.add_response("get_alias", {"FunctionVersion": "4"})
    assert AwsLambda(client).shift("f", "4", 100, LIVE, print).version == "4"  # type: ignore[union-attr]


def test_a_share_is_a_weight(client: Any, stub: Stubber) -> None:
    stub.add_response("get_alias", {"FunctionVersion": "3", "RevisionId": "r7"})
    stub.add_response(
        "update_alias", {},
        {
            "FunctionName": "f", "Name": "live", "FunctionVersion": "3", "RevisionId": "r7",
            "RoutingConfig": {"AdditionalVersionWeights": {"4": 0.1}},
        },
    )  # fmt: skip
    AwsLambda(client).shift("f", "4", 10, LIVE, print)


def test_a_share_needs_something_to_share_with(client: Any, stub: Stubber) -> None:
    with pytest.raises(InputError, match="nothing serves"):
        AwsLambda(client).shift("f", "4", 10, None, print)


def test_split_traffic_is_not_verified(client: Any, stub: Stubber) -> None:
    weights = {"AdditionalVersionWeights": {"2": 0.1}}
    stub.add_response("get_function", there())
    stub.add_response("get_alias", {"FunctionVersion": "4", "RoutingConfig": weights})
    stub.add_client_error("get_policy", "ResourceNotFoundException")
    stub.add_client_error("get_function_url_config", "ResourceNotFoundException")
    stub.add_response("get_function", there())
    with pytest.raises(DeployFailed, match="part of its traffic"):
        AwsLambda(client).verify(wanted(), "4")


@pytest.mark.parametrize("payload", [None, {"a": 1}])
def test_a_version_that_cannot_run_answers_502(client: Any, stub: Stubber, payload: Any) -> None:
    stub.add_client_error("invoke", "InvalidRuntimeException", "no such runtime", 502)
    answer = AwsLambda(client).invoke("f", "4", Smoke(payload=payload))
    assert answer.status == 502
    assert "no such runtime" in answer.log[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"options": {"handler": "h"}}, "needs role, runtime"),
        ({"options": {**OPTIONS, "role": UNKNOWN}}, "role is not known yet"),
        ({"environment": {"A": UNKNOWN}}, "environment A is not known yet"),
        ({"options": {**OPTIONS, "url": "open"}}, "none of none, aws_iam, public"),
        ({"options": {**OPTIONS, "architecture": "x86"}}, "none of x86_64, arm64"),
        ({"options": {**OPTIONS, "subnets": ["s"]}}, "go together"),
        ({"options": {**OPTIONS, "layers": "arn"}}, "should be a list"),
        ({"options": {**OPTIONS, "invokers": ["me"]}}, "no service, account or ARN"),
        ({"options": {**OPTIONS, "invokers": ["arn:aws:iam::123456789012:root"]}}, "write 123456789012"),
        ({"package": None, "artifact": IMAGE}, "has no handler, runtime"),
        ({"package": None, "artifact": "f:1", "options": {"role": ROLE}}, "no image with its digest"),
        ({"artifact": "sha256:" + "0" * 64}, "the package is sha256:.*, not sha256:0000"),
        ({"package": b"zip", "artifact": digest(b"zip")}, "no zip archive"),
    ],
)
def test_what_cannot_be_deployed_is_refused_before_any_call(
    client: Any, stub: Stubber, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        AwsLambda(client).prepare(wanted(**change), None, print)


def test_limits_name_the_biggest_files(client: Any, stub: Stubber, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pack({"model.bin": (False, b"x" * 3_000_000), "app.py": (False, b"")})
    large = wanted(package=data, artifact=digest(data))
    monkeypatch.setattr(aws_lambda_code, "UPLOAD_LIMIT", 1 << 20)
    with pytest.raises(InputError, match=r"give the option `bucket`.*largest: model.bin 2.9 MiB"):
        AwsLambda(client).prepare(large, None, print)
    monkeypatch.setattr(aws_lambda_code, "UNZIPPED_LIMIT", 2 << 20)
    with pytest.raises(InputError, match=r"holds 3 MiB, and 2 are allowed.*largest: model.bin"):
        AwsLambda(client).prepare(large, None, print)


def test_platforms_of_runtimes() -> None:
    assert aws_lambda_code.platforms("nodejs22.x") is None
    found = aws_lambda_code.platforms("python3.11", "arm64")
    assert found is not None
    assert (found[0][0], found[0][-1], found[1]) == (
        "manylinux_2_26_aarch64",
        "manylinux2014_aarch64",
        "3.11",
    )
    newer = aws_lambda_code.platforms("python3.13")
    assert newer is not None
    assert newer[0][0] == "manylinux_2_34_x86_64"


def test_options_are_checked_by_name() -> None:
    check_options(AwsLambda(None), wanted())
    with pytest.raises(InputError, match="port not known here"):
        check_options(AwsLambda(None), wanted(options={"port": 1}))


def test_no_secret_is_in_what_is_logged(client: Any, stub: Stubber) -> None:
    lines: list[str] = []
    stub.add_client_error("get_function", "ResourceNotFoundException")
    stub.add_response("create_function", {})
    AwsLambda(client).prepare(wanted(environment={"TOKEN": "planted-secret"}), None, lines.append)
    assert lines == ["f: creating the function"]
