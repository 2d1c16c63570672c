"""Errors and waits that no emulator gives; the calls themselves are tested against the sandbox."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.stub import Stubber

from triplane.core.errors import InputError, TransientError
from triplane.serverless import aws_lambda
from triplane.serverless.aws_lambda import AwsLambda, _artifact, _code_sha256
from triplane.serverless.target import UNKNOWN, DeployFailed, Desired, Observed

HEX = "sha256:" + "ab" * 32
OTHER = "sha256:" + "cd" * 32
LIVE = Observed(version="3", artifact=OTHER)


@pytest.fixture
def client() -> Any:
    return boto3.client("lambda", "eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")


@pytest.fixture
def stub(client: Any) -> Any:
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def wanted(**more: Any) -> Desired:
    options = {"handler": "app.handler", "runtime": "python3.13", "role": "arn:aws:iam::1:role/r"}
    values = {"name": "f", "artifact": HEX, "config": "c", "package": b"zip", "options": options}
    return Desired(**{**values, **more})


def ready(**more: Any) -> dict[str, Any]:
    return {"State": "Active", "LastUpdateStatus": "Successful", **more}


def add_update(stub: Stubber) -> None:
    stub.add_response("get_function", {"Configuration": ready()})
    stub.add_response("update_function_code", {})
    stub.add_response("get_function", {"Configuration": ready()})
    stub.add_response("update_function_configuration", {})
    stub.add_response("get_function", {"Configuration": ready()})


def test_digests_as_lambda_writes_them() -> None:
    assert _artifact(_code_sha256(HEX)) == HEX
    assert _artifact("") is None
    assert _artifact("not base64!") is None


@pytest.mark.parametrize(
    "code", ["TooManyRequestsException", "ResourceConflictException", "ServiceException"]
)
def test_what_may_pass_is_transient_and_nothing_is_put_back(client: Any, stub: Stubber, code: str) -> None:
    stub.add_response("get_function", {"Configuration": ready()})
    stub.add_client_error("update_function_code", code, "busy", 429)
    with pytest.raises(TransientError, match=f"deploying f: {code}: busy"):
        AwsLambda(client).deploy(wanted(), LIVE, print)


def test_no_network_is_transient(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**kwargs: Any) -> None:
        raise EndpointConnectionError(endpoint_url="https://lambda")

    monkeypatch.setattr(client, "get_function_configuration", refuse)
    with pytest.raises(TransientError, match="reading f"):
        AwsLambda(client).observe("f")


def test_a_version_that_does_not_start_moves_the_alias_back(client: Any, stub: Stubber) -> None:
    add_update(stub)
    stub.add_response("publish_version", {"Version": "4", "CodeSha256": _code_sha256(HEX)})
    stub.add_response("get_function_configuration", {"State": "Failed", "StateReason": "no subnet"})
    stub.add_response("get_alias", {"FunctionVersion": "3"})
    stub.add_response(
        "update_alias",
        {},
        {
            "FunctionName": "f",
            "Name": "live",
            "FunctionVersion": "3",
            "RoutingConfig": {"AdditionalVersionWeights": {}},
        },
    )
    with pytest.raises(DeployFailed, match="did not become ready: no subnet") as error:
        AwsLambda(client).deploy(wanted(), LIVE, print)
    assert error.value.restored == "3"


def test_a_young_role_is_waited_for(client: Any, stub: Stubber, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(aws_lambda.time, "sleep", slept.append)
    message = "The role defined for the function cannot be assumed by Lambda."
    stub.add_client_error("create_function", "InvalidParameterValueException", message)
    stub.add_response("create_function", {})
    stub.add_response("get_function", {"Configuration": ready()})
    stub.add_response("publish_version", {"Version": "1", "CodeSha256": _code_sha256(HEX)})
    stub.add_response("get_function_configuration", ready())
    stub.add_client_error("get_alias", "ResourceNotFoundException")
    stub.add_response("create_alias", {})
    assert AwsLambda(client).deploy(wanted(), None, print).version == "1"
    assert slept == [2.0]


def test_a_function_without_the_alias_serves_nothing(client: Any, stub: Stubber) -> None:
    stub.add_client_error("get_alias", "ResourceNotFoundException")
    stub.add_response(
        "get_function_configuration", {"Version": "$LATEST", "Handler": "h", "Description": "by hand"}
    )
    observed = AwsLambda(client).observe("f")
    assert observed is not None
    assert (observed.version, observed.config, observed.options) == ("", None, {"handler": "h"})


def test_split_traffic_is_found(client: Any, stub: Stubber) -> None:
    weights = {"AdditionalVersionWeights": {"2": 0.1}}
    stub.add_response("get_alias", {"FunctionVersion": "4", "RoutingConfig": weights})
    stub.add_response("get_function_configuration", {"Version": "4"})
    with pytest.raises(DeployFailed, match="part of its traffic"):
        AwsLambda(client).verify(wanted(), aws_lambda.Deployed(version="4"))


def test_split_traffic_is_a_version_of_its_own_and_can_be_put_back(client: Any, stub: Stubber) -> None:
    weights = {"AdditionalVersionWeights": {"2": 0.1}}
    stub.add_response("get_alias", {"FunctionVersion": "4", "RoutingConfig": weights})
    stub.add_response("get_function_configuration", {"Version": "4", "Description": "triplane sha256:c"})
    observed = AwsLambda(client).observe("f")
    assert observed is not None
    assert (observed.version, observed.config) == ("4=90,2=10", None), "without a stamp a plan repairs it"
    stub.add_response("get_alias", {"FunctionVersion": "4"})
    expected = {"FunctionName": "f", "Name": "live", "FunctionVersion": "4", "RoutingConfig": weights}
    stub.add_response("update_alias", {}, expected)
    AwsLambda(client).restore("f", observed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"package": None}, "runs packages"),
        ({"package": b"x" * (aws_lambda.UPLOAD_LIMIT + 1)}, "leave files out"),
        ({"options": {"handler": "h"}}, "needs role, runtime"),
        ({"options": {"handler": "h", "runtime": "r", "role": UNKNOWN}}, "role is not known yet"),
        ({"environment": {"A": UNKNOWN}}, "environment A is not known yet"),
    ],
)
def test_what_cannot_be_deployed_is_refused_before_any_call(
    client: Any, stub: Stubber, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        AwsLambda(client).deploy(wanted(**change), None, print)


def test_no_secret_is_in_what_is_logged(client: Any, stub: Stubber) -> None:
    lines: list[str] = []
    log: Callable[[str], None] = lines.append
    add_update(stub)
    stub.add_response("publish_version", {"Version": "4", "CodeSha256": _code_sha256(HEX)})
    stub.add_response("get_function_configuration", ready())
    stub.add_response("get_alias", {"FunctionVersion": "3"})
    stub.add_response("update_alias", {})
    AwsLambda(client).deploy(wanted(environment={"TOKEN": "planted-secret"}), LIVE, log)
    assert lines
    assert "planted-secret" not in " ".join(lines)
