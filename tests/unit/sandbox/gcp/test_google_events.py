"""Cloud Scheduler and Pub/Sub, as the sandbox has them."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest
from tests.unit.serverless.google_lab import EMAIL, Google, package

from triplane.sandbox.gcp import pubsub_checks
from triplane.sandbox.gcp.errors import ApiError
from triplane.sandbox.gcp.faults import Fault

PROJECT = "projects/triplane-sandbox"
PUBSUB = f"https://pubsub.googleapis.com/v1/{PROJECT}"
JOBS = f"https://cloudscheduler.googleapis.com/v1/{PROJECT}/locations/europe-west1/jobs"
JOB = JOBS.removeprefix("https://cloudscheduler.googleapis.com/v1/")
HTTP = {"uri": "https://example.com/x", "httpMethod": "POST"}
ROOT = "https://cloudfunctions.googleapis.com/v2/projects/triplane-sandbox/locations/europe-west1"
LIMIT = 60.0


@pytest.fixture
def google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Google:
    return Google(tmp_path, monkeypatch)


def ask(google: Google, verb: str, url: str, body: Any = None) -> Any:
    return google.session().request(verb, url, json=body)


def ok(google: Google, verb: str, url: str, body: Any = None) -> Any:
    answer = ask(google, verb, url, body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(google: Google, verb: str, url: str, body: Any = None) -> tuple[int, str, str]:
    error = ask(google, verb, url, body).json()["error"]
    return error["code"], error["status"], error["message"]


def until(what: Any) -> Any:
    deadline = time.monotonic() + LIMIT
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def job(**fields: Any) -> dict[str, Any]:
    return {"name": f"{JOB}/nightly", "schedule": "0 6 * * MON-FRI", "httpTarget": dict(HTTP), **fields}


def test_what_the_scheduler_fills_in(google: Google) -> None:
    made = ok(google, "POST", JOBS, job(timeZone="Europe/Berlin"))
    assert made["state"] == "ENABLED"
    assert made["attemptDeadline"] == "180s"
    assert made["retryConfig"]["minBackoffDuration"] == "5s"
    assert made["httpTarget"]["headers"] == {"User-Agent": "Google-Cloud-Scheduler"}
    assert made["scheduleTime"].endswith("Z")
    assert ok(google, "GET", f"{JOBS}/nightly") == made
    assert ok(google, "GET", JOBS) == {"jobs": [made]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schedule": "every day"}, "Schedule or time zone is invalid"),
        ({"schedule": "61 * * * *"}, "Schedule or time zone is invalid"),
        ({"timeZone": "Europe/Nowhere"}, "Time zone 'Europe/Nowhere' is invalid"),
        ({"httpTarget": {"uri": "example.com"}}, "valid http or https URI"),
        ({"httpTarget": {}}, "valid http or https URI"),
        ({"httpTarget": {**HTTP, "httpMethod": "CALL"}}, "httpTarget.httpMethod"),
        ({"httpTarget": {**HTTP, "httpMethod": "GET", "body": "eA=="}}, "not allowed with method GET"),
        ({"httpTarget": {**HTTP, "oidcToken": {"serviceAccountEmail": "x"}}}, "service_account_email"),
        ({"httpTarget": None}, "Exactly one target"),
        ({"retryConfig": {"retryCount": 6}}, "between 0 and 5"),
        ({"attemptDeadline": "1s"}, "between 15s and 1800s"),
        ({"attemptDeadline": "1m"}, "Illegal duration"),
        ({"cron": "* * * * *"}, 'Unknown name "cron"'),
        ({"name": f"{JOB}/a b"}, "Job name must be formatted"),
    ],
)
def test_jobs_that_are_refused(google: Google, change: dict[str, Any], message: str) -> None:
    code, status, said = refused(google, "POST", JOBS, job(**change))
    assert (code, status) == (400, "INVALID_ARGUMENT")
    assert message in said
    assert ok(google, "GET", JOBS) == {"jobs": []}


def test_a_job_that_is_changed(google: Google) -> None:
    assert refused(google, "GET", f"{JOBS}/nightly")[:2] == (404, "NOT_FOUND")
    ok(google, "POST", JOBS, job(description="mine", retryConfig={"retryCount": 2}))
    assert refused(google, "POST", JOBS, job())[:2] == (409, "ALREADY_EXISTS")
    url = f"{JOBS}/nightly"
    found = ok(google, "PATCH", f"{url}?updateMask=schedule,retryConfig", {"schedule": "1 1 * * *"})
    assert (found["schedule"], found["description"]) == ("1 1 * * *", "mine")
    assert "retryCount" not in found["retryConfig"]
    assert refused(google, "PATCH", f"{url}?updateMask=state", {})[0] == 400
    assert refused(google, "PATCH", f"{url}?updateMask=schedule", {"schedule": "x"})[0] == 400
    assert ok(google, "GET", url) == found
    assert refused(google, "POST", f"{url}:resume", {})[1] == "FAILED_PRECONDITION"
    assert ok(google, "POST", f"{url}:pause", {})["state"] == "PAUSED"
    assert refused(google, "POST", f"{url}:pause", {})[1] == "FAILED_PRECONDITION"
    assert ok(google, "PATCH", f"{url}?updateMask=schedule", {"schedule": "2 2 * * *"})["state"] == "PAUSED"
    assert ok(google, "POST", f"{url}:resume", {})["state"] == "ENABLED"
    assert ok(google, "DELETE", url) == {}
    assert refused(google, "DELETE", url)[:2] == (404, "NOT_FOUND")


def test_a_job_that_nobody_answers(google: Google) -> None:
    ok(google, "POST", JOBS, job(retryConfig={"retryCount": 2, "minBackoffDuration": "0s"}))
    ok(google, "POST", f"{JOBS}/nightly:run", {})
    until(lambda: ok(google, "GET", f"{JOBS}/nightly").get("status") == {"code": 14})


@pytest.mark.parametrize("paused", [False, True])
def test_jobs_run_by_the_clock(google: Google, paused: bool) -> None:
    url = function(google, CODE.format(status=204))
    token = {"serviceAccountEmail": EMAIL, "audience": url}
    target = {"uri": f"{url}/x", "oidcToken": token, "body": base64.b64encode(b"{1}").decode()}
    ok(google, "POST", JOBS, job(httpTarget=target))
    if paused:
        ok(google, "POST", f"{JOBS}/nightly:pause", {})
    live = google.core.state.resources[f"{JOB}/nightly"]
    live["scheduleTime"] = "2001-01-01T00:00:00Z"
    ok(google, "POST", JOBS, job(name=f"{JOB}/another"))
    until(lambda: not live["scheduleTime"].startswith("2001"))
    if paused:
        ok(google, "POST", f"{JOBS}/nightly:run", {})
    until(lambda: "status" in live)
    assert live["status"] == {}
    assert written(google) == ["{1}"], "once"


def topic(google: Google, name: str = "orders") -> str:
    return str(ok(google, "PUT", f"{PUBSUB}/topics/{name}", {})["name"])


def publish(google: Google, text: str, name: str = "orders", **fields: Any) -> Any:
    message = {"data": base64.b64encode(text.encode()).decode(), **fields}
    return ok(google, "POST", f"{PUBSUB}/topics/{name}:publish", {"messages": [message]})["messageIds"][0]


def pull(google: Google, name: str = "sub", most: int = 10) -> list[Any]:
    answer = ok(google, "POST", f"{PUBSUB}/subscriptions/{name}:pull", {"maxMessages": most})
    return list(answer.get("receivedMessages", []))


def subscribe(google: Google, name: str = "sub", **fields: Any) -> Any:
    return ok(
        google, "PUT", f"{PUBSUB}/subscriptions/{name}", {"topic": f"{PROJECT}/topics/orders", **fields}
    )


def test_what_pubsub_fills_in(google: Google) -> None:
    assert refused(google, "PUT", f"{PUBSUB}/subscriptions/sub", {"topic": f"{PROJECT}/topics/orders"}) == (
        404, "NOT_FOUND", "Resource not found (resource=orders).",
    )  # fmt: skip
    topic(google)
    assert refused(google, "PUT", f"{PUBSUB}/topics/orders", {})[:2] == (409, "ALREADY_EXISTS")
    made = subscribe(
        google, pushConfig={"pushEndpoint": "https://x.example"}, retryPolicy={"minimumBackoff": "1s"}
    )
    assert made["ackDeadlineSeconds"] == 10
    assert made["messageRetentionDuration"] == "604800s"
    assert made["expirationPolicy"] == {"ttl": "2678400s"}
    assert made["pushConfig"]["attributes"] == {"x-goog-version": "v1"}
    assert made["retryPolicy"] == {"minimumBackoff": "1s", "maximumBackoff": "600s"}
    assert subscribe(google, "eternal", expirationPolicy={})["expirationPolicy"] == {}
    assert refused(google, "PUT", f"{PUBSUB}/subscriptions/sub", {"topic": made["topic"]})[0] == 409
    names = [f"{PROJECT}/subscriptions/{name}" for name in ("sub", "eternal")]
    assert ok(google, "GET", f"{PUBSUB}/topics/orders/subscriptions") == {"subscriptions": names}
    assert [each["name"] for each in ok(google, "GET", f"{PUBSUB}/subscriptions")["subscriptions"]] == names


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ackDeadlineSeconds": 5}, "between 10 and 600"),
        ({"messageRetentionDuration": "60s"}, "between 600 and"),
        ({"messageRetentionDuration": "1d"}, "messageRetentionDuration|Illegal duration"),
        ({"expirationPolicy": {"ttl": "86400s"}}, "less than the message retention"),
        ({"pushConfig": {"pushEndpoint": "http://x.example"}}, "Invalid push endpoint"),
        ({"pushConfig": {"endpoint": "https://x"}}, 'Unknown name "endpoint"'),
        ({"retryPolicy": {"minimumBackoff": "601s"}}, "between 0 and 600"),
        ({"retryPolicy": {"minimumBackoff": "9s", "maximumBackoff": "8s"}}, "must not be greater"),
        ({"deadLetterPolicy": {"deadLetterTopic": "x", "maxDeliveryAttempts": 4}}, "between 5 and 100"),
        ({"filter": "attributes.a ~ 1"}, "Invalid filter"),
        ({"topic": None}, "topic must be given"),
    ],
)
def test_subscriptions_that_are_refused(google: Google, fields: dict[str, Any], message: str) -> None:
    topic(google)
    body = {"topic": f"{PROJECT}/topics/orders", **fields}
    code, status, said = refused(google, "PUT", f"{PUBSUB}/subscriptions/sub", body)
    assert (code, status) == (400, "INVALID_ARGUMENT")
    assert any(part in said for part in message.split("|")), said


def test_a_subscription_that_is_changed(google: Google) -> None:
    topic(google)
    assert "Invalid [subscriptions] name" in refused(google, "PUT", f"{PUBSUB}/subscriptions/a", {})[2]
    before = subscribe(google, labels={"a": "b"})
    url = f"{PUBSUB}/subscriptions/sub"

    def patch(mask: str, **fields: Any) -> Any:
        return refused(google, "PATCH", url, {"subscription": fields, "updateMask": mask})

    assert "must be set" in patch("", ackDeadlineSeconds=20)[2]
    for fixed in ("topic", "filter", "enableMessageOrdering", "enable_message_ordering"):
        assert "is not mutable" in patch(fixed, filter="attributes:a")[2]
    dead = {"deadLetterTopic": f"{PROJECT}/topics/none"}
    assert patch("deadLetterPolicy", deadLetterPolicy=dead)[:2] == (404, "NOT_FOUND")
    assert ok(google, "GET", url) == before
    body = {"subscription": {"ackDeadlineSeconds": 20}, "updateMask": "ackDeadlineSeconds,labels"}
    found = ok(google, "PATCH", url, body)
    assert found["ackDeadlineSeconds"] == 20
    assert "labels" not in found
    ok(google, "DELETE", f"{PUBSUB}/topics/orders")
    assert ok(google, "GET", url)["topic"] == "_deleted-topic_"


def test_pull_and_acknowledge(google: Google) -> None:
    topic(google)
    subscribe(google, filter='attributes.kind = "a" AND NOT attributes:skip')
    assert "is empty" in refused(google, "POST", f"{PUBSUB}/topics/orders:publish", {"messages": [{}]})[2]
    wanted = publish(google, "1", attributes={"kind": "a"})
    publish(google, "2", attributes={"kind": "b"})
    publish(google, "3", attributes={"kind": "a", "skip": ""})
    (received,) = pull(google)
    assert received["message"]["messageId"] == wanted
    assert pull(google) == [], "it is leased"
    ok(google, "POST", f"{PUBSUB}/subscriptions/sub:acknowledge", {"ackIds": [received["ackId"]]})
    ok(google, "POST", f"{PUBSUB}/subscriptions/sub:detach")
    assert (
        refused(google, "POST", f"{PUBSUB}/subscriptions/sub:pull", {"maxMessages": 1})[1]
        == "FAILED_PRECONDITION"
    )


def test_ordering(google: Google) -> None:
    topic(google)
    subscribe(google, enableMessageOrdering=True)
    ids = [publish(google, str(number), orderingKey="k") for number in range(2)]
    (first,) = pull(google)
    assert first["message"]["messageId"] == ids[0]
    assert pull(google) == []
    ok(google, "POST", f"{PUBSUB}/subscriptions/sub:acknowledge", {"ackIds": [first["ackId"]]})
    assert pull(google)[0]["message"]["messageId"] == ids[1]


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True), ('attributes.a = "1"', True), ('attributes.a != "1"', False), ("attributes:b", False),
        ('hasPrefix(attributes.a, "1")', True), ('NOT attributes:b AND attributes:a', True),
        ('attributes:b OR attributes.a="1"', True), ("-attributes:a", False),
    ],
)  # fmt: skip
def test_filters(text: str, matches: bool) -> None:
    assert pubsub_checks.parse_filter(text)({"a": "1"}) is matches


def test_a_filter_that_is_too_long() -> None:
    with pytest.raises(ApiError, match="longer than 256"):
        pubsub_checks.parse_filter(f'attributes.a = "{"x" * 256}"')


def function(google: Google, code: str) -> str:
    place = ok(google, "POST", f"{ROOT}/functions:generateUploadUrl", {})
    google.session().put(place["uploadUrl"], data=package(code), headers={"Content-Type": "application/zip"})
    build = {
        "runtime": "python312",
        "entryPoint": "hook",
        "source": {"storageSource": place["storageSource"]},
    }
    wanted = {"environment": "GEN_2", "buildConfig": build, "serviceConfig": {}}
    ok(google, "POST", f"{ROOT}/functions?functionId=hook", wanted)
    return str(ok(google, "GET", f"{ROOT}/functions/hook")["url"])


CODE = "def hook(request):\n    print(request.get_data(as_text=True))\n    return ('', {status})\n"


def written(google: Google) -> list[str]:
    url = "https://logging.googleapis.com/v2/entries:list"
    wanted = 'resource.type="cloud_run_revision" AND resource.labels.service_name="hook"'
    body = {"resourceNames": [PROJECT], "filter": wanted, "orderBy": "timestamp desc", "pageSize": 100}
    entries = ok(google, "POST", url, body).get("entries", [])
    return [each["textPayload"] for each in entries if each["textPayload"].startswith("{")]


def push(url: str, account: str = EMAIL) -> dict[str, Any]:
    return {"pushEndpoint": url, "oidcToken": {"serviceAccountEmail": account, "audience": url}}


def test_a_push_calls_the_function(google: Google) -> None:
    url = function(google, CODE.format(status=204))
    topic(google)
    subscribe(google, pushConfig=push(url))
    assert (
        refused(google, "POST", f"{PUBSUB}/subscriptions/sub:pull", {"maxMessages": 1})[1]
        == "FAILED_PRECONDITION"
    )
    published = publish(google, "hello", attributes={"a": "b"})
    (text,) = until(lambda: written(google))
    told = json.loads(text)
    assert told["subscription"] == f"{PROJECT}/subscriptions/sub"
    assert told["message"]["messageId"] == published
    assert base64.b64decode(told["message"]["data"]) == b"hello"
    ok(google, "POST", f"{PUBSUB}/subscriptions/sub:modifyPushConfig", {"pushConfig": {}})
    until(lambda: pull(google) == [])
    kept = publish(google, "kept")
    assert [each["message"]["messageId"] for each in pull(google)] == [kept]


@pytest.mark.parametrize(
    ("status", "change"), [(500, {}), (204, {"audience": "https://x"}), (204, {"serviceAccountEmail": "a@b"})]
)
def test_what_is_not_taken_is_dead_in_the_end(google: Google, status: int, change: dict[str, str]) -> None:
    url = function(google, CODE.format(status=status))
    topic(google)
    dead = topic(google, "dead")
    ok(google, "PUT", f"{PUBSUB}/subscriptions/buried", {"topic": dead})
    config = push(url)
    config["oidcToken"] |= change
    subscribe(
        google, pushConfig=config, retryPolicy={"minimumBackoff": "0s", "maximumBackoff": "0s"},
        deadLetterPolicy={"deadLetterTopic": dead},
    )  # fmt: skip
    publish(google, "bad")
    (received,) = until(lambda: pull(google, "buried"))
    attributes = received["message"]["attributes"]
    assert attributes["CloudPubSubDeadLetterSourceDeliveryCount"] == "5"
    assert attributes["CloudPubSubDeadLetterSourceSubscription"] == "sub"
    assert len(written(google)) == (5 if status == 500 else 0)


def test_faults(google: Google) -> None:
    google.core.faults.add(Fault(path="pubsub", status=429, message="Quota exceeded"))
    assert refused(google, "GET", f"{PUBSUB}/topics")[:2] == (429, "RESOURCE_EXHAUSTED")
    google.core.faults.add(Fault(path="cloudscheduler.*jobs", method="POST", done=True))
    assert refused(google, "POST", JOBS, job())[:2] == (503, "UNAVAILABLE")
    assert ok(google, "GET", f"{JOBS}/nightly")["state"] == "ENABLED"


def test_topics_are_updated_by_a_mask(google: Google) -> None:
    topic(google)
    url, body = f"{PUBSUB}/topics/orders", {"labels": {"team": "data"}, "messageRetentionDuration": "600s"}
    assert refused(google, "PATCH", url, {"topic": body})[:2] == (400, "INVALID_ARGUMENT")
    made = ok(google, "PATCH", url, {"topic": body, "updateMask": "labels"})
    assert (made["labels"], "messageRetentionDuration" in made) == ({"team": "data"}, False)
    made = ok(google, "PATCH", url, {"topic": {}, "updateMask": "labels"})
    assert ok(google, "GET", url) == made
    assert not made.get("labels")
    too_short = {"topic": {"messageRetentionDuration": "1s"}, "updateMask": "messageRetentionDuration"}
    assert refused(google, "PATCH", url, too_short)[:2] == (400, "INVALID_ARGUMENT")
