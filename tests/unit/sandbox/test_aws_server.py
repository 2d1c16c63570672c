"""The checks in front of the AWS emulator. Signatures are made by botocore itself."""

from __future__ import annotations

import datetime
import hashlib
from urllib.parse import quote

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from triplane.sandbox.aws_server.contract import Request, check
from triplane.sandbox.aws_server.signature import Denied, parse, verify

SECRET = "secret"
URL = "https://eks.eu-west-1.amazonaws.com/clusters/a%20b?maxResults=3&nextToken=x%2By"


def signed_request(method: str = "GET", body: bytes = b"") -> AWSRequest:
    request = AWSRequest(method, URL, headers={"Host": "eks.eu-west-1.amazonaws.com"}, data=body)
    SigV4Auth(Credentials("AKIA", SECRET), "eks", "eu-west-1").add_auth(request)
    return request


def verify_request(request: AWSRequest, *, secret: str = SECRET, body: bytes = b"", minutes: int = 0) -> None:
    path, _, query = request.url.removeprefix("https://eks.eu-west-1.amazonaws.com").partition("?")
    headers = {"host": "eks.eu-west-1.amazonaws.com", **{k.lower(): v for k, v in request.headers.items()}}
    signed = parse(query, headers)
    assert signed is not None
    assert (signed.key_id, signed.service, signed.region) == ("AKIA", "eks", "eu-west-1")
    verify(
        signed, method=request.method, path=quote(path, safe="/-_.~"), query=query, headers=headers,
        secret=secret, body_digest=lambda: hashlib.sha256(body).hexdigest(),
        now=datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=minutes),
    )  # fmt: skip


def test_signature_of_botocore_is_accepted() -> None:
    verify_request(signed_request("POST", b"{}"), body=b"{}")


def test_presigned_url_is_accepted_until_it_expires() -> None:
    request = AWSRequest("GET", URL)
    SigV4QueryAuth(Credentials("AKIA", SECRET), "eks", "eu-west-1", expires=60).add_auth(request)
    verify_request(request)
    with pytest.raises(Denied, match="signed at") as denied:
        verify_request(request, minutes=2)
    assert denied.value.code == "RequestExpired"


@pytest.mark.parametrize("change", [{"secret": "other"}, {"body": b"{...}"}])
def test_other_secret_or_body_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(Denied, match="does not match"):
        verify_request(signed_request("POST", b"{}"), **{"body": b"{}", **change})  # type: ignore[arg-type]


def test_unsigned_request_has_no_signature() -> None:
    assert parse("a=b", {}) is None


def test_malformed_signature_is_refused() -> None:
    with pytest.raises(Denied, match="malformed"):
        parse("", {"authorization": "AWS4-HMAC-SHA256 Credential=a"})


def rest(method: str, path: str, body: str) -> Request:
    return Request(method, path, "", {}, body.encode())


def rpc(target: str, body: str) -> Request:
    return Request("POST", "/", "", {"x-amz-target": f"Prefix.{target}"}, body.encode())


def form(body: str) -> Request:
    return Request("POST", "/", "", {"content-type": "application/x-www-form-urlencoded"}, body.encode())


FUNCTION = '"FunctionName": "w", "Role": "arn:aws:iam::000000000000:role/r", "Code": {"ZipFile": "UEs="}'


@pytest.mark.parametrize(
    ("service", "request_"),
    [
        ("dynamodb", rpc("DeleteTable", '{"TableName": "locks"}')),
        ("lambda", rest("POST", "/2015-03-31/functions", f"{{{FUNCTION}}}")),
        ("lambda", rest("GET", "/2015-03-31/functions/w", "")),
        (
            "eks",
            rest("POST", "/clusters", '{"name":"c","roleArn":"a","resourcesVpcConfig":{"subnetIds":["s"]}}'),
        ),
        ("sts", form("Action=GetCallerIdentity&Version=2011-06-15")),
        (
            "ec2",
            form(
                "Action=CreateVpc&Version=2016-11-15&CidrBlock=10.0.0.0%2F16&TagSpecification.1.Tag.1.Key=a"
            ),
        ),
        ("s3", rest("PUT", "/anything", "")),
    ],
)
def test_well_formed_requests_pass(service: str, request_: Request) -> None:
    assert check(service, request_) is None


@pytest.mark.parametrize(
    ("service", "request_", "message"),
    [
        ("dynamodb", rpc("DropTable", "{}"), "no operation 'DropTable'"),
        ("dynamodb", rpc("DeleteTable", "{}"), "TableName"),
        ("dynamodb", rpc("DeleteTable", '{"TableName": "locks", "Force": true}'), "Force"),
        ("lambda", rest("POST", "/2015-03-31/functions", "{}"), "Role"),
        ("lambda", rest("POST", "/2015-03-31/functions", f'{{{FUNCTION}, "Runtime": "cobol"}}'), "cobol"),
        ("lambda", rest("POST", "/2015-03-31/functions", f'{{{FUNCTION}, "Timeout": "long"}}'), "Timeout"),
        ("eks", rest("POST", "/clusters", "["), "not JSON"),
        ("rds", form("Action=DescribeDBInstances&Colour=red"), "no parameter Colour"),
        ("rds", form("Action=CreateDBInstance"), "needs the parameter DBInstanceClass"),
        ("ec2", form("Action=CreateVpcs"), "no action 'CreateVpcs'"),
        ("ec2", form("Action=CreateVpc&Tags.1.Key=a"), "no parameter Tags"),
    ],
)
def test_what_the_model_does_not_allow_is_refused(service: str, request_: Request, message: str) -> None:
    refusal = check(service, request_)
    assert refusal is not None
    assert message in refusal.message
    status, headers, body = refusal.response()
    assert status == 400
    assert refusal.code.encode() in body
    assert headers["Content-Type"] in ("application/json", "text/xml")
