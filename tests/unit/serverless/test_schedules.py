"""Schedules: what is planned and checked, and what each service is asked, call by call."""

from __future__ import annotations

import copy
import json
from typing import Any, ClassVar

import pytest
from botocore.exceptions import ClientError

from triplane.core.change import Risk
from triplane.core.errors import InputError, RefusedError, StaleError, TerminalError, TransientError
from triplane.serverless.aws.eventbridge import EventBridge
from triplane.serverless.azure.logic_apps import LogicApps
from triplane.serverless.events.source import (
    Done,
    EventSource,
    Found,
    Wanted,
    check,
    check_destroys,
    check_observed,
    differing,
    findings,
    keep,
    plan,
    plan_to_destroy,
)
from triplane.serverless.google.cloud_scheduler import CloudScheduler
from triplane.serverless.rest import Api
from triplane.serverless.target import UNKNOWN, DeployFailed

ROLE = "arn:aws:iam::000000000000:role/scheduler"
ADDRESS = "aws/schedule/nightly"


def wanted(**settings: Any) -> Wanted:
    return Wanted(name="nightly", settings={"schedule": "a", "payload": "s3cret", **settings}, config="c")


def found(**settings: Any) -> Found:
    return Found(settings={"schedule": "a", "payload": "s3cret", **settings})


@pytest.mark.parametrize(
    ("shall", "now", "action", "risk", "lines"),
    [
        (wanted(), None, "create", Risk.LOW, ("payload: set", "schedule: a")),
        (wanted(), found(), "none", Risk.NONE, ()),
        (wanted(schedule="b"), found(), "update", Risk.MEDIUM, ("schedule: a -> b",)),
        (wanted(payload="x"), found(), "update", Risk.MEDIUM, ("payload: changed",)),
        (wanted(enabled=False), found(enabled=True), "update", Risk.MEDIUM, ("enabled: True -> False",)),
        (wanted(role="r2"), found(role="r1"), "update", Risk.CRITICAL, ("role: r1 -> r2",)),
        (wanted(source="s2"), found(source="s1"), "replace", Risk.HIGH, ("source: s1 -> s2",)),
    ],
)
def test_plan(shall: Wanted, now: Found | None, action: str, risk: Risk, lines: tuple[str, ...]) -> None:
    change = plan(ADDRESS, shall, now, frozenset({"source"}))
    assert (change.action, change.risk, change.lines) == (action, risk, lines)
    assert "s3cret" not in json.dumps(change.to_json())


def test_what_was_approved_is_what_is_applied() -> None:
    approved = plan(ADDRESS, wanted(schedule="b"), found())
    check(approved, wanted(schedule="b"))
    with pytest.raises(RefusedError, match="config not as approved"):
        check(approved, Wanted(name="nightly", settings={}, config="another"))
    check_observed(approved, wanted(schedule="b"), found(), None)
    with pytest.raises(StaleError, match="somebody has changed it"):
        check_observed(approved, wanted(schedule="b"), found(schedule="c"), None)
    with pytest.raises(StaleError, match="gone"):
        check_observed(approved, wanted(schedule="b"), None, None)


def test_a_try_that_was_cut_off_goes_on_from_between() -> None:
    shall, before = wanted(schedule="b", enabled=False), found(enabled=True)
    approved = plan(ADDRESS, shall, before)
    check_observed(approved, shall, found(enabled=False), before.settings)
    with pytest.raises(StaleError):
        check_observed(approved, shall, found(schedule="c", enabled=False), before.settings)
    new = plan(ADDRESS, shall, None)
    check_observed(new, shall, found(schedule="b", enabled=True), {})
    with pytest.raises(StaleError):
        check_observed(new, shall, found(schedule="c", enabled=True), {})


def test_deleting() -> None:
    change = plan_to_destroy(ADDRESS, "nightly", found())
    assert (change.action, change.risk) == ("destroy", Risk.HIGH)
    check_destroys(change, "nightly", found())
    check_destroys(change, "nightly", None)
    with pytest.raises(StaleError):
        check_destroys(change, "nightly", found(schedule="b"))
    with pytest.raises(RefusedError):
        check_destroys(plan(ADDRESS, wanted(), None), "nightly", found())


def test_drift_by_hand() -> None:
    kept = keep(wanted(), found(enabled=True))
    assert "s3cret" not in json.dumps(kept)
    assert findings(kept, "schedule", wanted(), found(enabled=True)) == []
    (item,) = findings(kept, "schedule", wanted(), found(enabled=False, payload="other"))
    assert item["attributes"][0] == {"name": "enabled", "before": "True", "after": "False"}
    assert item["attributes"][1]["name"] == "payload"
    assert "other" not in json.dumps(item)
    assert findings(kept, "schedule", wanted(), None)[0]["action"] == "delete"


class Scheduler:
    """boto3's client of ``scheduler``, as far as it is used."""

    def __init__(self) -> None:
        self.schedules: dict[str, Any] = {}
        self.fails = ""

    class exceptions:
        class ResourceNotFoundException(Exception):
            pass

        class ValidationException(Exception):
            pass

    def _fail(self) -> None:
        if self.fails:
            raise ClientError({"Error": {"Code": self.fails, "Message": "no"}}, "UpdateSchedule")

    def get_schedule(self, Name: str, GroupName: str) -> Any:
        if Name not in self.schedules:
            raise self.exceptions.ResourceNotFoundException
        return copy.deepcopy(self.schedules[Name])

    def create_schedule(self, **body: Any) -> None:
        self._fail()
        self.schedules[body["Name"]] = {**body, "Arn": "arn", "ActionAfterCompletion": "NONE"}

    update_schedule = create_schedule

    def delete_schedule(self, Name: str, GroupName: str) -> None:
        if self.schedules.pop(Name, None) is None:
            raise self.exceptions.ResourceNotFoundException


class Rest(Api):
    """Keeps what is put, by path; a job of Cloud Scheduler can be paused."""

    def __init__(self) -> None:
        self.things: dict[str, Any] = {}
        self.calls: list[str] = []

    def call(self, verb: str, path: str, body: Any = None, **options: Any) -> Any:
        self.calls.append(verb)
        if verb == "GET":
            return copy.deepcopy(self.things.get(path))
        if verb == "DELETE":
            return self.things.pop(path, None)
        if path.endswith((":pause", ":resume")):
            name, _, action = path.rpartition(":")
            self.things[name]["state"] = "PAUSED" if action == "pause" else "ENABLED"
        elif verb == "POST":
            self.things[f"v1/{body['name']}"] = {**copy.deepcopy(body), "state": "ENABLED"}
        elif verb == "PATCH":
            self.things[path] |= copy.deepcopy(body)
        else:
            self.things[path] = {**copy.deepcopy(body), "id": path}
        return {}


def aws() -> EventBridge:
    return EventBridge(Scheduler(), region="eu-west-1")


def gcp() -> CloudScheduler:
    run = Rest()
    run.things["v2/projects/p/locations/r/services/hook"] = {"uri": "https://hook.run.app"}
    return CloudScheduler(Rest(), run, project="p", region="r")


def azure() -> LogicApps:
    return LogicApps(Rest(), subscription="s", resource_group="g", location="westeurope")


OPTIONS: dict[str, Any] = {"function": "hook", "cron": "0 6 * * MON-FRI", "timezone": "Europe/Berlin"}
CELLS = [(aws, {"role": ROLE}), (gcp, {"service_account": "a@b"}), (azure, {"path": "/api/hook"})]


@pytest.mark.parametrize(("make", "extra"), CELLS)
def test_create_nothing_update_disable_put_back_delete(make: Any, extra: dict[str, Any]) -> None:
    target: EventSource = make()

    def shall(**options: Any) -> Wanted:
        settings = target.settings("nightly", {**OPTIONS, **extra, **options})
        return Wanted(name="nightly", settings=settings, attempt="0" * 16)

    first = shall(payload={"a": "@x"})
    assert target.observe(first) is None
    assert isinstance(target.apply(first, None, print), Done)
    before = target.observe(first)
    assert before is not None
    assert differing(first, before) == []
    second = shall(cron="30 7 * * *", enabled=False, retries=2)
    target.apply(second, before, print)
    now = target.observe(second)
    assert now is not None
    assert differing(second, now) == []
    assert isinstance(target.apply(second, now, print), Done)
    target.restore(first, before, print)
    again = target.observe(first)
    assert again is not None
    assert again.settings == before.settings
    target.delete(first)
    target.delete(first)
    assert target.observe(first) is None
    target.restore(first, before, print)
    assert target.observe(first) == again


def test_a_function_that_is_not_there_yet() -> None:
    assert gcp().settings("n", {**OPTIONS, "function": "later"})["calls"] is UNKNOWN


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (aws, {"url": "https://x", "cron": "* * * * *", "role": ROLE}, "calls no URLs"),
        (aws, {"function": "hook", "cron": "* * * * *"}, "needs the 'role'"),
        (gcp, {**OPTIONS, "dead_letter": "x"}, "no dead letters"),
        (azure, {**OPTIONS, "dead_letter": "x"}, "no dead letters"),
        (gcp, {**OPTIONS, "retries": 6}, "from 0 to 5"),
        (azure, {**OPTIONS, "url": "https://x"}, "exactly one of 'function' and 'url'"),
    ],
)
def test_what_a_cloud_cannot_do(make: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make().settings("nightly", options)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ThrottlingException", TransientError),
        ("AccessDeniedException", TerminalError),
        ("ConflictException", StaleError),
    ],
)
def test_what_aws_refuses(code: str, kind: type[Exception]) -> None:
    client = Scheduler()
    client.fails = code
    target = EventBridge(client, region="eu-west-1")
    shall = Wanted(name="n", settings=target.settings("n", {**OPTIONS, "role": ROLE}))
    with pytest.raises(kind, match=code):
        target.apply(shall, None, print)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(429, TransientError), (503, TransientError), (409, TransientError), (412, StaleError), (400, DeployFailed)],
)  # fmt: skip
def test_what_a_rest_api_refuses(status: int, kind: type[Exception]) -> None:
    class Answer:
        status_code, content, text = status, b"{}", "{}"
        headers: ClassVar[dict[str, str]] = {}

        def json(self) -> Any:
            return {"error": {"code": status, "message": "no"}}

    class Session:
        def request(self, *args: Any, **options: Any) -> Answer:
            return Answer()

    with pytest.raises(kind):
        Api(Session(), "https://example.com", sleep=lambda seconds: None).call("PUT", "x", {})
