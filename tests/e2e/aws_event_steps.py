"""What the tests of AWS event sources share: functions that run, clients that break, and tries until it works."""

from __future__ import annotations

import io
import json
import os
import time
import zipfile
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from tests.e2e.serverless_steps import Breaking, Cut
from triplane.clouds import aws
from triplane.serverless.aws.errors import found

REGION = "eu-west-1"
ACCOUNT = "000000000000"
BREAKS = ("killed before", "killed after", "answer lost")
FAULTS = {
    "ThrottlingException": 429,
    "InternalServerException": 500,
    "ExpiredTokenException": 403,
}
MOST_TRIES = 60
_client, pause = aws.client, time.sleep


def client_of(service: str) -> Any:
    """One that never breaks."""
    return _kept(service, os.environ["AIRFLOW_CONN_AWS_DEFAULT"])


@cache
def _kept(service: str, connection: str) -> Any:
    return _client(service, "aws_default", REGION)


def broken(monkeypatch: pytest.MonkeyPatch, how: str, status: int = 0, times: int = 1) -> Breaking:
    """The operators get clients whose calls break."""
    breaking = Breaking(how, status, times)
    monkeypatch.setattr(aws, "client", cache(lambda *args: breaking.into(_client(*args))))
    return breaking


def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox is faster than the cloud: look again soon."""
    monkeypatch.setattr(time, "sleep", lambda seconds: pause(min(seconds, 0.05)))


def persist(step: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The tries of one task, each in a new process. What no try can mend is raised."""
    for _ in range(MOST_TRIES):
        try:
            return step()
        except AirflowFailException:
            raise
        except (Cut, AirflowException):
            continue
    raise AssertionError("it does not come to an end")


def until(there: Callable[[], Any]) -> Any:
    """What ``there`` answers when it answers something."""
    end = time.monotonic() + 60
    while not (answer := there()):
        assert time.monotonic() < end, "it does not come"
        pause(0.05)
    return answer


def role(name: str, service: str, actions: list[str]) -> str:
    """The ARN of a role that ``service`` can assume, allowed to do ``actions``."""
    iam = client_of("iam")
    trust = {
        "Effect": "Allow",
        "Principal": {"Service": f"{service}.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }
    try:
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=_document(trust))
    except iam.exceptions.EntityAlreadyExistsException:
        pass
    if actions:
        allow(name, actions)
    return f"arn:aws:iam::{ACCOUNT}:role/{name}"


def allow(name: str, actions: list[str]) -> None:
    """Let a role do ``actions``."""
    document = _document({"Effect": "Allow", "Action": actions, "Resource": "*"})
    client_of("iam").put_role_policy(RoleName=name, PolicyName="may", PolicyDocument=document)


def function(name: str, code: str, role: str) -> None:
    """A function of which ``live`` serves version 1, made once."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("app.py", code)
    client = client_of("lambda")
    if found(client.get_alias, FunctionName=name, Name="live"):
        return
    made = {"Runtime": "python3.13", "Handler": "app.handler", "Timeout": 30, "Role": role}
    client.create_function(FunctionName=name, Code={"ZipFile": packed.getvalue()}, **made)
    until(lambda: client.get_function(FunctionName=name)["Configuration"]["State"] == "Active")
    version = client.publish_version(FunctionName=name)["Version"]
    client.create_alias(FunctionName=name, Name="live", FunctionVersion=version)


def said(name: str) -> list[str]:
    """The lines of a function's log."""
    logs, group = client_of("logs"), f"/aws/lambda/{name}"
    try:
        events = logs.filter_log_events(logGroupName=group)["events"]
    except logs.exceptions.ResourceNotFoundException:
        return []
    return [event["message"].strip() for event in events]


def _document(statement: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})
